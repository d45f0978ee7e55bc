// The names of the DOM that the types of @peculiar/x509 mention; see test/e2e/dom.d.ts.
type Algorithm = import('node:crypto').webcrypto.Algorithm
type BufferSource = import('node:crypto').webcrypto.BufferSource
type CryptoKeyPair = import('node:crypto').webcrypto.CryptoKeyPair
type EcKeyGenParams = import('node:crypto').webcrypto.EcKeyGenParams
type EcKeyImportParams = import('node:crypto').webcrypto.EcKeyImportParams
type EcdsaParams = import('node:crypto').webcrypto.EcdsaParams
type KeyUsage = import('node:crypto').webcrypto.KeyUsage
type RsaHashedImportParams = import('node:crypto').webcrypto.RsaHashedImportParams
type AlgorithmIdentifier = import('node:crypto').webcrypto.AlgorithmIdentifier
type Crypto = import('node:crypto').webcrypto.Crypto
type CryptoKey = import('node:crypto').webcrypto.CryptoKey

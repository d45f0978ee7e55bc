import { generateKeyPairSync, randomUUID, sign, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { AUDIENCE, SCOPE, type Algorithm, type Setup } from './setup.ts'

export interface Issuer extends AsyncDisposable {
  readonly setup: Setup
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
  /** A token that is good for two hours; no two are alike. */
  sign(changes?: TokenChanges): string
}

export interface TokenChanges {
  readonly scope?: string
  /** In place of the issuer's own. */
  readonly key?: KeyObject
}

const KEY_ID = 'current-2026-11'
const LIFETIME_SECONDS = 7200

/** An issuer on loopback with metadata and a key set over HTTP: the key it signs with and the next one. */
export async function startIssuer(algorithm: Algorithm): Promise<Issuer> {
  const current = makeKeyPair(algorithm)
  const next = makeKeyPair(algorithm)
  const describe = ({ publicKey }: KeyPair, kid: string) => ({
    ...publicKey.export({ format: 'jwk' }),
    kid,
    alg: algorithm,
    use: 'sig',
  })
  const jwks = { keys: [describe(current, KEY_ID), describe(next, 'next-2026-12')] }
  const server = createServer((request, response) => {
    const answer = request.url?.includes('jwks') ? jwks : describeIssuer(issuer, algorithm)
    response.setHeader('Content-Type', 'application/json')
    response.setHeader('Cache-Control', 'max-age=300')
    // A loop that never waits would find a connection kept alive dead, and its owner none the wiser.
    response.setHeader('Connection', 'close')
    response.end(JSON.stringify(answer))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const setup = {
    algorithm,
    issuer,
    jwksUri: `${issuer}/.well-known/jwks.json`,
    audience: AUDIENCE,
    scope: SCOPE,
  }
  return {
    setup,
    publicKey: current.publicKey,
    privateKey: current.privateKey,
    sign: ({ scope = `openid ${SCOPE} notes:write`, key = current.privateKey } = {}) => {
      const iat = readSeconds()
      const claims = {
        iss: issuer,
        sub: randomUUID(),
        aud: AUDIENCE,
        client_id: 'bench-client',
        jti: randomUUID(),
        iat,
        exp: iat + LIFETIME_SECONDS,
        scope,
      }
      return signJws({ alg: algorithm, typ: 'at+jwt', kid: KEY_ID }, claims, key)
    },
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

/** The time in seconds since the epoch, as tokens and proofs write it. */
export function readSeconds(): number {
  return Math.floor((performance.timeOrigin + performance.now()) / 1000)
}

/** A JWS in compact form, by the algorithm that its header names. */
export function signJws(
  header: { readonly alg: Algorithm; readonly [name: string]: unknown },
  payload: object,
  key: KeyObject,
): string {
  const signed = `${encode(header)}.${encode(payload)}`
  const digest = header.alg === 'EdDSA' ? null : 'sha256'
  const signature = sign(digest, Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' })
  return `${signed}.${signature.toString('base64url')}`
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function describeIssuer(issuer: string, algorithm: Algorithm) {
  return {
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    jwks_uri: `${issuer}/.well-known/jwks.json`,
    response_types_supported: ['code'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: [algorithm],
  }
}

interface KeyPair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

export function makeKeyPair(algorithm: Algorithm): KeyPair {
  switch (algorithm) {
    case 'RS256':
      return generateKeyPairSync('rsa', { modulusLength: 2048 })
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' })
    case 'EdDSA':
      return generateKeyPairSync('ed25519')
  }
}

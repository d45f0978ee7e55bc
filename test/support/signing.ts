import { randomUUID } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { systemClock } from '../../auth-server/clock.ts'

/** A key that a client signs with, and what it declares of it. */
export interface SigningKey {
  readonly alg: string
  readonly kid: string
  readonly privateKey: Awaited<ReturnType<typeof generateKeyPair>>['privateKey']
  readonly jwk: Readonly<Record<string, unknown>>
}

export async function makeSigningKey(kid: string, alg = 'ES256'): Promise<SigningKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg)
  return { alg, kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg } }
}

export type Claims = { readonly [name: string]: unknown }

export const secondsNow = () => Math.floor(systemClock.now() / 1000)

/** Signs the claims; what is `undefined` is left out. */
export function signClaims(
  claims: Claims,
  { alg, kid, privateKey }: SigningKey,
  header: Claims = {},
): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg, kid, ...header }).sign(privateKey)
}

/** The claims of a request object that a client sends to a server (RFC 9101 §4). */
export function describeRequestObject(
  clientId: string,
  issuer: string,
  parameters: Claims = {},
): Claims {
  const now = secondsNow()
  return {
    iss: clientId,
    aud: issuer,
    client_id: clientId,
    jti: randomUUID(),
    iat: now,
    nbf: now,
    exp: now + 300,
    ...parameters,
  }
}

/** The claims of an assertion that a client proves itself by (RFC 7523 §3). */
export function describeAssertion(clientId: string, issuer: string): Claims {
  const now = secondsNow()
  return { iss: clientId, sub: clientId, aud: issuer, jti: randomUUID(), iat: now, exp: now + 60 }
}

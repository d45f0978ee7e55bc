import { hash, randomUUID } from 'node:crypto'
import { calculateJwkThumbprint, type JWK } from 'jose'
import type { DpopRequest } from '../../resource-server/dpop.ts'
import type { Clock } from '../../resource-server/clock.ts'
import { createKey, signToken, type IssuerKey } from './issuer.ts'

/** A client that has a key of its own. */
export interface ProofClient {
  readonly key: IssuerKey
  /** As it stands in a proof's header: nothing but what makes the key. */
  readonly jwk: JWK
  /** `cnf.jkt` of the tokens that are issued to it. */
  readonly thumbprint: string
}

export async function createProofClient(alg = 'ES256'): Promise<ProofClient> {
  const key = await createKey(alg)
  const { kid: _kid, use: _use, alg: _alg, ...jwk } = key.jwk
  return { key, jwk, thumbprint: await calculateJwkThumbprint(jwk) }
}

export interface ProofChange {
  /** `undefined` takes a claim away. */
  readonly claims?: Readonly<Record<string, unknown>>
  readonly header?: Readonly<Record<string, unknown>>
}

/** The proof that a client makes for a request: a good one, but for the change. */
export function makeProof(
  { key, jwk }: ProofClient,
  { method, url, accessToken }: Pick<DpopRequest, 'method' | 'url' | 'accessToken'>,
  clock: Pick<Clock, 'now'>,
  { claims, header }: ProofChange = {},
): string {
  const payload = {
    jti: randomUUID(),
    htm: method,
    htu: url,
    iat: Math.floor(clock.now() / 1000),
    ath: hash('sha256', accessToken, 'base64url'),
    ...claims,
  }
  return signToken(key, payload, { typ: 'dpop+jwt', kid: undefined, jwk, ...header })
}

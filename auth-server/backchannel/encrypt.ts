import type { Client } from '../clients/client.ts'
import { chooseEncryptionKey } from '../config/encryption-key.ts'
import { encryptToken } from '../keys/encrypt.ts'
import type { OutboundFetch } from '../outbound.ts'

type Jwk = Readonly<Record<string, unknown>>

export interface EncryptedFrom {
  readonly issuer: string
  readonly fetchOutbound: OutboundFetch
  /** Cuts off the call for the client's keys. */
  readonly stop: AbortSignal
}

/**
 * Encrypts a logout token as the client's ID tokens are, and leaves it as it is where those are not.
 * `undefined` where the client has no key for it, or none can be had now: it has to refuse one that is
 * not encrypted.
 *
 * @see {@link https://openid.net/specs/openid-connect-backchannel-1_0.html#Validation OpenID Connect Back-Channel Logout 1.0 §2.6, 1}
 */
export async function encryptLogoutToken(
  token: string,
  { id: clientId, encryption, jwks, jwksUri }: Client,
  { issuer, fetchOutbound, stop }: EncryptedFrom,
): Promise<string | undefined> {
  const wanted = encryption?.idToken
  if (!wanted) return token
  const keys = jwksUri === undefined ? jwks?.keys : await fetchKeys(jwksUri, fetchOutbound, stop)
  const key = chooseEncryptionKey(keys ?? [], wanted.algorithm)
  return key && encryptToken(token, key, { ...wanted, issuer, clientId })
}

async function fetchKeys(
  uri: string,
  fetchOutbound: OutboundFetch,
  signal: AbortSignal,
): Promise<readonly Jwk[] | undefined> {
  try {
    const response = await fetchOutbound(uri, { headers: { accept: 'application/json' }, signal })
    if (response.status !== 200) return undefined
    const { keys } = (await response.json()) as { keys?: unknown }
    return Array.isArray(keys) ? keys.filter(isObject) : undefined
  } catch {
    // What came of it is said where the attempt is judged.
    return undefined
  }
}

function isObject(value: unknown): value is Jwk {
  return typeof value === 'object' && value !== null
}

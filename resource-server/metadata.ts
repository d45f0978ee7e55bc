import { IssuerError } from './errors.ts'
import type { FetchJson } from './fetch-json.ts'

/**
 * Finds where an issuer publishes its keys: in its OpenID Connect discovery document, or, where it has
 * none, in that of RFC 8414. The document must name the issuer exactly as the API does, or anyone
 * whose document could be put in its place would choose the keys.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8414.html#section-3.3 RFC 8414 §3.3}
 */
export async function discoverKeySetUrl(issuer: string, fetchJson: FetchJson): Promise<string> {
  let status = 0
  for (const url of listMetadataUrls(issuer)) {
    const answer = await fetchJson(url)
    if (answer.status === 200) return readKeySetUrl(issuer, url, answer.body)
    status = answer.status
    // Only "there is no such document" leads to the next place; a sick issuer is not two.
    if (status < 400 || status > 499) break
  }
  throw new IssuerError('bad_answer', `${issuer} has no metadata: it answered ${status}`, {
    cause: { expected: 200, actual: status },
  })
}

/** OpenID Connect appends to the issuer's path (Discovery §4), RFC 8414 puts itself before it (§3.1). */
function listMetadataUrls(issuer: string): readonly string[] {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/$/, '')
  return [
    `${origin}${path}/.well-known/openid-configuration`,
    `${origin}/.well-known/oauth-authorization-server${path}`,
  ]
}

function readKeySetUrl(issuer: string, url: string, body: unknown): string {
  const { issuer: actual, jwks_uri: keySetUrl } = (body ?? {}) as Record<string, unknown>
  if (actual !== issuer) {
    const message = `${url} is the metadata of ${JSON.stringify(actual)}, not of ${issuer}`
    throw new IssuerError('issuer_mismatch', message, { cause: { expected: issuer, actual } })
  }
  if (typeof keySetUrl !== 'string' || !URL.canParse(keySetUrl)) {
    throw new IssuerError('bad_answer', `${url} names no jwks_uri`)
  }
  if (!isTrustworthy(keySetUrl, isLoopback(issuer))) {
    throw new IssuerError('insecure_url', `the jwks_uri ${keySetUrl} is not https`)
  }
  return keySetUrl
}

/** https; plain http only on this machine, and only for an issuer that is on it too. */
export function isTrustworthy(url: string, onLoopback: boolean): boolean {
  const { protocol, username, password } = new URL(url)
  if (username !== '' || password !== '') return false
  return protocol === 'https:' || (protocol === 'http:' && onLoopback && isLoopback(url))
}

export function isLoopback(url: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(new URL(url).hostname)
}

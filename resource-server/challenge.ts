import type { Refusal } from './errors.ts'

/** An answer that says less than is known: what helps an honest client, nothing that helps another. */
export interface RefusalAnswer {
  readonly status: 400 | 401 | 403 | 503
  readonly headers: Readonly<Record<string, string>>
  readonly body: { readonly error: string; readonly error_description: string }
}

/**
 * The answer to a refused request.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6750.html#section-3 RFC 6750 §3}
 */
export function describeRefusal(refusal: Refusal): RefusalAnswer {
  switch (refusal.kind) {
    case 'no_token':
      // §3.1: who has sent no credentials is told no error code.
      return {
        status: 401,
        headers: { 'WWW-Authenticate': 'Bearer' },
        body: {
          error: 'unauthorized',
          error_description: 'An access token is needed: send it as Authorization: Bearer.',
        },
      }
    case 'malformed_request':
      return challenge(400, 'invalid_request', {}, refusal.why)
    case 'insufficient_scope': {
      const scope = refusal.needed.join(' ')
      const description = `The access token needs the scope ${scope}.`
      return challenge(403, 'insufficient_scope', { scope }, description)
    }
    case 'insufficient_role':
      return challenge(
        403,
        'insufficient_scope',
        {},
        'The roles in the access token do not allow this.',
      )
    case 'keys_unavailable':
      return {
        status: 503,
        headers: { 'Retry-After': String(refusal.retryAfterSeconds) },
        body: {
          error: 'temporarily_unavailable',
          error_description: 'Access tokens cannot be checked at the moment. Try again later.',
        },
      }
    case 'malformed':
    case 'critical_header':
    case 'wrong_type':
    case 'unsupported_algorithm':
    case 'unknown_key':
    case 'ambiguous_key':
    case 'wrong_algorithm':
    case 'bad_signature':
    case 'missing_claim':
    case 'malformed_claim':
    case 'wrong_issuer':
    case 'wrong_audience':
    case 'expired':
    case 'not_yet_valid':
    case 'sender_constrained':
    case 'not_an_access_token':
      return challenge(401, 'invalid_token', {}, 'The access token is not valid here.')
  }
}

function challenge(
  status: 400 | 401 | 403,
  error: string,
  attributes: Readonly<Record<string, string>>,
  description: string,
): RefusalAnswer {
  // Neither a code nor a scope can hold a quote or a backslash (RFC 6749 §3.3).
  const parameters = Object.entries({ error, ...attributes }).map(
    ([name, value]) => `${name}="${value}"`,
  )
  return {
    status,
    headers: { 'WWW-Authenticate': `Bearer ${parameters.join(', ')}` },
    body: { error, error_description: description },
  }
}

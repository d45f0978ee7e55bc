import type { Refusal } from './errors.ts'

/** An answer that says less than is known: what helps an honest client, nothing that helps another. */
export interface RefusalAnswer {
  readonly status: 400 | 401 | 403 | 503
  readonly headers: Readonly<Record<string, string>>
  readonly body: { readonly error: string; readonly error_description: string }
}

/** How a token may be sent: by itself, or with a proof of its key (RFC 9449 §7.1). */
export type Scheme = 'Bearer' | 'DPoP'

/** What an answer says beside why: the same for all requests to a route, but for `scheme`. */
export interface ChallengeContext {
  /** The schemes that the route takes; each has a challenge, in this order. Default: Bearer. */
  readonly accepted?: readonly Scheme[] | undefined
  /** The scheme that the request used: its challenge says what is wrong. Default: the first. */
  readonly scheme?: Scheme | undefined
  /** What a proof may be signed with: `algs` in the challenge of the scheme DPoP. */
  readonly dpopAlgorithms?: readonly string[] | undefined
  /** Where the metadata of this API are: `resource_metadata` in each challenge (RFC 9728 §5.1). */
  readonly resourceMetadata?: string | undefined
  /** For development: says why, in place of the public description. **Warning:** to strangers, too. */
  readonly explanation?: string | undefined
}

/**
 * The answer to a refused request. Whatever stands in the texts, no header can be made of it, nor a
 * parameter of a challenge: they are quoted, and what cannot be quoted is left out.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6750.html#section-3 RFC 6750 §3}
 */
export function describeRefusal(refusal: Refusal, context: ChallengeContext = {}): RefusalAnswer {
  const { headers, ...answer } = describeChallenge(refusal, context)
  // Another request with the same token may be answered otherwise.
  return { ...answer, headers: { ...headers, 'Cache-Control': 'no-store' } }
}

function describeChallenge(refusal: Refusal, context: ChallengeContext): RefusalAnswer {
  switch (refusal.kind) {
    case 'no_token': {
      // §3.1: who has sent no credentials is told no error code.
      const how = listSchemes(context).join(' or ')
      return {
        status: 401,
        headers: { 'WWW-Authenticate': writeChallenges(context, undefined, {}) },
        body: {
          error: 'unauthorized',
          error_description: `An access token is needed: send it as Authorization: ${how}.`,
        },
      }
    }
    case 'malformed_request':
      return challenge(context, 400, 'invalid_request', {}, refusal.why)
    case 'insufficient_scope': {
      const scope = refusal.needed.join(' ')
      const description = `The access token needs the scope ${scope}.`
      return challenge(context, 403, 'insufficient_scope', { scope }, description)
    }
    case 'insufficient_role':
      return challenge(
        context,
        403,
        'insufficient_scope',
        {},
        'The roles in the access token do not allow this.',
      )
    case 'insufficient_user_authentication':
      return challenge(
        context,
        401,
        'insufficient_user_authentication',
        describeNeededAuthentication(refusal),
        'The person has to sign in again, in the way that this needs.',
      )
    case 'invalid_dpop_proof': {
      const description = 'The DPoP proof does not fit this request.'
      return challenge(inDpop(context), 401, 'invalid_dpop_proof', {}, description)
    }
    case 'use_dpop_nonce': {
      const description = 'The DPoP proof needs the nonce in the header DPoP-Nonce.'
      const answer = challenge(inDpop(context), 401, 'use_dpop_nonce', {}, description)
      const headers = { ...answer.headers, 'DPoP-Nonce': refusal.nonce.replace(NO_NONCE, '') }
      return { ...answer, headers }
    }
    case 'not_owner': {
      // Not a matter of the token: no other one of this person would help (RFC 6750 has no code for it).
      const description = context.explanation ?? 'This is not yours to use.'
      const body = { error: 'access_denied', error_description: description }
      return { status: 403, headers: {}, body }
    }
    case 'keys_unavailable':
    case 'introspection_unavailable':
    case 'replays_unavailable':
    case 'revocations_unavailable':
      return {
        status: 503,
        headers: { 'Retry-After': String(refusal.retryAfterSeconds) },
        body: {
          error: 'temporarily_unavailable',
          error_description:
            context.explanation ??
            'Access tokens cannot be checked at the moment. Try again later.',
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
    case 'unknown_issuer':
    case 'revoked':
    case 'not_young':
    case 'inactive':
    case 'wrong_claims':
    case 'sender_constrained':
    case 'not_sender_constrained':
    case 'not_an_access_token':
      return challenge(context, 401, 'invalid_token', {}, NOT_VALID)
  }
}

const NOT_VALID = 'The access token is not valid here.'
/** Anything but NQCHAR (RFC 9449 §8.1). */
const NO_NONCE = /[^\x21\x23-\x5B\x5D-\x7E]/g

/** RFC 9470 §3. */
function describeNeededAuthentication({
  acrValues,
  maxAgeSeconds,
}: Extract<Refusal, { kind: 'insufficient_user_authentication' }>): Record<string, string> {
  return {
    ...(acrValues.length > 0 ? { acr_values: acrValues.join(' ') } : {}),
    ...(maxAgeSeconds === undefined ? {} : { max_age: String(maxAgeSeconds) }),
  }
}

/** These codes are of this scheme alone (RFC 9449 §12.2). */
function inDpop(context: ChallengeContext): ChallengeContext {
  return { ...context, scheme: 'DPoP' }
}

function challenge(
  context: ChallengeContext,
  status: 400 | 401 | 403,
  error: string,
  parameters: Readonly<Record<string, string>>,
  publicDescription: string,
): RefusalAnswer {
  const { explanation } = context
  const reason = explanation === undefined ? {} : { error_description: plainText(explanation) }
  return {
    status,
    headers: { 'WWW-Authenticate': writeChallenges(context, error, { ...reason, ...parameters }) },
    body: { error, error_description: explanation ?? publicDescription },
  }
}

/** One challenge for each scheme that is accepted; the error stands in that of the scheme used. */
function writeChallenges(
  context: ChallengeContext,
  error: string | undefined,
  parameters: Readonly<Record<string, string>>,
): string {
  const { dpopAlgorithms, resourceMetadata } = context
  const schemes = listSchemes(context)
  const blamed = schemes.find((scheme) => scheme === context.scheme) ?? schemes[0]
  return schemes
    .map((scheme) =>
      writeChallenge(scheme, {
        ...(error !== undefined && scheme === blamed ? { error, ...parameters } : {}),
        ...(scheme === 'DPoP' && dpopAlgorithms ? { algs: dpopAlgorithms.join(' ') } : {}),
        ...(resourceMetadata === undefined ? {} : { resource_metadata: resourceMetadata }),
      }),
    )
    .join(', ')
}

function listSchemes({ accepted = [] }: ChallengeContext): readonly Scheme[] {
  return accepted.length > 0 ? accepted : ['Bearer']
}

function writeChallenge(scheme: Scheme, parameters: Readonly<Record<string, string>>): string {
  const written = Object.entries(parameters).map(([name, value]) => `${name}=${quote(value)}`)
  return [scheme, written.join(', ')].filter(Boolean).join(' ')
}

/**
 * A quoted-string. What no header should hold becomes a question mark: line breaks would end the
 * header, and what is not ASCII means something else to each reader.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9110.html#section-5.6.4 RFC 9110 §5.6.4}
 */
function quote(value: string): string {
  return `"${value.replace(/[^\x20-\x7E]/g, '?').replace(/["\\]/g, '\\$&')}"`
}

/** RFC 6750 §3: a description holds neither quotes nor backslashes, escaped or not. */
function plainText(description: string): string {
  return description.replaceAll('"', "'").replaceAll('\\', '/')
}

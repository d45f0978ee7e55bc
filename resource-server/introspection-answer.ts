import { checkClaims, malformedClaim, type AccessTokenClaims } from './claims.ts'
import type { Trace } from './decision.ts'
import type { Result, TokenRefusal } from './errors.ts'
import type { JsonObject } from './json.ts'

/** What an issuer may be known to leave out. */
export type LackingMember = 'sub' | 'token_type'

export interface AnswerExpectations {
  readonly issuer: string
  readonly clockToleranceSeconds: number
  readonly mayLack: readonly LackingMember[]
}

const REQUIRED = ['iss', 'aud', 'exp', 'client_id', 'sub']
/** `token_type` is that of RFC 6749 §5.1, `token_use` is Ory's and Amazon's, `typ` is Keycloak's. */
const ACCESS_TOKEN_MARKS: Readonly<Record<string, readonly string[]>> = {
  token_type: ['bearer', 'dpop'],
  token_use: ['access_token', 'access'],
  typ: ['bearer', 'dpop', 'at+jwt'],
}

/**
 * Checks what an issuer says about a token, as far as it means the same for every request: that the
 * token is good, that it is an access token, and the claims of one. Does not check audience and sender.
 *
 * An issuer answers about refresh tokens too, whatever the hint was: so what marks an access token must
 * be there, and nothing that marks another one.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7662.html#section-2.2 RFC 7662 §2.2}
 */
export function readAnswer(
  { active, ...members }: JsonObject,
  { issuer, clockToleranceSeconds, mayLack }: AnswerExpectations,
  nowSeconds: number,
  trace: Trace,
): Result<AccessTokenClaims, TokenRefusal> {
  const passed = active === true
  trace?.push({ check: 'introspection', passed, expected: { active: true }, received: { active } })
  if (!passed) return refuse({ kind: 'inactive' })
  const foreign = findForeignKind(members, mayLack)
  const received = Object.keys(ACCESS_TOKEN_MARKS).map((mark) => members[mark])
  trace?.push({ check: 'type', passed: !foreign, expected: ACCESS_TOKEN_MARKS, received })
  if (foreign !== undefined) return refuse(foreign)
  const claims = completeClaims(members, issuer, mayLack)
  // It said what kind of token it is.
  const expected = { issuer, clockToleranceSeconds, typeIsAmbiguous: false, required: REQUIRED }
  return checkClaims(claims, expected, nowSeconds, trace)
}

function findForeignKind(
  members: JsonObject,
  mayLack: readonly LackingMember[],
): TokenRefusal | undefined {
  const marks = Object.entries(ACCESS_TOKEN_MARKS).filter(([mark]) => Object.hasOwn(members, mark))
  for (const [mark, expected] of marks) {
    const actual = members[mark]
    if (typeof actual !== 'string' || !expected.includes(actual.toLowerCase())) {
      return { kind: 'wrong_type', expected, actual }
    }
  }
  if (marks.length === 0 && !mayLack.includes('token_type')) {
    return { kind: 'missing_claim', claim: 'token_type' }
  }
  const { token_type: type, cnf } = members
  const isBoundType = typeof type === 'string' && type.toLowerCase() === 'dpop'
  const { jkt } = (cnf ?? {}) as { readonly jkt?: unknown }
  return isBoundType && typeof jkt !== 'string'
    ? malformedClaim('cnf', 'the key that a token of the type DPoP is bound to')
    : undefined
}

/** The issuer was asked, so what does not name one is its; without an owner, a client acts for itself. */
function completeClaims(
  members: JsonObject,
  issuer: string,
  mayLack: readonly LackingMember[],
): JsonObject {
  const { client_id: clientId } = members
  const isOwnerless = mayLack.includes('sub') && clientId !== undefined
  return { iss: issuer, ...(isOwnerless ? { sub: clientId } : {}), ...members }
}

function refuse(reason: TokenRefusal): { readonly ok: false; readonly reason: TokenRefusal } {
  return { ok: false, reason }
}

import type { AccessTokenClaims, Auth } from './claims.ts'
import { readNames, readNumber, refuseUnknownOptions } from './options.ts'
import { requireSchema, type ClaimsSchema } from './schema.ts'
import type { Binding } from './sender.ts'
import { readStaleRule, type StaleRule } from './staleness.ts'

/**
 * What a request needs to reach what is behind a guard. `Claims` is what `claims` makes of them,
 * `Context` what the guard is given beside the request: of Koa, its `ctx`.
 */
export interface RoutePolicy<Claims = AccessTokenClaims, Context = unknown> {
  /** Scopes that the token must have, all of them: a list, or one text with spaces between. */
  readonly scope?: string | readonly string[]
  /** Roles of which the token must have one. */
  readonly roles?: string | readonly string[]
  /**
   * Of the verifier's audiences, those that are meant here: the token must be for one of these, and its
   * issuer's tokens for that one. A route takes less than its verifier, and never more.
   */
  readonly audience?: string | readonly string[]
  /** The person must have signed in in one of these ways (the claim `acr`). */
  readonly acr?: string | readonly string[]
  /** How long ago the person may have signed in at most (the claim `auth_time`): 0 to a year. */
  readonly maxAgeSeconds?: number
  /**
   * The token must be bound to its sender in this way, or in one of these; `dpop` needs the option
   * `sender.dpop`. Not needed for the proof to be checked: a token that is bound is always to be proven.
   */
  readonly sender?: Binding | readonly Binding[]
  /**
   * What is done while it is not known what the issuer has revoked: before the first connection to its
   * feed, and from 15 seconds after the last sign of life. Only where the verifier follows revocations;
   * then `young(60)` by default.
   *
   * - `young(seconds)`: tokens that were issued no longer ago than that are taken. Others are 401, so that
   *   the client gets a new one from the issuer, which knows what it has revoked.
   * - `'closed'`: nobody is let in; 503.
   * - `'introspect'`: the issuer is asked about each token; needs `introspection` of the verifier.
   * - `'open'`: **warning:** whatever is revoked meanwhile goes on until it expires.
   */
  readonly whenStale?: StaleRule
  /** What the claims must be. `auth.claims` is what the schema makes of them, and has its type. */
  readonly claims?: ClaimsSchema<Claims>
  /**
   * The route's own rule, asked last: only `true` lets the request through. What it throws ends the
   * request with an error.
   */
  readonly owns?: (auth: Auth<Claims>, context: Context) => boolean | PromiseLike<boolean>
}

/** A policy as it is looked at for each request. */
export interface Requirements<Claims, Context> {
  readonly scopes: readonly string[]
  readonly roles: readonly string[] | undefined
  readonly audiences: readonly string[] | undefined
  readonly acrValues: readonly string[]
  readonly maxAgeSeconds: number | undefined
  readonly sender: readonly Binding[] | undefined
  readonly whenStale: StaleRule
  readonly schema: ClaimsSchema<Claims> | undefined
  readonly owns: RoutePolicy<Claims, Context>['owns'] | undefined
}

const OPTIONS = [
  'scope',
  'roles',
  'audience',
  'acr',
  'maxAgeSeconds',
  'sender',
  'whenStale',
  'claims',
  'owns',
]
/** Characters of RFC 6749 §3.3: no space, quote or backslash, so a challenge can quote it. */
const SCOPE_TOKEN = /^[\x21\x23-\x5B\x5D-\x7E]+$/
const YEAR_SECONDS = 31_536_000

/** Throws a `TypeError` that names the member, for a policy that cannot be right. */
export function readPolicy<Claims, Context>(
  policy: RoutePolicy<Claims, Context>,
): Requirements<Claims, Context> {
  refuseContext(policy)
  refuseUnknownOptions('protect', policy, OPTIONS)
  // A name that was misspelt where the value comes from: it would be a check that nobody makes.
  const empty = Object.entries(policy).find(([, value]) => value === undefined)
  if (empty !== undefined) throw new TypeError(`${empty[0]}: expected a value, not undefined`)
  const { scope, roles, audience, acr, maxAgeSeconds, sender, whenStale, claims, owns } = policy
  if (claims !== undefined) requireSchema('claims', claims)
  if (owns !== undefined && typeof owns !== 'function') {
    throw new TypeError('owns: expected a function')
  }
  return {
    scopes: scope === undefined ? [] : readTokens('scope', scope),
    roles: roles === undefined ? undefined : readRoles(roles),
    audiences: audience === undefined ? undefined : readNames('audience', audience),
    acrValues: acr === undefined ? [] : readTokens('acr', acr),
    maxAgeSeconds:
      maxAgeSeconds === undefined
        ? undefined
        : readNumber('maxAgeSeconds', maxAgeSeconds, [0, YEAR_SECONDS]),
    sender: sender === undefined ? undefined : readBindings(sender),
    whenStale: readStaleRule(whenStale),
    schema: claims,
    owns,
  }
}

/** `app.use(protect)` would pass at the start, and make a policy of each request. */
function refuseContext(policy: unknown): void {
  const isContext = typeof policy === 'object' && policy !== null && 'req' in policy
  if (isContext) throw new TypeError('protect was given a Koa context: write protect()')
}

/** A claim may hold a role with a space, but who writes one here mostly means two, as in `scope`. */
function readRoles(value: string | readonly string[]): readonly string[] {
  const roles = readNames('roles', value)
  if (typeof value === 'string' && value.includes(' ')) {
    throw new TypeError(
      `roles: expected a list, not ${JSON.stringify(value)}: a text is one role, and with a space it goes into a list`,
    )
  }
  return roles
}

/** What a challenge names, between spaces. */
function readTokens(option: string, value: string | readonly string[]): readonly string[] {
  const tokens = readNames(option, value).flatMap((text) => text.split(' '))
  const wrong = tokens.find((token) => !SCOPE_TOKEN.test(token))
  if (wrong !== undefined) {
    throw new TypeError(
      `${option}: expected texts as RFC 6749 §3.3 has them, not ${JSON.stringify(wrong)}`,
    )
  }
  return tokens
}

function readBindings(value: Binding | readonly Binding[]): readonly Binding[] {
  const names = readNames('sender', value)
  const wrong = names.find((name) => name !== 'dpop' && name !== 'certificate')
  if (wrong !== undefined) {
    throw new TypeError(`sender: expected dpop or certificate, not ${JSON.stringify(wrong)}`)
  }
  return names as readonly Binding[]
}

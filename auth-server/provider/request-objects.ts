import { errors, type Configuration, type KoaContextWithOIDC } from 'oidc-provider'
import type { Clock } from '../clock.ts'
import { FAPI2_ALGORITHMS } from '../config/built-in.ts'
import type { TakeOnce } from './adapter.ts'
import { LONGEST_JTI, MOST_SECONDS_AHEAD } from './client-keys.ts'
import { recordOf } from './clients.ts'
import type { EngineMiddleware } from './engine-middleware.ts'

const LONGEST_SECONDS = 3600
/** `JWT` is what libraries write that know no better name. */
const TYPES: ReadonlySet<unknown> = new Set([undefined, 'JWT', 'oauth-authz-req+jwt'])

type RequestObjects = NonNullable<NonNullable<Configuration['features']>['requestObjects']>
type ReadClaims = NonNullable<RequestObjects['assertJwtClaimsAndHeader']>

/**
 * Refuses a request object that could be used for long, or that is a JWT for something else. It is asked
 * before the signature was verified, so it remembers nothing; that, who it is from and whom it is for the
 * engine checks.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9101.html#section-10.8 RFC 9101 §10.8}
 * @see {@link https://openid.net/specs/fapi-message-signing-2_0-final.html#section-5.3.1 FAPI 2.0 Message Signing §5.3.1}
 */
export function createRequestObjectCheck(clock: Clock): ReadClaims {
  return (ctx, claims, header, client) => {
    // What was pushed was judged there.
    if (ctx.oidc.entities.PushedAuthorizationRequest) return
    const now = clock.now() / 1000
    const fault =
      judgeType(header, claims, client.clientId) ??
      judgeTimes(claims, now) ??
      judgeBackchannel(ctx, claims) ??
      (recordOf(client).profile === 'fapi2' ? judgeWeakness(header, claims) : undefined) ??
      (isShortText(claims['jti']) ? undefined : `jti is longer than ${LONGEST_JTI} characters`)
    if (fault !== undefined) throw new errors.InvalidRequestObject(fault)
  }
}

type Members = Readonly<Record<string, unknown>>

/** A client's other JWTs are for this server too: an assertion that it proves itself by has a `sub`. */
function judgeType({ typ }: Members, { sub }: Members, clientId: string): string | undefined {
  if (!TYPES.has(typ)) return 'typ must be oauth-authz-req+jwt, or JWT'
  return sub === clientId ? 'a request object must not have the client as its sub' : undefined
}

function judgeTimes({ exp, nbf, iat }: Members, now: number): string | undefined {
  if (typeof exp !== 'number' || exp > now + LONGEST_SECONDS) {
    return `exp must be a number, ${LONGEST_SECONDS} seconds from now at most`
  }
  if (nbf !== undefined && (typeof nbf !== 'number' || nbf < exp - LONGEST_SECONDS)) {
    return `nbf must be a number, ${LONGEST_SECONDS} seconds before exp at most`
  }
  const isToCome = typeof iat === 'number' && iat > now + MOST_SECONDS_AHEAD
  return isToCome ? 'iat is to come' : undefined
}

/** @see {@link https://openid.net/specs/openid-client-initiated-backchannel-authentication-core-1_0.html#rfc.section.7.1.1 CIBA Core §7.1.1} */
function judgeBackchannel({ oidc }: KoaContextWithOIDC, claims: Members): string | undefined {
  if (oidc.route !== 'backchannel_authentication') return undefined
  const missing = ['iat', 'nbf', 'jti'].filter((claim) => claims[claim] === undefined)
  return missing.length === 0 ? undefined : `it must have ${missing.join(' and ')}`
}

/** @see {@link https://openid.net/specs/fapi-message-signing-2_0-final.html#section-5.3.1 FAPI 2.0 Message Signing §5.3.1} */
function judgeWeakness({ alg }: Members, { nbf }: Members): string | undefined {
  if (!FAPI2_ALGORITHMS.has(alg)) return 'alg must be PS256, ES256 or EdDSA'
  return nbf === undefined ? 'nbf is missing' : undefined
}

function isShortText(jti: unknown): boolean {
  return jti === undefined || (typeof jti === 'string' && jti.length <= LONGEST_JTI)
}

/**
 * Takes a request object that came through a browser once, where it has a `jti` to know it by. What was
 * pushed is known by its `request_uri`, which is good once. It runs as the check of a parameter: those
 * come after the signature was verified, so that nobody can use up what somebody else has signed.
 */
export function createRequestObjectReplayCheck(takeOnce: TakeOnce) {
  return async (ctx: KoaContextWithOIDC): Promise<void> => {
    const { route, client, entities } = ctx.oidc
    const isDirect = route === 'authorization' && !entities.PushedAuthorizationRequest
    const sent = isDirect || route === 'backchannel_authentication' ? readSent(ctx) : undefined
    if (client === undefined || sent === undefined) return
    const { jti, exp } = decodeClaims(sent)
    if (typeof jti !== 'string' || typeof exp !== 'number') return
    if (await takeOnce(`request object\0${client.clientId}`, jti, exp)) return
    throw new errors.InvalidRequestObject('the request object was used already')
  }
}

function readSent({ method, query, oidc }: KoaContextWithOIDC): string | undefined {
  const sent = method === 'POST' ? oidc.body?.['request'] : query['request']
  return typeof sent === 'string' ? sent : undefined
}

function decodeClaims(jwt: string): Members {
  const [, claims = ''] = jwt.split('.')
  return JSON.parse(Buffer.from(claims, 'base64url').toString('utf8')) as Members
}

const TOO_DEEP = 'it is nested too deeply'
const nestedTooDeep = new WeakSet<object>()

/**
 * The refusal of what is nested beyond measure, where that is what the engine has failed on: it copies a
 * request object by calling itself for each level. That is the client's mistake, and no alarm for the
 * operator.
 */
export function toDeepRequest(ctx: KoaContextWithOIDC, error: Error): Error | undefined {
  if (!(error instanceof RangeError) || ctx.oidc?.params?.['request'] === undefined)
    return undefined
  nestedTooDeep.add(ctx)
  return new errors.InvalidRequestObject(TOO_DEEP)
}

/** Only what is pushed or sent by a program can be that long. */
export const refuseDeepRequest: EngineMiddleware = async (ctx, next) => {
  await next()
  if (!nestedTooDeep.has(ctx)) return
  const refusal = new errors.InvalidRequestObject(TOO_DEEP)
  ctx.status = refusal.status
  ctx.body = { error: refusal.error, error_description: refusal.error_description }
}

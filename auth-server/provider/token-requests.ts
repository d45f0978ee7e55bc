import { decodeJwt, decodeProtectedHeader } from 'jose'
import { errors, type KoaContextWithOIDC } from 'oidc-provider'
import { GRANT_TYPES } from '../config/built-in.ts'
import type { Events } from '../events.ts'
import type { BeginIssuance, Issuance, IssuanceEnd } from '../revocation/issuance.ts'
import { BACKCHANNEL_MODEL } from './ciba.ts'
import { listSubjects, looksLikeJwt, MOST_CHARACTERS, type IssuedClaims } from './issued-token.ts'
import type { EngineMiddleware } from './engine-middleware.ts'
import type { ModelStore, ModelWrite } from './model-store.ts'
import { collectWrites } from './unit-of-work.ts'

export interface TokenRequestCollaborators {
  readonly models: ModelStore
  readonly events: Events
  readonly beginIssuance: BeginIssuance
}

const issuances = new WeakMap<KoaContextWithOIDC, Issuance>()

/** That of the token that this request is to get. */
export function issuanceOf(ctx: KoaContextWithOIDC): Issuance {
  const issuance = issuances.get(ctx)
  if (issuance) return issuance
  throw new TypeError('tokens are issued at the token endpoint only')
}

/**
 * Makes of each token request one commit, and looks at the log of revocations once more when the token is
 * signed: what was taken away meanwhile is not given.
 */
export function createTokenRequests(collaborators: TokenRequestCollaborators): EngineMiddleware {
  const { models, events, beginIssuance } = collaborators
  return async (ctx, next) => {
    if (ctx.path !== '/token' || ctx.method !== 'POST') {
      await next()
      return
    }
    const issuance = await beginIssuance()
    issuances.set(ctx, issuance)
    const writes = await collectWrites(async () => {
      await next()
    })
    if (ctx.status === 200 && isTooLong(ctx)) refuseTooLong(ctx, events)
    const end = ctx.status === 200 ? await findEnd(issuance, ctx) : undefined
    if (end) refuseEnded(ctx, events, end)
    const result = await models.apply(keepWrites(writes, ctx.status))
    if (result.outcome === 'lost') {
      const kind = 'model' in result.write ? result.write.model : result.write.kind
      announceReuse(ctx, events, kind, result.grantId)
      answerInvalidGrant(ctx)
      return
    }
    // Of its own accord the engine revokes here only what hangs on a credential that comes again.
    const revoked = writes.find((one) => one.kind === 'revoke-grant')
    if (revoked) announceReuse(ctx, events, nameCredential(ctx), revoked.grantId)
    if (ctx.status === 200) announceToken(ctx, events)
  }
}

/**
 * An opaque token needs no other look: whoever takes it, here, finds neither it nor its grant, or is told
 * that what it hangs on has ended.
 */
async function findEnd(
  issuance: Issuance,
  { body }: KoaContextWithOIDC,
): Promise<IssuanceEnd | undefined> {
  const { access_token: token } = body as { access_token?: unknown }
  if (!looksLikeJwt(token)) return undefined
  const claims = decodeJwt<IssuedClaims>(token)
  return issuance.findEnd(listSubjects(claims, decodeProtectedHeader(token).kid), claims.iat)
}

/** What it says is as much as was asked for. */
function isTooLong({ body }: KoaContextWithOIDC): boolean {
  const { access_token: token } = body as { access_token?: unknown }
  return typeof token === 'string' && token.length > MOST_CHARACTERS
}

function refuseTooLong(ctx: KoaContextWithOIDC, events: Events): void {
  const text = `the access token would have more than ${MOST_CHARACTERS} characters: ask for less`
  const { error, error_description, status } = new errors.InvalidScope(text, '')
  ctx.status = status
  ctx.body = { error, error_description }
  const clientId = ctx.oidc.client?.clientId
  events.requestRefused({ endpoint: 'token', error, clientId, detail: text })
}

/** Ends of what a client can get anew by asking again, with another key or a second later. */
const PASSING: ReadonlySet<IssuanceEnd['kind']> = new Set(['client', 'key', 'all'])

/** Which of the things it hangs on has ended is for the operator. */
function refuseEnded(ctx: KoaContextWithOIDC, events: Events, { kind, isFinal }: IssuanceEnd) {
  const detail = `it was revoked while it was issued: ${kind}`
  const isPassing = !isFinal || PASSING.has(kind)
  const refusal = isPassing
    ? ({ status: 503, error: 'temporarily_unavailable', text: 'try again' } as const)
    : ({ status: 400, error: 'invalid_grant', text: 'grant request is invalid' } as const)
  ctx.status = refusal.status
  ctx.body = { error: refusal.error, error_description: refusal.text }
  const clientId = ctx.oidc.client?.clientId
  events.requestRefused({ endpoint: 'token', error: refusal.error, clientId, detail })
}

/**
 * A client that was refused got nothing, so nothing was used: its credential is as good as before. What
 * the refusal took away (a family whose token was reused) is gone all the same.
 */
function keepWrites(writes: readonly ModelWrite[], status: number): readonly ModelWrite[] {
  if (status < 400) return writes
  return status < 500 ? writes.filter(({ kind }) => kind !== 'consume' && kind !== 'put') : []
}

function answerInvalidGrant(ctx: KoaContextWithOIDC): void {
  const { error, error_description, status } = new errors.InvalidGrant('used already')
  ctx.status = status
  ctx.body = { error, error_description }
}

function announceReuse(
  ctx: KoaContextWithOIDC,
  events: Events,
  kind: string,
  grantId: string | undefined,
): void {
  const { client, account } = ctx.oidc
  const facts = { clientId: client?.clientId, accountId: account?.accountId }
  events.credentialReused({ kind, grantId, ...facts })
}

function nameCredential({ oidc }: KoaContextWithOIDC): string {
  const grantType = oidc.params?.['grant_type']
  if (grantType === GRANT_TYPES.device_code) return 'DeviceCode'
  if (grantType === GRANT_TYPES.ciba) return BACKCHANNEL_MODEL
  return grantType === 'refresh_token' ? 'RefreshToken' : 'AuthorizationCode'
}

function announceToken(ctx: KoaContextWithOIDC, events: Events): void {
  const { params, client, account } = ctx.oidc
  const { scope } = ctx.body as { scope?: string }
  events.tokenIssued({
    grantType: String(params?.['grant_type']),
    clientId: client?.clientId ?? '',
    accountId: account?.accountId,
    scope,
    keyId: ctx.state['apiKeyId'] as string | undefined,
  })
}

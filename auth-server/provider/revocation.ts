import type {
  AccessToken,
  Client as EngineClient,
  ClientCredentials,
  KoaContextWithOIDC,
  RefreshToken,
} from 'oidc-provider'
import type { Events } from '../events.ts'
import type { RevocationStore } from '../revocation/revocation.ts'
import { isAboutJwt } from './introspection.ts'
import { isAccountId, type IssuedTokens } from './issued-token.ts'
import type { EngineMiddleware } from './engine-middleware.ts'
import type { ModelStore } from './model-store.ts'
import { collectWrites } from './unit-of-work.ts'

export interface RevocationCollaborators {
  readonly models: ModelStore
  readonly revocations: Pick<RevocationStore, 'append'>
  readonly issued: IssuedTokens
  readonly events: Events
}

/** A verifier whose clock is behind takes a token for longer than it lives. */
const LONGEST_SKEW_MS = 600_000

/**
 * Takes JWTs back (RFC 7009), which the engine refuses to, and makes one commit of what it does for a
 * refresh token. A token of another client stays as it is, and the answer does not tell: it is the same
 * as for a token that there never was.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7009.html#section-2 RFC 7009 §2}
 */
export function createRevocation(collaborators: RevocationCollaborators): EngineMiddleware {
  const { models } = collaborators
  return async (ctx, next) => {
    if (ctx.path !== '/revoke') {
      await next()
      return
    }
    const writes = await collectWrites(async () => {
      await next()
    })
    const client = ctx.oidc?.client
    if (!client) return
    if (isAboutJwt(ctx)) {
      await revokeJwt(collaborators, client, ctx.oidc.params?.['token'])
      ctx.status = 200
      ctx.body = ''
    } else if (ctx.status === 200 && writes.length > 0) {
      await models.apply(writes)
      announce(collaborators.events, ctx)
    }
  }
}

async function revokeJwt(
  { revocations, issued, events }: RevocationCollaborators,
  client: EngineClient,
  token: unknown,
): Promise<void> {
  const { claims } = (await issued.verify(token)) ?? {}
  if (claims?.client_id !== client.clientId) return
  const { jti, sub, exp, grant_id: grantId } = claims
  const expiresAt = exp * 1000 + LONGEST_SKEW_MS
  const entry = { kind: 'token', subject: jti, reason: 'token_revoked' } as const
  await revocations.append([{ ...entry, expiresAt }])
  const accountId = isAccountId(sub) ? sub : undefined
  events.tokenRevoked({ kind: 'AccessToken', clientId: client.clientId, accountId, grantId })
}

function announce(events: Events, ctx: KoaContextWithOIDC): void {
  const { AccessToken: access, RefreshToken: refresh } = ctx.oidc.entities
  const kind = refresh ? 'RefreshToken' : 'AccessToken'
  const accountId = (refresh ?? access)?.accountId
  events.tokenRevoked({ kind, clientId: ctx.oidc.client?.clientId ?? '', accountId })
}

/**
 * Whether the engine is to end a refresh token with its grant and all that hangs on it, as RFC 7009 §2.1
 * wants it. An access token ends alone, a JWT or not: the app is about to get another one.
 */
export async function mayRevoke(
  _ctx: KoaContextWithOIDC,
  client: EngineClient,
  token: AccessToken | ClientCredentials | RefreshToken,
): Promise<boolean> {
  if (token.clientId !== client.clientId) return false
  if (token.kind === 'AccessToken') await token.destroy()
  return token.kind !== 'AccessToken'
}

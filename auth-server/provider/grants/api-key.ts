import { errors, type KoaContextWithOIDC } from 'oidc-provider'
import type { Account } from '../../accounts/account.ts'
import type { ApiKeyRefusal, VerifyApiKey } from '../../api-keys/verify.ts'
import { GRANT_TYPES } from '../../config/built-in.ts'
import { assertNever, PortreeveError } from '../../errors.ts'
import { toEngineError } from '../errors.ts'
import type { CustomGrant } from './grants.ts'
import { issueToken, type IssueCollaborators } from './issue-token.ts'

export interface ApiKeyGrantCollaborators extends IssueCollaborators {
  readonly verifyApiKey: VerifyApiKey<Account>
}

/**
 * Gives an access token for an API key: an extension grant (RFC 6749 §4.5) of our own. The token is about
 * the key's owner, for the key's resource, and names the key as `grant_id`: revoking the key revokes it.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6749.html#section-4.5 RFC 6749 §4.5}
 */
export function createApiKeyGrant(collaborators: ApiKeyGrantCollaborators): CustomGrant {
  return {
    name: GRANT_TYPES.api_key,
    parameters: ['api_key', 'scope', 'resource'],
    async handle(ctx) {
      const { client, params } = ctx.oidc
      const text = params?.['api_key']
      if (typeof text !== 'string' || text === '') {
        throw new errors.InvalidRequest("missing required parameter 'api_key'")
      }
      const source = { clientId: client?.clientId, address: ctx.ip }
      const verified = await collaborators.verifyApiKey(text, source)
      if (!verified.ok) throw refuse(ctx, verified.reason)
      const { key, owner } = verified.value
      const { resource = key.resource } = params ?? {}
      if (resource !== key.resource) {
        throw new errors.InvalidTarget('the API key is for another resource')
      }
      ctx.state['apiKeyId'] = key.id
      await issueToken(collaborators, ctx, {
        account: owner,
        scopes: key.scopes,
        resource: key.resource,
        notAfter: key.expiresAt === undefined ? undefined : Math.floor(key.expiresAt / 1000),
        claims: { grant_id: key.id },
      })
    },
  }
}

/** Whoever shows a key that was good once may know what has become of it, and no more of its owner. */
function refuse(ctx: KoaContextWithOIDC, reason: ApiKeyRefusal): unknown {
  switch (reason.kind) {
    case 'not_a_key':
      return invalid('this is no API key: one begins with prk_')
    case 'mistyped':
      return invalid('the API key is mistyped or cut off: its checksum does not fit')
    case 'unknown':
      return invalid('there is no such API key')
    case 'expired':
      return invalid('the API key has expired')
    case 'revoked':
    case 'owner':
      return invalid('the API key was revoked')
    case 'throttled': {
      const { retryAfterSeconds } = reason
      const cause = { retryAfterSeconds }
      const error = new PortreeveError('throttled', 'too many wrong API keys', { cause })
      return toEngineError(error, (seconds) => ctx.set('Retry-After', String(seconds)))
    }
    default:
      return assertNever(reason)
  }
}

function invalid(description: string): Error {
  return new errors.CustomOIDCProviderError('invalid_grant', description)
}

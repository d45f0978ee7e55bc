import { errors } from 'oidc-provider'
import { chooseIntrospectionAlgorithm } from '../clients/client.ts'
import type { Clock } from '../clock.ts'
import { encryptToken } from '../keys/encrypt.ts'
import type { PrivateJwk } from '../keys/keyset.ts'
import { signToken } from '../keys/sign.ts'
import { recordOf } from './clients.ts'
import { requireEncryptionKey } from './encryption.ts'
import { readClientKeys } from './internals.ts'
import type { EngineMiddleware } from './engine-middleware.ts'

const TYPE = 'token-introspection+jwt'
const ACCEPTED = /(?:^|,)\s*application\/token-introspection\+jwt\s*(?:[;,]|$)/i

export interface SignedIntrospectionCollaborators {
  readonly signingKeys: readonly PrivateJwk[]
  readonly clock: Clock
}

/**
 * Signs what is said of a token, for an API that asks for that by its Accept header and has to be able to
 * prove later what it was told, and encrypts it where the API wants that. It is for that API alone, and of
 * a type of its own: in no other place can it pass for a token. The engine would have the token's audience
 * there, and cannot sign what is said of JWTs. Errors are never signed.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9701.html#section-5 RFC 9701 §5}
 */
export function createSignedIntrospection({
  signingKeys,
  clock,
}: SignedIntrospectionCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    const { client, route, issuer } = ctx.oidc ?? {}
    if (route !== 'introspection' || ctx.status !== 200 || !client || issuer === undefined) return
    const record = recordOf(client)
    const encryption = record.encryption?.introspection
    if (!ACCEPTED.test(String(ctx.state['accept'] ?? ''))) {
      if (!encryption) return
      const expected = `expected Accept: application/${TYPE}`
      throw new errors.InvalidRequest(`this client is answered encrypted: ${expected}`)
    }
    const algorithm = chooseIntrospectionAlgorithm(record)
    const key = signingKeys.find(({ alg }) => alg === algorithm)
    if (!key) throw new TypeError(`there is no key for ${algorithm}`)
    const claims = {
      iss: issuer,
      aud: client.clientId,
      iat: Math.floor(clock.now() / 1000),
      token_introspection: ctx.body,
    }
    // Without what is undefined: JSON has no such thing.
    const plain = JSON.parse(JSON.stringify(claims)) as typeof claims
    const signed = await signToken({ kind: 'key', key }, TYPE, plain)
    ctx.body = encryption
      ? await encryptToken(
          signed,
          requireEncryptionKey(await readClientKeys(client), encryption.algorithm),
          { ...encryption, issuer, clientId: client.clientId },
        )
      : signed
    ctx.type = `application/${TYPE}`
  }
}

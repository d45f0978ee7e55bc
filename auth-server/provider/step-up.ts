import { errors, interactionPolicy, type KoaContextWithOIDC } from 'oidc-provider'
import { ACR_VALUES } from '../config/built-in.ts'
import { listEssentialAcrs } from './claims-parameter.ts'

/**
 * How somebody was authenticated: by a password, and nothing else. It is the one answer of a server with
 * one factor, and says nothing of how long ago it was: that is `auth_time`, asked for by `max_age`.
 */
export const [ACR_PASSWORD] = ACR_VALUES

/**
 * A request that names only what this server cannot do is refused before anybody signs in: a token with
 * another `acr` would send the client back here for ever. Sessions of before there was an `acr` have
 * none: there the person signs in once more.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9470.html#section-5 RFC 9470 §5}
 * @see {@link https://openid.net/specs/openid-connect-core-1_0.html#acrSemantics OpenID Connect Core §5.5.1.1}
 */
export function createAcrCheck(): InstanceType<typeof interactionPolicy.Check> {
  return new interactionPolicy.Check(
    'acr_missing',
    'End-User authentication as requested is required',
    'login_required',
    (ctx) => {
      if (listAcrDemands(ctx).length === 0) return false
      refuseUnknownAcrs(ctx)
      return ctx.oidc.session?.acr !== ACR_PASSWORD
    },
  )
}

/** Throws where none of what was asked for is there. */
export function refuseUnknownAcrs(ctx: KoaContextWithOIDC): void {
  if (listAcrDemands(ctx).every((acrs) => acrs.includes(ACR_PASSWORD))) return
  throw new errors.UnmetAuthenticationRequirements(`acr: only ${ACR_PASSWORD} is there`)
}

/** Lists of which one each has to be met. */
function listAcrDemands(ctx: KoaContextWithOIDC): readonly (readonly string[])[] {
  const requested: unknown = ctx.oidc.params?.['acr_values']
  const values = typeof requested === 'string' ? requested.split(' ').filter(Boolean) : []
  return [values, listEssentialAcrs(ctx)].filter((acrs) => acrs.length > 0)
}

/** Why somebody who is signed in has to do so once more; `undefined` where it is not about that. */
export function describeAgain(
  reasons: readonly string[],
): 'another' | 'too_old' | 'asked' | undefined {
  if (reasons.includes('other_subject') || reasons.includes('id_token_hint')) return 'another'
  if (reasons.includes('max_age')) return 'too_old'
  return reasons.includes('login_prompt') ? 'asked' : undefined
}

import { errors, interactionPolicy, type KoaContextWithOIDC } from 'oidc-provider'

/**
 * How somebody was authenticated: by a password, and nothing else. It is the one answer of a server with
 * one factor, and says nothing of how long ago it was: that is `auth_time`, asked for by `max_age`.
 */
export const ACR_PASSWORD = 'urn:portreeve:acr:password'

/**
 * A request that names only what this server cannot do is refused before anybody signs in: a token with
 * another `acr` would send the client back here for ever. Sessions of before there was an `acr` have
 * none: there the person signs in once more.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9470.html#section-5 RFC 9470 §5}
 */
export function createAcrCheck(): InstanceType<typeof interactionPolicy.Check> {
  return new interactionPolicy.Check(
    'acr_missing',
    'End-User authentication as requested is required',
    'login_required',
    (ctx) => {
      const requested = listRequestedAcrs(ctx)
      if (requested.length === 0) return false
      refuseUnknownAcrs(requested)
      return ctx.oidc.session?.acr !== ACR_PASSWORD
    },
  )
}

/** Throws where none of what was asked for is there. */
export function refuseUnknownAcrs(requested: readonly string[]): void {
  if (requested.length === 0 || requested.includes(ACR_PASSWORD)) return
  throw new errors.UnmetAuthenticationRequirements(`acr_values: only ${ACR_PASSWORD} is there`)
}

export function listRequestedAcrs({ oidc }: KoaContextWithOIDC): readonly string[] {
  const requested: unknown = oidc.params?.['acr_values']
  return typeof requested === 'string' ? requested.split(' ').filter(Boolean) : []
}

/** Why somebody who is signed in has to do so once more; `undefined` where it is not about that. */
export function describeAgain(reasons: readonly string[]): 'too_old' | 'asked' | undefined {
  if (reasons.includes('max_age')) return 'too_old'
  return reasons.includes('login_prompt') ? 'asked' : undefined
}

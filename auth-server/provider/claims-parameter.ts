import { errors, type Configuration, type KoaContextWithOIDC } from 'oidc-provider'
import { CLAIMS_OF_SCOPES, claimsFor } from './claims.ts'
import { clientOf } from './clients.ts'

/*
 * Claims that a request names one by one (OpenID Connect Core §5.5). What comes is replaced by what is
 * meant: from here on a request has no claim that its client may not have, no member that is not
 * understood, and nothing nested. So does what is kept of it: in a pushed request, on the pages, in a code.
 */

/** In characters. All that can be asked for fits into a quarter of it. */
const MOST_CHARACTERS = 4096

type Feature = Exclude<
  NonNullable<Configuration['features']>['claimsParameter'],
  boolean | undefined
>

/** What a request asks of the sign-in, or of a claim; for all but a few claims it is `null`. */
type Wish = Readonly<Record<string, unknown>> | null

/** A request as it goes on. */
interface ClaimsRequest {
  readonly id_token?: Readonly<Record<string, Wish>>
  readonly userinfo?: Readonly<Record<string, Wish>>
}

/** Those of a sign-in rather than of a person: nobody is asked for them, and userinfo knows of none. */
const OF_SIGN_IN: ReadonlySet<string> = new Set(CLAIMS_OF_SCOPES['openid'])

export function createClaimsParameter(): Feature {
  return {
    enabled: true,
    async assertClaimsParameter(ctx, given) {
      const { params, route } = ctx.oidc
      if (!params) return
      const { length } = String(params['claims'])
      if (length > MOST_CHARACTERS)
        refuse('', `at most ${MOST_CHARACTERS} characters, not ${length}`)
      const request = readRequest(given, claimsFor(clientOf(ctx)?.scopes ?? []))
      if (route === 'backchannel_authentication' && listWantedSubjects(request)) {
        refuse('id_token.sub', 'whom a request is for is said by its hint')
      }
      const isEmpty = !request.id_token && !request.userinfo
      params['claims'] = isEmpty ? undefined : JSON.stringify(request)
    },
  }
}

/**
 * Essential or not, a claim that a client may not have is left out: §5.5.1 has no error for one that is
 * not returned, and a client that was told so would learn what others may have.
 *
 * @see {@link https://openid.net/specs/openid-connect-core-1_0.html#ClaimsParameter OpenID Connect Core §5.5}
 */
function readRequest(
  given: { readonly id_token?: unknown; readonly userinfo?: unknown },
  allowed: ReadonlySet<string>,
): ClaimsRequest {
  const idToken = listWishes(given.id_token)
  const userinfo = listWishes(given.userinfo)
  const subjects = readSubjects(idToken.get('sub'), userinfo.get('sub'))
  const values = readEssentialAcr(idToken.get('acr'))
  const special: Readonly<Record<string, Wish>> = {
    ...(subjects && { sub: { values: subjects } }),
    ...(values && { acr: { essential: true, values } }),
  }
  const named = [...idToken.keys()].filter((claim) => allowed.has(claim))
  const shown = [...userinfo.keys()].filter((claim) => allowed.has(claim) && !OF_SIGN_IN.has(claim))
  const inIdToken = { ...toWishes(named), ...special }
  return {
    ...(Object.keys(inIdToken).length > 0 && { id_token: inIdToken }),
    ...(shown.length > 0 && { userinfo: toWishes(shown) }),
  }
}

function toWishes(claims: readonly string[]): Record<string, Wish> {
  return Object.fromEntries(claims.map((claim) => [claim, null]))
}

/** §5.5.1: a claim is asked for by `null` or by an object. Anything else asks for nothing. */
function listWishes(member: unknown): ReadonlyMap<string, Wish> {
  const wishes = Object.entries((member ?? {}) as Readonly<Record<string, unknown>>)
  return new Map(wishes.flatMap(([claim, wish]) => (isWish(wish) ? [[claim, wish] as const] : [])))
}

function isWish(wish: unknown): wish is Wish {
  return typeof wish === 'object' && !Array.isArray(wish)
}

/**
 * Whose tokens alone may be answered with: the engine goes by one `value` for the ID token, and a client
 * that names the person elsewhere means it no less.
 *
 * @see {@link https://openid.net/specs/openid-connect-core-1_0.html#AuthRequestValidation OpenID Connect Core §3.1.2.2}
 */
function readSubjects(...wishes: readonly (Wish | undefined)[]): readonly string[] | undefined {
  const demands = wishes.flatMap((wish) => {
    const values = readValues('sub', wish)
    return values ? [values] : []
  })
  const [first, ...others] = demands
  if (!first) return undefined
  const common = first.filter((subject) => others.every((values) => values.includes(subject)))
  if (common.length === 0) refuse('userinfo.sub', 'another person than id_token.sub names')
  return common
}

/** A wish that is not essential may go unmet: what there is is in each ID token. */
function readEssentialAcr(wish: Wish | undefined): readonly string[] | undefined {
  return wish?.['essential'] === true ? readValues('acr', wish) : undefined
}

function readValues(claim: string, wish: Wish | undefined): readonly string[] | undefined {
  if (!wish) return undefined
  const { value, values } = wish
  if (value === undefined && values === undefined) return undefined
  const list: unknown = value === undefined ? values : [value]
  const isTexts =
    Array.isArray(list) && list.length > 0 && list.every((one) => typeof one === 'string')
  if (!isTexts) refuse(claim, 'expected a text as its value, or a list of texts as its values')
  return list
}

function refuse(member: string, message: string): never {
  throw new errors.InvalidRequest(`claims${member && `.${member}`}: ${message}`)
}

/** The request as it goes on, of the parameters of a request that was taken. */
export function readClaims(params: Readonly<Record<string, unknown>> | undefined): ClaimsRequest {
  const claims = params?.['claims']
  return typeof claims === 'string' ? (JSON.parse(claims) as ClaimsRequest) : {}
}

/** Every claim about the person that is named, wherever it is wanted. */
export function listNamedClaims({ id_token = {}, userinfo = {} }: ClaimsRequest): string[] {
  const named = [...Object.keys(id_token), ...Object.keys(userinfo)]
  return [...new Set(named)].filter((claim) => !OF_SIGN_IN.has(claim))
}

/** Those for userinfo, of what is kept with a code or a refresh token. */
export function listUserinfoClaims(kept: unknown): string[] {
  const { userinfo } = (kept ?? {}) as ClaimsRequest
  return Object.keys(userinfo ?? {})
}

/** One of whom the tokens have to be about. */
export function listWantedSubjects({ id_token }: ClaimsRequest): readonly string[] | undefined {
  return id_token?.['sub']?.['values'] as readonly string[] | undefined
}

/** One of how they have to be authenticated. */
export function listEssentialAcrs({ oidc }: KoaContextWithOIDC): readonly string[] {
  const { id_token } = readClaims(oidc.params)
  return (id_token?.['acr']?.['values'] ?? []) as readonly string[]
}

import {
  errors,
  type AuthorizationDetailsForIntrospection,
  type KoaContextWithOIDC,
  type RichAuthorizationRequestsActiveConfiguration,
} from 'oidc-provider'
import { GRANT_TYPES } from '../config/built-in.ts'
import type { Catalogue } from '../scopes/catalogue.ts'
import {
  describeDetail,
  judgeDetail,
  judgeSize,
  narrowDetails,
  readDetails,
  type Detail,
  type DetailInWords,
} from '../scopes/details.ts'
import { recordOf } from './clients.ts'
import { redeemedBy } from './resources.ts'

type Feature = RichAuthorizationRequestsActiveConfiguration & {
  readonly authorizationDetailsForIntrospection: AuthorizationDetailsForIntrospection
}

/** Where a person is shown the details before anything is granted. */
const ROUTES = new Set(['authorization', 'pushed_authorization_request', 'device_authorization'])
/** What comes of their consent. */
const GRANTS: ReadonlySet<unknown> = new Set([
  GRANT_TYPES.authorization_code,
  GRANT_TYPES.refresh_token,
  GRANT_TYPES.device_code,
])

/**
 * Details of what is granted (RFC 9396). They go with the scope of their type, all the way: where the
 * person or the client may not have it, or no longer, or a token is for another API, they are not there.
 */
export function createDetails(catalogue: Catalogue): Feature {
  return {
    enabled: catalogue.details.size > 0,
    types: Object.fromEntries(
      [...catalogue.details].map(([type, known]) => [
        type,
        {
          validate(ctx, detail, client) {
            const { authorizationDetails = [] } = recordOf(client)
            const parameter = textOf(ctx.oidc.params?.['authorization_details'])
            const fault = areTaken(ctx)
              ? judgeSize(parameter, readDetails(parameter).length)
              : 'authorization_details are not taken here'
            const isAllowed = authorizationDetails.includes(type)
            refuse(fault ?? (isAllowed ? undefined : `the client may not ask for ${type}`))
            refuse(judgeDetail(known, detail))
          },
        },
      ]),
    ),
    authorizationDetailsForGrantSource(ctx) {
      const { resourceServers, params } = ctx.oidc
      return keepAllowed(
        catalogue,
        ctx,
        readDetails(params?.['authorization_details']),
        (resource, scope) => Boolean(resourceServers?.[resource]?.scopes.has(scope)),
      )
    },
    authorizationDetailsForAccessToken(ctx, token) {
      const { rar = [] } = (redeemedBy(ctx) ?? {}) as { rar?: readonly Detail[] }
      const target = token.resourceServer?.identifier()
      return keepAllowed(catalogue, ctx, askedOf(ctx, rar), (resource, scope) => {
        return resource === target && token.scopes.has(scope)
      })
    },
    authorizationDetailsForIntrospection: (_ctx, token) => (token as { rar?: Detail[] }).rar,
  }
}

function areTaken({ oidc: { route, params } }: KoaContextWithOIDC): boolean {
  return ROUTES.has(route) || (route === 'token' && GRANTS.has(params?.['grant_type']))
}

function refuse(fault: string | undefined): void {
  if (fault !== undefined) throw new errors.InvalidAuthorizationDetails(fault)
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** Those of a token request: what was granted, or less of it. */
function askedOf(ctx: KoaContextWithOIDC, granted: readonly Detail[]): readonly Detail[] {
  const parameter = textOf(ctx.oidc.params?.['authorization_details'])
  if (parameter === '') return granted
  const asked = parseList(parameter)
  refuse(asked === undefined ? 'authorization_details must be a JSON array' : undefined)
  const narrowed = narrowDetails(granted, asked ?? [])
  refuse(narrowed === undefined ? 'details were asked for that nobody has granted' : undefined)
  return narrowed ?? []
}

function parseList(parameter: string): readonly unknown[] | undefined {
  try {
    const parsed: unknown = JSON.parse(parameter)
    return Array.isArray(parsed) ? parsed : undefined
  } catch {
    // It is said that a list was expected.
    return undefined
  }
}

/** A client or a type may allow less by now than when the person agreed. */
function keepAllowed(
  catalogue: Catalogue,
  { oidc }: KoaContextWithOIDC,
  details: readonly Detail[],
  mayHave: (resource: string, scope: string) => boolean,
): Detail[] {
  const { authorizationDetails = [] } = oidc.client ? recordOf(oidc.client) : {}
  return details.filter((detail) => {
    const known = catalogue.details.get(detail.type)
    if (!known || !authorizationDetails.includes(detail.type)) return false
    return judgeDetail(known, detail) === undefined && mayHave(known.resource, known.scope)
  })
}

/** On a page: a client may have been given the same again and again, each time with other numbers. */
const MOST_DESCRIBED = 20

/** Details that tokens carry, in words, each once. Of what the configuration no longer has nothing is said. */
export function describeGrantedDetails(
  catalogue: Pick<Catalogue, 'details'>,
  details: readonly Detail[],
): readonly DetailInWords[] {
  const each = new Map(details.map((detail) => [JSON.stringify(detail), detail]))
  const described = [...each.values()].flatMap((detail) => {
    const known = catalogue.details.get(detail.type)
    return known && judgeDetail(known, detail) === undefined ? [describeDetail(known, detail)] : []
  })
  return described.slice(0, MOST_DESCRIBED)
}

/** The details that consent is asked for, beside `scopes`. */
export function describeDetails(
  catalogue: Catalogue,
  params: Readonly<Record<string, unknown>>,
  scopes: readonly { readonly scope: string; readonly resource: string | undefined }[],
): readonly DetailInWords[] {
  if (catalogue.details.size === 0) return []
  return readDetails(params['authorization_details']).flatMap((detail) => {
    const known = catalogue.details.get(detail.type)
    const isAsked = scopes.some(
      ({ scope, resource }) => scope === known?.scope && resource === known.resource,
    )
    return known && isAsked ? [describeDetail(known, detail)] : []
  })
}

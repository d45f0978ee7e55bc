import type { Clock } from '../clock.ts'
import { GRANT_TYPES } from '../config/built-in.ts'
import type { RegistrationConfig, SoftwareStatementsConfig } from '../config/schema.ts'
import type { Result } from '../errors.ts'
import type { OutboundFetch } from '../outbound.ts'
import {
  isOfType,
  isSignedBy,
  judgeTimes,
  openIssuerKeys,
  peekJwt,
  type ShownJwt,
} from '../provider/foreign-jwt.ts'

/** @see {@link https://www.rfc-editor.org/rfc/rfc7591.html#section-3.2.2 RFC 7591 §3.2.2} */
export interface StatementFault {
  readonly error: 'invalid_software_statement' | 'unapproved_software_statement'
  readonly description: string
}

type StatementIssuer = SoftwareStatementsConfig['issuers'][number]
type Members = Readonly<Record<string, unknown>>

/** What a trusted issuer says about an app, now. Who shows it need not be that app. */
export interface SoftwareStatement {
  /** As it came: RFC 7591 §3.2.1 wants it answered so. */
  readonly text: string
  readonly issuer: StatementIssuer
  /** What it says in the words of RFC 7591 §2, whatever that is: nobody has judged it. */
  readonly metadata: Members
}

export interface StatementReader {
  read(statement: unknown): Promise<Result<SoftwareStatement, StatementFault>>
}

/**
 * Reads what others have signed about apps (RFC 7591 §2.3).
 *
 * Not checked: whether it was shown before, and whether it is what it says about that shows it: a
 * statement is handed out with each copy of an app.
 *
 * Throws `misconfigured` where the keys of an issuer cannot be had.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7591.html#section-2.3 RFC 7591 §2.3}
 */
export function createStatementReader(
  { fetchOutbound, clock }: { readonly fetchOutbound: OutboundFetch; readonly clock: Clock },
  { issuers }: SoftwareStatementsConfig,
  own: string,
): StatementReader {
  const trusted = new Map(
    issuers.map((issuer) => [
      issuer.issuer,
      { issuer, keys: openIssuerKeys(issuer, fetchOutbound) },
    ]),
  )
  return {
    async read(statement) {
      const shown = typeof statement === 'string' ? peekJwt(statement) : undefined
      if (typeof statement !== 'string' || !shown) return refuse('expected a signed JWT')
      const found = trusted.get(shown.payload.iss ?? '')
      if (!found) return refuse('no statement of its issuer counts here', 'unapproved')
      const { issuer, keys } = found
      if (!(await isSignedBy(statement, keys, issuer.issuer))) {
        return refuse('it is signed by no key of its issuer')
      }
      const fault = findFault(shown, { own, now: clock.now() / 1000 })
      if (fault !== undefined) return refuse(fault)
      return { ok: true, value: { text: statement, issuer, metadata: pickMetadata(shown) } }
    },
  }
}

function refuse(description: string, kind: 'invalid' | 'unapproved' = 'invalid') {
  const error = `${kind}_software_statement` as const
  return {
    ok: false,
    reason: { error, description: `software_statement: ${description}` },
  } as const
}

interface Expected {
  readonly own: string
  /** Seconds since the epoch. */
  readonly now: number
}

function findFault({ header, payload }: ShownJwt, { own, now }: Expected): string | undefined {
  // What an issuer signs about people, or for APIs, is no statement: such JWTs have a type of their own,
  // are for somebody else, or are about no software.
  if (header.typ !== undefined && !isOfType(header.typ, 'JWT')) return 'it is of another type'
  const { aud, software_id: software } = payload
  if (aud !== undefined && ![aud].flat().includes(own)) return 'it is for another server (aud)'
  if (typeof software !== 'string') return 'it says of no software_id what it is about'
  return judgeTimes(payload, now)
}

/** What is about the statement itself is nothing of the app's, nor is what another one says in it. */
const ABOUT_ITSELF: ReadonlySet<string> = new Set([
  'iss',
  'sub',
  'aud',
  'exp',
  'nbf',
  'iat',
  'jti',
  'software_statement',
])

function pickMetadata({ payload }: ShownJwt): Members {
  return Object.fromEntries(Object.entries(payload).filter(([name]) => !ABOUT_ITSELF.has(name)))
}

/**
 * What an app is to be: the word of the statement goes before its own. Where the statement says a member,
 * it says it in every language.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7591.html#section-3.1.1 RFC 7591 §3.1.1}
 */
export function putFirst({ metadata: stated }: SoftwareStatement, own: Members): Members {
  const names = new Set(Object.keys(stated).map(withoutLanguage))
  const rest = Object.entries(own).filter(([name]) => !names.has(withoutLanguage(name)))
  return { ...Object.fromEntries(rest), ...stated }
}

function withoutLanguage(name: string): string {
  return name.split('#', 1)[0] ?? name
}

/**
 * What an app may be registered with: to what any may, that is added which the operator gives to apps of
 * this issuer and the statement itself says. A copy of the statement must not be enough for it: who shows
 * the copy would have to receive at the app's addresses, or to have its keys.
 */
export function widenPolicy(
  policy: RegistrationConfig,
  { issuer, metadata }: SoftwareStatement,
  app: Members,
): Result<RegistrationConfig, StatementFault> {
  const { scope, grant_types: grantTypes } = metadata
  const stated = typeof scope === 'string' ? scope.split(' ') : []
  const scopes = issuer.scopes.filter((one) => stated.includes(one) && !policy.scopes.includes(one))
  const grants = issuer.grants.filter(
    (one) => listTexts(grantTypes).includes(GRANT_TYPES[one]) && !policy.grants.includes(one),
  )
  if (scopes.length === 0 && grants.length === 0) return { ok: true, value: policy }
  if (!isTied(metadata, app)) {
    const what = [...scopes, ...grants].join(' ')
    const need =
      'its redirect_uris, all of https, with grants that end there, or its keys with private_key_jwt'
    return refuse(`a copy of it would be enough for ${what}: expected in it ${need}`, 'unapproved')
  }
  const widened = { scopes: [...policy.scopes, ...scopes], grants: [...policy.grants, ...grants] }
  return { ok: true, value: { ...policy, ...widened } }
}

/** Grants whose tokens nobody gets who does not receive at a redirect URI. */
const ENDS_AT_REDIRECT: ReadonlySet<string> = new Set(['authorization_code', 'refresh_token'])

function isTied(stated: Members, app: Members): boolean {
  const hasKeys = [stated['jwks'], stated['jwks_uri']].some(
    (keys) => keys !== undefined && keys !== null,
  )
  if (hasKeys && stated['token_endpoint_auth_method'] === 'private_key_jwt') return true
  const grants = listTexts(app['grant_types'] ?? ['authorization_code'])
  const uris = listTexts(stated['redirect_uris'])
  return (
    uris.length > 0 &&
    // Of other schemes, and on loopback, whatever runs on the person's machine may receive.
    uris.every((uri) => uri.startsWith('https://')) &&
    grants.every((grant) => ENDS_AT_REDIRECT.has(grant))
  )
}

function listTexts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []
}

/**
 * What an update says the app is, beside what it was. Another statement of the same software may come, and
 * none; one of other software would leave another app's name on what people gave this one.
 */
export function judgeSoftware(
  known: { readonly softwareStatement?: string | undefined },
  wanted: { readonly softwareStatement?: string | undefined },
): StatementFault | undefined {
  const [before, after] = [known, wanted].map(({ softwareStatement: text }) =>
    text === undefined ? undefined : peekJwt(text)?.payload,
  )
  if (!before || !after) return undefined
  const isSame = before.iss === after.iss && before['software_id'] === after['software_id']
  if (isSame) return undefined
  const description =
    'software_statement: expected one of the software that was registered: register another client'
  return { error: 'unapproved_software_statement', description }
}

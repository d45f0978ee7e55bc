import { z } from 'zod'
import type { Client } from '../clients/client.ts'
import { NAME_RULE, namePattern } from '../config/name.ts'
import { pageUri } from '../config/schema.ts'
import { judgePage } from '../config/uri-rules.ts'
import type { Result } from '../errors.ts'

const line = z
  .string()
  .regex(namePattern(200), `expected a text of 1 to 200 characters, ${NAME_RULE}`)
const page = pageUri.refine(
  (uri) => judgePage(uri) === undefined,
  'expected the address of a page: https, or http on loopback',
)

/**
 * What an app says of itself for people, by the names of RFC 7591 §2 and OpenID Connect Registration §2.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7591.html#section-2 RFC 7591 §2}
 */
export const SELF_DESCRIPTION = {
  client_name: z.string().max(2048).optional(),
  client_uri: page.optional(),
  tos_uri: page.optional(),
  policy_uri: page.optional(),
  logo_uri: page.optional(),
  initiate_login_uri: page.optional(),
  contacts: z.array(line).max(10).optional(),
  software_id: line.optional(),
  software_version: line.optional(),
}

type Described = z.output<z.ZodObject<typeof SELF_DESCRIPTION>>
type Members = Readonly<Record<string, unknown>>

/** What may stand in several languages (§2.2). */
const IN_LANGUAGES = new Map<string, z.ZodType<string>>([
  ['client_name', line],
  ...['client_uri', 'tos_uri', 'policy_uri', 'logo_uri'].map((name) => [name, page] as const),
])
/** As languages are called (RFC 5646 §2.1), or nearly so. */
const TAG = /^[a-z]{2,8}(?:-[a-z0-9]{1,8}){0,4}$/i

/**
 * What is said in several languages, such as `client_name#fr`. The names are judged like any other.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7591.html#section-2.2 RFC 7591 §2.2}
 */
export function readTranslations(
  metadata: Members,
): Result<Readonly<Record<string, string>>, { readonly member: string; readonly message: string }> {
  const translations: [string, string][] = []
  for (const [member, value] of Object.entries(metadata)) {
    const [name = '', tag = ''] = member.split('#')
    const schema = IN_LANGUAGES.get(name)
    if (!schema || !member.includes('#') || !TAG.test(tag) || value === null) continue
    const parsed = schema.safeParse(value)
    if (!parsed.success) {
      return { ok: false, reason: { member, message: parsed.error.issues[0]?.message ?? '' } }
    }
    translations.push([member, parsed.data])
  }
  return { ok: true, value: Object.fromEntries(translations) }
}

/** What nobody here reads. */
export const UNREAD: ReadonlySet<string> = new Set([
  'logo_uri',
  'initiate_login_uri',
  'contacts',
  'software_id',
  'software_version',
])

/** What is given back, and read by nobody here. */
export function describeItself(
  described: Described,
  translations: Readonly<Record<string, string>>,
): Client['selfDescription'] {
  const given = Object.entries(described).filter(([name]) => UNREAD.has(name))
  const members = given.flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  )
  const whole = { ...Object.fromEntries(members), ...translations }
  return Object.keys(whole).length === 0 ? undefined : whole
}

/** Pages that people are led to, if they are (`interactions/client-links.ts`). */
export function describeLinks({ client_uri: home, tos_uri: terms, policy_uri: policy }: Described) {
  const isNone = [home, terms, policy].every((uri) => uri === undefined)
  return isNone ? undefined : { home, terms, policy }
}

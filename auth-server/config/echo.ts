import { UNSEEN } from './name.ts'
import type { Path } from './rules.ts'

const LONGEST_ECHO = 80
/** Members whose value is a secret, or would be by an easily made mistake. */
const SECRET_MEMBERS = new Set([
  'secret',
  'password',
  'rootKey',
  'env',
  'secretHash',
  'passwordHash',
])

/** `clients[2].redirectUris[0]`; a name that is no identifier in quotes. */
export function formatPath(path: Path): string {
  const text = path.map((segment) => {
    if (typeof segment === 'number') return `[${segment}]`
    return /^[A-Za-z_$][\w$]*$/.test(segment) ? `.${segment}` : `[${echo(segment)}]`
  })
  return text.join('').replace(/^\./, '')
}

/**
 * A value as a mistake may show it: on one line, of bounded length, the user name and password of a
 * URL left out, and only its kind where it stands in the place of a secret.
 */
export function echo(value: unknown, path: Path = []): string {
  const mayShow =
    !path.some((segment) => SECRET_MEMBERS.has(String(segment))) && !isUrlOfDatabase(path)
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === 'object' && value !== null) return 'an object'
  if (typeof value === 'string') return mayShow ? quote(value) : 'a text that is not shown'
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) {
    return mayShow ? String(value) : `a ${typeof value}`
  }
  return `a ${typeof value}`
}

/** Its password stands in the middle of it. */
function isUrlOfDatabase([section, member]: Path): boolean {
  return (section === 'database' || section === 'redis') && member === 'url'
}

function quote(text: string): string {
  const harmless = text.replaceAll(/\/\/[^/?#]*@/g, '//…@').replaceAll(UNSEEN, escapeCharacter)
  return `"${shorten(harmless)}"`
}

function shorten(text: string): string {
  return text.length > LONGEST_ECHO ? `${text.slice(0, LONGEST_ECHO)}…` : text
}

/** What a terminal would obey or hide. */
export function escapeCharacter(character: string): string {
  return `\\u{${character.codePointAt(0)?.toString(16)}}`
}

import { randomBytes } from 'node:crypto'
import { HIDDEN } from './conceal.ts'

/**
 * Secrets that the demonstration knows itself, and shows nowhere: whatever they are called, whoever says
 * them and however they are written. They are hidden before anything is shortened, or where a text is cut
 * off most of one might stand.
 */
export interface KnownSecrets {
  /** It has to be random and long. */
  add(secret: string): void
  hideInText(text: string): string
  /** In texts and in the names of members, however deep. */
  hide<Value>(value: Value): Value
}

export function makeSecret(): string {
  return randomBytes(32).toString('base64url')
}

/** A shorter one may be a word, and would be hidden where nobody has meant it. */
const SHORTEST = 12

export function createKnownSecrets(): KnownSecrets {
  const patterns = new Set<string>()
  let pattern: RegExp | undefined
  const hideInText = (text: string): string =>
    pattern === undefined ? text : hideEncoded(text.replaceAll(pattern, HIDDEN), pattern)
  return {
    add(secret) {
      if (secret.length < SHORTEST) throw new TypeError(`a secret of ${secret.length} characters`)
      patterns.add(writePattern(secret))
      pattern = new RegExp([...patterns].join('|'), 'g')
    },
    hideInText,
    hide: (value) => hideInside(value, hideInText),
  }
}

function hideInside<Value>(value: Value, hideInText: (text: string) => string): Value
function hideInside(value: unknown, hideInText: (text: string) => string): unknown {
  if (typeof value === 'string') return hideInText(value)
  if (Array.isArray(value)) return value.map((entry: unknown) => hideInside(entry, hideInText))
  if (typeof value !== 'object' || value === null) return value
  const members = Object.entries(value).map(([name, inner]: [string, unknown]) => [
    hideInText(name),
    hideInside(inner, hideInText),
  ])
  return Object.fromEntries(members) as unknown
}

/**
 * Each character as it is or escaped, so that any mixture is found: a library may escape more than it has
 * to (RFC 6749 §2.3.1 has `-` and `_` sent as `%2D` and `%5F`), and an URL in an URL is escaped twice.
 * Repetitions are bounded: a text of a million backslashes is read in linear time.
 */
function writePattern(secret: string): string {
  return Array.from(secret, writeCharacter).join('')
}

function writeCharacter(character: string): string {
  const plain = character.replace(/[\\^$.*+?()[\]{}|/]/, String.raw`\$&`)
  const bytes = [...Buffer.from(character, 'utf8')].map((byte) => writeEscape(hex(byte, 2)))
  const units = character
    .split('')
    .map((unit) => `${BACKSLASH}{1,8}u${ignoreCase(hex(unit.charCodeAt(0), 4))}`)
  const letter = SHORT_ESCAPES[character]
  const ways = [
    `${BACKSLASH}{0,8}(?:${plain}|${bytes.join('')})`,
    units.join(''),
    ...(character === ' ' ? [String.raw`\+`, writeEscape('2b')] : []),
    ...(letter === undefined ? [] : [`${BACKSLASH}{1,8}${letter}`]),
  ]
  return `(?:${ways.join('|')})`
}

/** In a URL, and in a URL that is in a URL. */
function writeEscape(byte: string): string {
  return `%(?:25){0,4}${ignoreCase(byte)}`
}

function hex(number: number, digits: number): string {
  return number.toString(16).padStart(digits, '0')
}

function ignoreCase(digits: string): string {
  return digits.replaceAll(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`)
}

/** How JSON escapes, be it in a URL. */
const BACKSLASH = String.raw`(?:\\|${writeEscape('5c')})`
const SHORT_ESCAPES: Readonly<Record<string, string>> = { '\n': 'n', '\r': 'r', '\t': 't' }

/** Long enough to hold the shortest secret. Its `+`, `/` and `=` may be percent-encoded. */
const BASE64_WORD = /(?:[\w+/-]|%(?:25){0,4}2[BbFf]){16,}(?:=|%(?:25){0,4}3[Dd]){0,2}/g

/** As in Basic: a word of base64 is hidden whole where there is a secret in what it says. */
function hideEncoded(text: string, pattern: RegExp): string {
  return text.replaceAll(BASE64_WORD, (word) => {
    const plain = word.replaceAll('%25', '%').replaceAll(/%(?:25)*(2b|2f|3d)/gi, readEscape)
    // It may begin within the word, after letters of something else.
    const isSecret = [0, 1, 2, 3].some((start) =>
      holds(pattern, Buffer.from(plain.slice(start), 'base64').toString('utf8')),
    )
    return isSecret ? HIDDEN : word
  })
}

function readEscape(_escape: string, digits: string): string {
  return String.fromCharCode(Number.parseInt(digits, 16))
}

function holds(pattern: RegExp, text: string): boolean {
  return text.search(pattern) !== -1
}

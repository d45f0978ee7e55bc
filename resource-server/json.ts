import { isUtf8 } from 'node:buffer'
import type { Result } from './errors.ts'

export type JsonObject = { readonly [member: string]: unknown }

const MAX_DEPTH = 32
const NUMBER = /[\d.eE+-]+/y

/**
 * Reads a JSON object that means the same to every reader: UTF-8, no member twice (parsers differ in
 * which one counts), no `__proto__`, no number that a double cannot hold, no depth that recursion
 * would choke on.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8725.html#section-2.6 RFC 8725 §2.6}
 */
export function parseJsonObject(bytes: Buffer): Result<JsonObject, string> {
  if (!isUtf8(bytes)) return refuse('not UTF-8')
  const text = bytes.toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return refuse('not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refuse('not an object')
  }
  const ambiguity = findAmbiguity(text)
  return ambiguity === undefined ? { ok: true, value: value as JsonObject } : refuse(ambiguity)
}

/** Walks a text that is known to be JSON. By hand: a pattern takes as long as a third of a signature. */
function findAmbiguity(text: string): string | undefined {
  const open: Set<string>[] = []
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at] ?? ''
    if (character === '"') {
      const end = findEndOfText(text, at)
      const wrong = isMember(text, end) ? addMember(open.at(-1), text.slice(at, end)) : undefined
      if (wrong !== undefined) return wrong
      at = end - 1
    } else if (character === '{' || character === '[') {
      if (open.push(new Set()) > MAX_DEPTH) return `more than ${MAX_DEPTH} levels`
    } else if (character === '}' || character === ']') {
      open.pop()
    } else if (character >= '0' && character <= '9') {
      NUMBER.lastIndex = at
      const [number = ''] = NUMBER.exec(text) ?? []
      if (!isExact(Number(number))) return 'a number out of range'
      at += number.length - 1
    }
  }
  return undefined
}

/** Behind the closing quote of the text that opens at `start`. */
function findEndOfText(text: string, start: number): number {
  let at = start + 1
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at + 1
}

function isMember(text: string, end: number): boolean {
  let at = end
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at += 1
  return text[at] === ':'
}

/** Two spellings of one name are one member: names are compared as they are read. */
function addMember(members: Set<string> | undefined, quoted: string): string | undefined {
  const name = JSON.parse(quoted) as string
  if (name === '__proto__') return 'a member __proto__'
  if (members?.has(name)) return 'a member twice'
  members?.add(name)
  return undefined
}

/** The sign does not matter. */
function isExact(value: number): boolean {
  return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value))
}

function refuse(reason: string): { readonly ok: false; readonly reason: string } {
  return { ok: false, reason }
}

/** What a value takes for itself: a member, an element, a name in a text of scopes. */
const VALUE_BYTES = 64
const [COMMA, LIST, OBJECT, SPACE] = Buffer.from(',[{ ')

/**
 * About how many bytes of memory JSON takes when it has been read, and rather too many: three bytes of
 * text may be a list, which takes fifty.
 */
export function weighJson(bytes: Uint8Array): number {
  let values = 0
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at]
    if (byte === COMMA || byte === LIST || byte === OBJECT || byte === SPACE) values += 1
  }
  return bytes.length + values * VALUE_BYTES
}

/** Freezes a value that came out of JSON, all the way down: a handler cannot change it for others. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const member of Object.values(value)) deepFreeze(member)
  return Object.freeze(value)
}

import { isUtf8 } from 'node:buffer'
import type { Result } from './errors.ts'

export type JsonObject = { readonly [member: string]: unknown }

const MAX_DEPTH = 32
const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\]:]|-?\d[\d.eE+-]*/g

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

/** Walks a text that is known to be JSON. */
function findAmbiguity(text: string): string | undefined {
  const open: Set<string>[] = []
  let previous = ''
  for (const [token] of text.matchAll(TOKENS)) {
    if (token === '{' || token === '[') {
      if (open.push(new Set()) > MAX_DEPTH) return `more than ${MAX_DEPTH} levels`
    } else if (token === '}' || token === ']') {
      open.pop()
    } else if (token === ':') {
      const member = JSON.parse(previous) as string
      if (member === '__proto__') return 'a member __proto__'
      if (open.at(-1)?.has(member)) return 'a member twice'
      open.at(-1)?.add(member)
    } else if (!token.startsWith('"') && !isExact(token)) {
      return 'a number out of range'
    }
    previous = token
  }
  return undefined
}

function isExact(number: string): boolean {
  const value = Number(number)
  return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value))
}

function refuse(reason: string): { readonly ok: false; readonly reason: string } {
  return { ok: false, reason }
}

/** Freezes a value that came out of JSON, all the way down: a handler cannot change it for others. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const member of Object.values(value)) deepFreeze(member)
  return Object.freeze(value)
}

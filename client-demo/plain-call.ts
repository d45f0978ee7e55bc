import { createHmac } from 'node:crypto'
import { encodePart } from './claims.ts'
import type { StepNotes } from './flow.ts'
import type { WireRequest } from './wire.ts'
import type { World } from './world.ts'

/** What clients of old send, and what they are answered: JSON or a text. */
export interface PlainAnswer {
  readonly status: number
  readonly text: string
}

export async function call(
  { wire }: World,
  url: string,
  request: WireRequest = {},
): Promise<PlainAnswer> {
  const response = await wire.fetch(url, request)
  return { status: response.status, text: await response.text() }
}

export const JSON_TYPE = { 'content-type': 'application/json' }
const FORM_TYPE = { 'content-type': 'application/x-www-form-urlencoded' }

export function writeForm(fields: Readonly<Record<string, string>>): WireRequest {
  return { method: 'POST', headers: FORM_TYPE, body: new URLSearchParams(fields).toString() }
}

export function writeJson(method: 'GET' | 'POST', document: unknown): WireRequest {
  return { method, headers: JSON_TYPE, body: JSON.stringify(document) }
}

export function readMembers({ text }: PlainAnswer): Readonly<Record<string, unknown>> {
  return JSON.parse(text) as Record<string, unknown>
}

/** `what` ends in a colon and a space, or is empty. */
export function checkAnswer(
  { check }: StepNotes,
  answer: PlainAnswer,
  expected: { readonly status: number; readonly text: string },
  what = '',
): void {
  check(`${what}status`, expected.status, answer.status)
  check(`${what}it says`, expected.text, answer.text)
}

/** A token as whoever holds the secret can make it. */
export function signWithSecret(
  secret: string,
  claims: Readonly<Record<string, unknown>>,
  alg: 'HS256' | 'HS512' = 'HS256',
): string {
  const input = `${encodePart({ alg, typ: 'JWT' })}.${encodePart(claims)}`
  const signature = createHmac(`sha${alg.slice(2)}`, secret)
    .update(input)
    .digest('base64url')
  return `${input}.${signature}`
}

/** Claims that nobody has signed (RFC 7519 §6). */
export function leaveUnsigned(claims: Readonly<Record<string, unknown>>): string {
  return `${encodePart({ alg: 'none', typ: 'JWT' })}.${encodePart(claims)}.`
}

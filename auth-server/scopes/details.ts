import { isDeepStrictEqual } from 'node:util'
import { namePattern } from '../config/name.ts'
import type { ResourceConfig } from '../config/schema.ts'

/*
 * What a person agrees to in detail, such as one payment, where a scope would say too little (RFC 9396).
 * Decisions only: nothing here knows a request.
 */

/** A type of details, as its resource declares it. */
export interface DetailType {
  readonly type: string
  /** The identifier of the resource whose API understands it. */
  readonly resource: string
  readonly resourceName: string
  /** What people read on the consent page. */
  readonly description: string
  /** Whoever may not have this scope may not have these details either. */
  readonly scope: string
  readonly members: ReadonlyMap<string, DetailMember>
}

type DetailMember = NonNullable<ResourceConfig['authorizationDetails']>[string]['members'][string]

/** One object of `authorization_details`, which has been found right. */
export interface Detail {
  readonly type: string
  readonly [member: string]: unknown
}

/** A detail in the words of the consent page. */
export interface DetailInWords {
  readonly description: string
  readonly resourceName: string
  readonly members: readonly { readonly name: string; readonly value: string }[]
}

/** Of JSON: they are in every token, and tokens are in headers. */
const MOST_BYTES = 2048
const MOST_DETAILS = 10
/** It stands on the consent page in the client's words. */
const TEXT = namePattern(200)

/** The details of a request, which has been found to hold a list of objects with a type. */
export function readDetails(parameter: unknown): readonly Detail[] {
  if (typeof parameter !== 'string' || parameter === '') return []
  return JSON.parse(parameter) as readonly Detail[]
}

/** The scopes that the details of a request go with. */
export function scopesOfDetails(
  types: ReadonlyMap<string, DetailType>,
  parameter: unknown,
): readonly string[] {
  if (types.size === 0) return []
  return readDetails(parameter).flatMap(({ type }) => types.get(type)?.scope ?? [])
}

/** The resources whose APIs understand the details of a request. */
export function resourcesOfDetails(
  types: ReadonlyMap<string, DetailType>,
  parameter: unknown,
): readonly string[] {
  const known = readDetails(parameter).map(({ type }) => types.get(type)?.resource)
  return [...new Set(known.filter((resource) => resource !== undefined))]
}

/** What is wrong with the value of the whole parameter, whatever its types are. */
export function judgeSize(parameter: string, count: number): string | undefined {
  if (Buffer.byteLength(parameter) > MOST_BYTES) {
    return `authorization_details: at most ${MOST_BYTES} bytes`
  }
  return count > MOST_DETAILS ? `authorization_details: at most ${MOST_DETAILS} objects` : undefined
}

/** What is wrong with an object of this type. Says no value, which may be long or hostile. */
export function judgeDetail(
  { type, members }: DetailType,
  detail: Readonly<Record<string, unknown>>,
): string | undefined {
  const unknown = Object.keys(detail).find((name) => name !== 'type' && !members.has(name))
  if (unknown !== undefined) return `${type} has a member that it does not know`
  for (const [name, member] of members) {
    const value = Object.hasOwn(detail, name) ? detail[name] : undefined
    if (value === undefined && !member.required) continue
    const expected = judgeMember(member, value)
    if (expected !== undefined) return `${type}: ${name} must be ${expected}`
  }
  return undefined
}

function judgeMember({ type, values = [] }: DetailMember, value: unknown): string | undefined {
  switch (type) {
    case 'text':
      return typeof value === 'string' && TEXT.test(value)
        ? undefined
        : 'a text of 1 to 200 characters on one line'
    case 'number':
      return typeof value === 'number' && Number.isFinite(value) ? undefined : 'a number'
    case 'enum':
      return isOneOf(values, value) ? undefined : `one of ${values.join(', ')}`
    case 'list':
      return isListOf(values, value) ? undefined : `a list of ${values.join(', ')}`
  }
}

function isOneOf(values: readonly string[], value: unknown): boolean {
  return typeof value === 'string' && values.includes(value)
}

function isListOf(values: readonly string[], value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0) return false
  return new Set(value).size === value.length && value.every((one) => isOneOf(values, one))
}

export function describeDetail(known: DetailType, detail: Detail): DetailInWords {
  const { description, resourceName, members } = known
  const words = [...members].flatMap(([name, member]) => {
    const value = detail[name]
    return value === undefined ? [] : [{ name: member.name, value: sayValue(value) }]
  })
  return { description, resourceName, members: words }
}

function sayValue(value: unknown): string {
  if (typeof value === 'string') return value
  return Array.isArray(value) ? value.join(', ') : JSON.stringify(value)
}

/**
 * Those of `granted` that are asked for, or `undefined` where one is asked for that was not granted. Two
 * are the same where all their members are: what is less of something, only its API could say.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9396.html#section-6.1 RFC 9396 §6.1}
 */
export function narrowDetails(
  granted: readonly Detail[],
  asked: readonly unknown[],
): readonly Detail[] | undefined {
  const found = asked.map((one) => granted.find((detail) => isDeepStrictEqual(detail, one)))
  return found.every((detail) => detail !== undefined) ? [...new Set(found)] : undefined
}

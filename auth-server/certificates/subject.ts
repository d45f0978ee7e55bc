import { isIP } from 'node:net'
import type { X509Certificate } from 'node:crypto'

/** What a certificate has to say of its client: exactly one of these (RFC 8705 §2.1.2). */
export interface CertificateSubject {
  /** The distinguished name, as RFC 4514 writes it. */
  readonly subjectDn?: string | undefined
  readonly sanDns?: string | undefined
  readonly sanUri?: string | undefined
  readonly sanIp?: string | undefined
  readonly sanEmail?: string | undefined
}

/** One attribute of a name. Of several in one part of it, the order means nothing. */
type Part = readonly string[]

/**
 * Whether the certificate is of this subject. Names are compared exactly, without regard to upper and
 * lower case where DNS has none, and no wildcard stands for anything. Does not check who signed it.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8705.html#section-2.1.2 RFC 8705 §2.1.2}
 */
export function matchesSubject(
  certificate: X509Certificate,
  expected: CertificateSubject,
): boolean {
  const { subjectDn, sanDns, sanUri, sanIp, sanEmail } = expected
  const wanted = [subjectDn, sanDns, sanUri, sanIp, sanEmail].filter((one) => one !== undefined)
  if (wanted.length !== 1) return false
  if (subjectDn !== undefined) return hasName(certificate, subjectDn)
  const names = readAlternativeNames(certificate.subjectAltName ?? '')
  const has = (type: string, isSame: (name: string) => boolean) =>
    names.some((name) => name.type === type && isSame(name.value))
  if (sanDns !== undefined) {
    return has('DNS', (name) => name.toLowerCase() === sanDns.toLowerCase())
  }
  if (sanUri !== undefined) return has('URI', (name) => name === sanUri)
  if (sanEmail !== undefined) return has('email', (name) => name === sanEmail)
  const address = writeAddress(sanIp ?? '')
  return address !== undefined && has('IP Address', (name) => writeAddress(name) === address)
}

/** What a certificate says of its subject, in words for operators: its name as RFC 4514 writes it, and others. */
export function describeSubject(certificate: X509Certificate): string {
  const name = writeName(certificate)
  const others = readAlternativeNames(certificate.subjectAltName ?? '')
  return [name === '' ? 'no name' : name, ...others.map(({ type, value }) => `${type} ${value}`)]
    .join('; ')
    .slice(0, LONGEST_DESCRIPTION)
}

const LONGEST_DESCRIPTION = 500

/** Node writes one part to a line, the outermost first; RFC 4514 §2.1 has it the other way around. */
function writeName({ subject }: X509Certificate): string {
  return subject === undefined ? '' : subject.split('\n').toReversed().join(',')
}

function hasName(certificate: X509Certificate, expected: string): boolean {
  const wanted = readDistinguishedName(expected)
  const actual = readDistinguishedName(writeName(certificate))
  return (
    wanted !== undefined &&
    actual !== undefined &&
    wanted.length > 0 &&
    JSON.stringify(wanted) === JSON.stringify(actual)
  )
}

const HEX_PAIR = /^[0-9a-fA-F]{2}/
const SPECIAL = /^[ "#+,;<=>\\]/

/**
 * The parts of a name, in their order and in one spelling; `undefined` for what is none.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc4514.html#section-3 RFC 4514 §3}
 */
export function readDistinguishedName(text: string): readonly Part[] | undefined {
  const parts: string[][] = [[]]
  let rest = text
  if (rest.trim() === '') return undefined
  for (;;) {
    const [head = '', type] = /^ *([A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+) *= */.exec(rest) ?? []
    if (type === undefined) return undefined
    const value = readValue(rest.slice(head.length))
    if (value === undefined) return undefined
    parts.at(-1)?.push(`${nameType(type)}=${value.text}`)
    rest = value.rest
    if (rest === '') break
    if (rest.startsWith(',')) parts.push([])
    rest = rest.slice(1)
  }
  return parts.map((part) => part.toSorted())
}

/** Up to the next comma or plus that stands for itself, unescaped. */
function readValue(source: string): { text: string; rest: string } | undefined {
  const bytes: number[] = []
  let at = 0
  let end = 0
  while (at < source.length && source[at] !== ',' && source[at] !== '+') {
    const character = String.fromCodePoint(source.codePointAt(at) ?? 0)
    if (character === '\\') {
      const next = source.slice(at + 1)
      const [pair] = HEX_PAIR.exec(next) ?? []
      if (pair !== undefined) bytes.push(Number.parseInt(pair, 16))
      else if (SPECIAL.test(next)) bytes.push(next.charCodeAt(0))
      else return undefined
      at += pair === undefined ? 2 : 3
      end = bytes.length
      continue
    }
    if (/["<>;\0]/.test(character)) return undefined
    bytes.push(...Buffer.from(character))
    at += character.length
    if (character !== ' ') end = bytes.length
  }
  const text = decode(Buffer.from(bytes.slice(0, end)))
  return text === undefined ? undefined : { text, rest: source.slice(at) }
}

function decode(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** Other names of the same attributes (RFC 4514 §3, RFC 4519, and what OpenSSL calls them). */
const TYPES: Readonly<Record<string, string>> = {
  '2.5.4.3': 'cn',
  '2.5.4.4': 'sn',
  '2.5.4.5': 'serialnumber',
  '2.5.4.6': 'c',
  '2.5.4.7': 'l',
  '2.5.4.8': 'st',
  s: 'st',
  '2.5.4.9': 'street',
  '2.5.4.10': 'o',
  '2.5.4.11': 'ou',
  '2.5.4.12': 'title',
  '2.5.4.97': 'organizationidentifier',
  '0.9.2342.19200300.100.1.1': 'uid',
  '0.9.2342.19200300.100.1.25': 'dc',
  '1.2.840.113549.1.9.1': 'emailaddress',
  e: 'emailaddress',
}

function nameType(type: string): string {
  const known = type.toLowerCase()
  return Object.hasOwn(TYPES, known) ? (TYPES[known] ?? known) : known
}

interface AlternativeName {
  readonly type: string
  readonly value: string
}

const ALTERNATIVE_NAME = /^([A-Za-z][A-Za-z ]*):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/

/** As Node writes them: a value that could be read in two ways is a JSON text. */
function readAlternativeNames(text: string): readonly AlternativeName[] {
  const names: AlternativeName[] = []
  for (let rest = text; rest !== '';) {
    const [whole, type, value = ''] = ALTERNATIVE_NAME.exec(rest) ?? []
    // What cannot be read whole is not read at all.
    if (whole === undefined || type === undefined) return []
    names.push({ type, value: value.startsWith('"') ? String(JSON.parse(value)) : value })
    rest = rest.slice(whole.length)
  }
  return names
}

/** One spelling for each address; `undefined` for what is none. */
export function writeAddress(text: string): string | undefined {
  if (isIP(text) === 4) return text
  return isIP(text) === 6 && !text.includes('%') ? new URL(`http://[${text}]`).hostname : undefined
}

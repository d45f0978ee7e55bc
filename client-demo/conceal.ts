import { mapLeaves, type Json, type Leaf } from './value.ts'

/** How secrets and tokens are shown: enough to recognize them, too little to use them. */

const HIDDEN = '(hidden)'
const SHOWN = 12
const LONGEST = 160
/** Without spaces, this long, and no word of a language: an identifier, a secret or a token. */
const OPAQUE = /^(?=.*[A-Z\d])[\w.~+/=-]{25,}$/
const OPAQUE_SEGMENT = /^(?=.*[A-Z\d])[\w~-]{20,}$/
const OPAQUE_WORDS = /eyJ[\w-]*(\.[\w-]*)+|(?=[\w-]*[A-Z\d])[\w-]{25,}/g

/** The value of a parameter, header or member as it may be shown, however deep it goes. */
export function conceal(name: string, value: unknown): Json {
  return mapLeaves(name, value, concealLeaf)
}

function concealLeaf(name: string, leaf: Leaf): Leaf {
  if (typeof leaf === 'string') return concealNamed(name, leaf)
  return name === 'password' ? HIDDEN : leaf
}

function concealNamed(name: string, text: string): string {
  if (name === 'password') return HIDDEN
  if (name.toLowerCase() === 'authorization') return concealAuthorization(text)
  if (/^https?:\/\/|^\//.test(text)) return concealUrl(text)
  if (text.startsWith('urn:')) return concealText(text)
  return shorten(text)
}

/** A URL with its long path segments and query values shortened. */
export function concealUrl(text: string): string {
  const [, start = '', query = ''] = /^([^?]*)\??(.*)$/s.exec(text) ?? []
  const shown = start
    .split('/')
    .map((segment) => (OPAQUE_SEGMENT.test(segment) ? shorten(segment, true) : segment))
    .join('/')
  const parameters = [...new URLSearchParams(query)].map(
    ([name, value]) => `${name}=${concealNamed(name, value)}`,
  )
  return parameters.length === 0 ? shown : `${shown}?${parameters.join('&')}`
}

/** A value that was compared, without the tokens in it. */
export function concealTexts(value: unknown): Json {
  return mapLeaves('', value, (_name, leaf) =>
    typeof leaf === 'string' ? concealText(leaf) : leaf,
  )
}

/** Tokens in a text that somebody else wrote, such as an error. */
export function concealText(text: string): string {
  return text.replaceAll(OPAQUE_WORDS, (word) => shorten(word, true))
}

function shorten(text: string, isOpaque: boolean = OPAQUE.test(text)): string {
  if (isOpaque) return `${text.slice(0, SHOWN)}…`
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text
}

function concealAuthorization(value: string): string {
  const [scheme = '', credentials = ''] = value.split(' ')
  if (scheme.toLowerCase() !== 'basic') return `${scheme} ${credentials.slice(0, SHOWN)}…`
  const [id = ''] = Buffer.from(credentials, 'base64').toString('utf8').split(':')
  // Encoded as a form (RFC 6749 §2.3.1).
  return `${scheme} (${new URLSearchParams(`id=${id}`).get('id') ?? ''}:…)`
}

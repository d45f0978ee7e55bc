/** How secrets and tokens are shown: enough to recognize them, too little to use them. */

const SHOWN = 12
const LONGEST = 160
const MOST_ENTRIES = 5
/** Without spaces, this long, and no word of a language: an identifier, a secret or a token. */
const OPAQUE = /^(?=.*[A-Z\d])[\w.~+/=-]{25,}$/
const OPAQUE_SEGMENT = /^(?=.*[A-Z\d])[\w~-]{20,}$/
const OPAQUE_WORDS = /eyJ[\w-]*(\.[\w-]*)+|(?=[\w-]*[A-Z\d])[\w-]{25,}/g

/** The value of a parameter, header or member as it may be shown. */
export function conceal(name: string, value: unknown): string {
  if (typeof value !== 'string') return show(value)
  if (name === 'password') return '(hidden)'
  if (name.toLowerCase() === 'authorization') return concealAuthorization(value)
  if (/^https?:\/\/|^\//.test(value)) return concealUrl(value)
  return shorten(value)
}

/** A URL with its long path segments and query values shortened. */
export function concealUrl(text: string): string {
  const [, start = '', query = ''] = /^([^?]*)\??(.*)$/s.exec(text) ?? []
  const shown = start
    .split('/')
    .map((segment) => (OPAQUE_SEGMENT.test(segment) ? shorten(segment, true) : segment))
    .join('/')
  const parameters = [...new URLSearchParams(query)].map(
    ([name, value]) => `${name}=${conceal(name, value)}`,
  )
  return parameters.length === 0 ? shown : `${shown}?${parameters.join('&')}`
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
  const [id] = Buffer.from(credentials, 'base64').toString('utf8').split(':')
  return `${scheme} (${id}:…)`
}

/** A JSON value on one line, of lists the first few entries. */
function show(value: unknown): string {
  if (Array.isArray(value)) {
    const more = value.length > MOST_ENTRIES ? [`… ${value.length - MOST_ENTRIES} more`] : []
    const entries = value.slice(0, MOST_ENTRIES).map((entry) => conceal('', entry))
    return `[${[...entries, ...more].join(', ')}]`
  }
  if (typeof value !== 'object' || value === null) return String(value)
  const members = Object.entries(value).map(([name, member]) => `${name}: ${conceal(name, member)}`)
  return `{ ${members.join(', ')} }`
}

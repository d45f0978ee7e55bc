import { mapLeaves, type Json, type Leaf } from './value.ts'

/**
 * How secrets and tokens are shown: enough to recognize them, too little to use them.
 *
 * What a value is called decides first. Whatever is called a password is hidden, and so is all that is in
 * it. Of what is called a token, a key, a code or the like, long ones keep their first characters and short
 * ones, which those would give away, nothing. What is called anything else is shown, but for words in it
 * that look like identifiers or tokens, and pairs in it whose name is one of the above.
 */

export const HIDDEN = '(hidden)'
const SHOWN = 12
/** Of a secret this long, what is not shown is still more than anybody can guess. */
const SHORTEST_RECOGNIZABLE = 40
const LONGEST = 160
/** Nobody reads more of a text; and patterns take time. */
const LONGEST_READ = 4000

const PASSWORD = /password|passwd|passphrase|passcode|pwd/
/** What the last word of a name says: a `token_type` is no token, and an `api-key` is a key. */
const SECRET =
  /(authorization|secret|token|key|code|verifier|assertion|credential|cookie|jwt|otp|pin|session|[cx]srf|ticket|proof|dpop)s?\d*$/
/** A code for people to read and type (RFC 8628 §3.2), and what is public although its name sounds otherwise. */
const SHOWN_ON_PURPOSE = new Set(['usercode', 'errorcode', 'statuscode', 'publickey'])
/** `{ "token": { "value": … } }` is called a token. */
const SAYS_NOTHING = new Set(['value', 'text', 'raw', 'plain'])
/** The private members of a JWK (RFC 7518 §6). */
const PRIVATE_MEMBERS = new Set(['d', 'p', 'q', 'dp', 'dq', 'qi', 'k'])

/** Without spaces, this long, and no word of a language: an identifier, a secret or a token. */
const OPAQUE = /^(?=.*[A-Z\d])[\w.~+/=-]{25,}$/
const OPAQUE_SEGMENT = /^(?=.*[A-Z\d])[\w~-]{20,}$/
const OPAQUE_WORDS = /eyJ[\w-]*(\.[\w-]*)+|(?=[\w-]*[A-Z\d])[\w-]{25,}/g
const URL_START = /^([a-z][a-z\d+.-]*:)?\/|^[?#]/i
/** Whoever has one can use it (RFC 9126 §7.1). */
const PUSHED_REQUEST = /^(urn:ietf:params:oauth:request_uri:)(.*)$/s

/** The value of a parameter, header or member as it may be shown, however deep it goes. */
export function conceal(name: string, value: unknown): Json {
  return mapLeaves([name], value, (path, leaf) => concealLeaf(path, leaf, concealNamed))
}

/** A value that was compared, without the secrets and tokens in it. */
export function concealTexts(value: unknown): Json {
  return mapLeaves([], value, (path, leaf) => concealLeaf(path, leaf, concealCompared))
}

/** Nothing is cut off: a difference may be at the end. */
function concealCompared(name: string, text: string): string {
  return isSecret(name) ? concealSecret(text) : concealText(text)
}

function concealLeaf(
  path: readonly string[],
  leaf: Leaf,
  change: (name: string, text: string) => string,
): Leaf {
  if (path.some(isPassword)) return HIDDEN
  const name = path.findLast((member) => !SAYS_NOTHING.has(member)) ?? ''
  if (typeof leaf === 'string') return change(name, leaf)
  return typeof leaf === 'number' && isSecret(name) && !isStatus(leaf) ? HIDDEN : leaf
}

/** Some answers say their status in a `code`. A secret of three digits is none. */
function isStatus(number: number): boolean {
  return Number.isInteger(number) && number >= 100 && number < 600
}

function concealNamed(name: string, text: string): string {
  switch (name.toLowerCase()) {
    case 'authorization':
    case 'proxy-authorization':
      return concealAuthorization(text)
    case 'cookie':
      return text.split(';').map(concealCookie).join('; ')
    case 'set-cookie': {
      const [cookie = '', ...attributes] = text.split(';')
      return [concealCookie(cookie), ...attributes].join(';')
    }
  }
  if (isSecret(name)) return concealSecret(text)
  if (PUSHED_REQUEST.test(text)) return concealPushedRequest(text)
  return URL_START.test(text) ? concealUrl(text) : cut(shorten(text))
}

/** A URL with its long path segments and query values shortened. */
export function concealUrl(text: string): string {
  const [, start = '', query = '', fragment = ''] = /^([^?#]*)\??([^#]*)#?(.*)$/s.exec(text) ?? []
  const shown = start
    .replace(/^([^/]*\/\/)[^/@]*@/, `$1${HIDDEN}@`)
    .split('/')
    .map((segment) => (OPAQUE_SEGMENT.test(segment) ? abbreviate(segment) : segment))
    .join('/')
  const parts = [concealText(shown), concealParameters(query), concealParameters(fragment)]
  return parts.map((part, index) => (part === '' ? '' : `${['', '?', '#'][index]}${part}`)).join('')
}

function concealParameters(query: string): string {
  return [...new URLSearchParams(query)]
    .map(
      ([name, value]) =>
        `${concealName(name)}=${isPassword(name) ? HIDDEN : concealNamed(name, value)}`,
    )
    .join('&')
}

/** Where a body is not what it says to be, a secret may stand in place of a name. */
export function concealName(name: string): string {
  return cut(shorten(name))
}

/** Secrets and tokens in a text that somebody else wrote, such as an error. */
export function concealText(text: string): string {
  return text
    .slice(0, LONGEST_READ)
    .replaceAll(HEADER_LINE, (_line, name: string, value: string) => {
      return `${name}: ${concealNamed(name, value)}`
    })
    .replaceAll(QUOTED_PAIR, (pair, start: string, _quote, name: string, value: string) => {
      return isSecret(name) && !isStatus(Number(value)) ? `${start}${concealQuoted(value)}` : pair
    })
    .replaceAll(PAIR, (pair, name: string, value: string) =>
      isSecret(name) ? `${name}=${concealSecret(value)}` : pair,
    )
    .replaceAll(OPAQUE_WORDS, abbreviate)
}

const HEADER_LINE =
  /^((?:proxy-)?authorization|(?:set-)?cookie|dpop|(?:x-)?api-key|access_token|x-[\w-]{0,60}(?:token|key|secret)): (.+)$/gim
/** As JSON has it, and as people write it who are new to JSON; its end may be missing. */
const QUOTED_PAIR =
  /((["'])([^"'\\]{1,80})\2\s{0,9}:\s{0,9})("(?:[^"\\]|\\.)*(?:"|$)|'(?:[^'\\]|\\.)*(?:'|$)|[^\s,}\]"']+)/g
const PAIR = /(?<![\w.[\]-])([\w.[\]-]{1,80})=("[^"]*(?:"|$)|[^\s&;]+)/g

function concealQuoted(value: string): string {
  const [, start = '', inner = '', end = ''] = /^(["']?)(.*?)(["']?)$/s.exec(value) ?? []
  return `${start}${concealSecret(inner)}${end}`
}

/** A body that is text, and may be nothing but a token. */
export function concealBody(text: string): string {
  return /^(?=.*\d)\S{8,}$/.test(text) ? concealSecret(text) : cut(concealText(text))
}

function isPassword(name: string): boolean {
  return PASSWORD.test(plain(name))
}

function isSecret(name: string): boolean {
  const text = plain(name)
  if (SHOWN_ON_PURPOSE.has(text)) return false
  return PASSWORD.test(text) || SECRET.test(text) || PRIVATE_MEMBERS.has(name)
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z\d]/g, '')
}

function concealSecret(text: string): string {
  if (text === '') return ''
  const isRecognizable = text.length >= SHORTEST_RECOGNIZABLE && /^[\w.~+/=-]+$/.test(text)
  return isRecognizable ? abbreviate(text) : HIDDEN
}

function shorten(text: string): string {
  return OPAQUE.test(text) ? abbreviate(text) : concealText(text)
}

function abbreviate(text: string): string {
  return `${text.slice(0, SHOWN)}…`
}

function cut(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text
}

function concealPushedRequest(text: string): string {
  return text.replace(PUSHED_REQUEST, (_text, urn: string, own: string) => urn + concealSecret(own))
}

/** The name as well: a cookie of the server carries its secret there. */
function concealCookie(cookie: string): string {
  const [, name = '', value = ''] = /^([^=]*)=(.*)$/s.exec(cookie.trim()) ?? []
  return name === '' ? HIDDEN : `${shorten(name)}=${concealSecret(value)}`
}

const CREDENTIALS = /^([a-z][a-z-]{0,19}) +(\S.*)$/is

/** Any scheme: what follows it is a secret, or has one in it. */
function concealAuthorization(value: string): string {
  const [, scheme = '', credentials = ''] = CREDENTIALS.exec(value) ?? []
  if (scheme === '') return concealSecret(value)
  const client = scheme.toLowerCase() === 'basic' ? readClient(credentials) : undefined
  return `${scheme} ${client === undefined ? concealSecret(credentials) : `(${client}:…)`}`
}

/** The name of a client, unless it is all there is: some APIs take a key in its place. */
function readClient(credentials: string): string | undefined {
  const text = Buffer.from(credentials, 'base64').toString('utf8')
  const [, id] = /^([^:]+):./s.exec(text) ?? []
  // Encoded as a form (RFC 6749 §2.3.1).
  return id === undefined ? undefined : shorten(new URLSearchParams(`id=${id}`).get('id') ?? '')
}

import type { IssuerError } from './errors.ts'
import type { JsonObject } from './json.ts'
import type { KeySet } from './key-set.ts'
import type { RevocationEntry, RevokedKind } from './revocation-store.ts'
import { createSignedMessageReader, refuseMessage } from './signed-message.ts'

/** One entry of the log; `undefined` in place of what it says where that is not understood here. */
export interface LogEntry {
  readonly sequence: number
  readonly entry: RevocationEntry | undefined
  /** Seconds since the epoch: when it may be forgotten. */
  readonly until: number
}

interface Signed {
  /** Milliseconds since the epoch, at the issuer: when it was signed, at the earliest. */
  readonly signedAt: number
}

interface Message extends Signed {
  /** The id of the log. */
  readonly feed: string
}

/** One entry, as it happened. */
export interface LoggedEvent extends Message, LogEntry {
  /** Its name: the feed and the place. */
  readonly name: string
}

/** Where the log stands. */
export interface Beat extends Message {
  readonly head: number
  /** Digest of the ids of all published keys. */
  readonly keys: string
}

/** All live entries with `after < sequence <= through`. */
export interface Page extends Message {
  readonly after: number
  readonly through: number
  readonly head: number
  readonly entries: readonly LogEntry[]
}

/** Reads what the issuer signs for those who follow its log. Throws an `IssuerError` for anything else. */
export interface RevocationMessages {
  /** What a stream begins with. It has to answer `nonce`, and so was made after that. */
  readHello(text: string, nonce: string): Promise<Signed>
  readEvent(text: string): Promise<LoggedEvent>
  readBeat(text: string): Promise<Beat>
  readPage(text: string): Promise<Page>
}

const ALGORITHMS = ['ES256']
const MAX_EVENT_LENGTH = 16_384
export const MAX_PAGE_BYTES: number = 8 * 1024 * 1024
const MOST_ENTRIES = 2000
const SESSION_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
const OWN_TYPE = /^urn:portreeve:event:(token|grant|client|key|all)-revoked$/
const KINDS: Readonly<Record<string, RevokedKind>> = {
  t: 'token',
  g: 'grant',
  s: 'session',
  u: 'user',
  c: 'client',
  k: 'key',
  a: 'all',
}

export interface RevocationMessageSettings {
  readonly issuer: string
  /** What these messages are for. */
  readonly audience: string
  /** A key that was withdrawn signs nothing any more, however late its withdrawal is published. */
  readonly isRevokedKey: (keyId: string) => boolean
}

/** @see `docs/revocation.md` for the form of each message. */
export function createRevocationMessages(
  keys: KeySet,
  settings: RevocationMessageSettings,
): RevocationMessages {
  const createReader = (name: string, type: string, maxLength: number) => {
    const how = { name, type, algorithms: ALGORITHMS, maxLength }
    const reader = createSignedMessageReader(keys, how, settings.isRevokedKey)
    return async (text: string) => {
      const claims = await reader.read(text)
      const { iss, aud } = claims
      if (iss !== settings.issuer) throw refuseMessage(name, 'is of another issuer', iss)
      if (![aud].flat().includes(settings.audience)) {
        throw refuseMessage(name, 'is not for those who follow revocations', aud)
      }
      return claims
    }
  }
  const hello = createReader('the hello', 'revocation-hello+jwt', MAX_EVENT_LENGTH)
  const event = createReader('the event', 'secevent+jwt', MAX_EVENT_LENGTH)
  const beat = createReader('the beat', 'revocation-beat+jwt', MAX_EVENT_LENGTH)
  const page = createReader('the page', 'revocation-page+jwt', MAX_PAGE_BYTES)
  return {
    async readHello(text, nonce) {
      const claims = await hello(text)
      // A record of another connection, or a copy of it.
      if (claims['nonce'] !== nonce) throw refuseMessage('the hello', 'answers another', undefined)
      const { now_ms: signedAt } = claims
      if (!isPlace(signedAt)) throw malformed('the hello', claims)
      return { signedAt }
    },
    readEvent: async (text) => readEventClaims(await event(text), settings.issuer),
    readBeat: async (text) => readBeatClaims(await beat(text)),
    readPage: async (text) => readPageClaims(await page(text)),
  }
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc8417.html#section-2.2 RFC 8417 §2.2} */
function readEventClaims(claims: JsonObject, issuer: string): LoggedEvent {
  const { jti, seq, until, iat, sub_id: subject, events } = claims
  const [feed = ''] = typeof jti === 'string' ? jti.split(':') : []
  const isWhole = isPlace(seq) && seq > 0 && isSeconds(until) && isSeconds(iat) && isFeed(feed)
  if (!isWhole || jti !== `${feed}:${seq}`) throw malformed('the event', claims)
  const [happened, ...others] = Object.entries(isObject(events) ? events : {})
  const known = others.length === 0 && happened && readSubject(happened, subject, issuer)
  const entry = known ? { ...known, until } : undefined
  return { feed, signedAt: iat * 1000, sequence: seq, name: jti, until, entry }
}

function readSubject(
  [type, facts]: readonly [string, unknown],
  subject: unknown,
  issuer: string,
): Omit<RevocationEntry, 'until'> | undefined {
  if (!isObject(facts) || !isObject(subject)) return undefined
  const { event_timestamp: revokedAt } = facts
  const about = (kind: RevokedKind, name: unknown) =>
    isSeconds(revokedAt) && typeof name === 'string' && name !== ''
      ? { kind, subject: name, revokedAt }
      : undefined
  const { format, iss } = subject
  if (type === SESSION_REVOKED) {
    if (format === 'iss_sub' && iss === issuer) return about('user', subject['sub'])
    const { session } = subject
    const isOne = format === 'complex' && isObject(session) && Object.keys(subject).length === 2
    return isOne && session['format'] === 'opaque' ? about('session', session['id']) : undefined
  }
  const [, kind] = OWN_TYPE.exec(type) ?? []
  switch (kind) {
    case 'token':
      return format === 'jwt_id' && iss === issuer ? about(kind, subject['jti']) : undefined
    case 'all': {
      const isOurs = format === 'uri' && subject['uri'] === issuer
      return isOurs && isSeconds(revokedAt) ? { kind, subject: '', revokedAt } : undefined
    }
    case 'grant':
    case 'client':
    case 'key':
      return format === 'opaque' ? about(kind, subject['id']) : undefined
    default:
      return undefined
  }
}

function readBeatClaims(claims: JsonObject): Beat {
  const { feed, head, keys, now_ms: signedAt } = claims
  const isWhole = isFeed(feed) && isPlace(head) && isPlace(signedAt) && typeof keys === 'string'
  if (!isWhole) throw malformed('the beat', claims)
  return { feed, head, keys, signedAt }
}

function readPageClaims(claims: JsonObject): Page {
  const { feed, iat, after, through, head, entries } = claims
  const isWhole =
    isFeed(feed) && isSeconds(iat) && isPlace(after) && isPlace(through) && isPlace(head)
  if (!isWhole || through < after || !Array.isArray(entries) || entries.length > MOST_ENTRIES) {
    throw malformed('the page', claims)
  }
  let place = after
  const read = entries.map((row: unknown) => {
    const entry = readRow(row)
    if (entry === undefined || entry.sequence <= place || entry.sequence > through) {
      throw malformed('the page', { row })
    }
    place = entry.sequence
    return entry
  })
  return { feed, signedAt: iat * 1000, after, through, head, entries: read }
}

function readRow(row: unknown): LogEntry | undefined {
  if (!Array.isArray(row)) return undefined
  const [sequence, letter, subject, revokedAt, until] = row as readonly unknown[]
  const isWhole = isPlace(sequence) && isSeconds(revokedAt) && isSeconds(until)
  if (!isWhole) return undefined
  const kind =
    typeof letter === 'string' && Object.hasOwn(KINDS, letter) ? KINDS[letter] : undefined
  if (kind === undefined || typeof subject !== 'string' || row.length !== 5) {
    return { sequence, until, entry: undefined }
  }
  return {
    sequence,
    until,
    entry: { kind, subject: kind === 'all' ? '' : subject, revokedAt, until },
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isFeed(value: unknown): value is string {
  return typeof value === 'string' && /^[\w-]{1,64}$/.test(value)
}

function isPlace(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && value >= 0
}

function malformed(name: string, actual: unknown): IssuerError {
  return refuseMessage(name, 'is not of its form', actual)
}

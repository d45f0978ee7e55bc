import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import { PortreeveError } from '../errors.ts'

/** Who did it. A `stranger` has not proven who they are. */
export type Actor = 'user' | 'client' | 'operator' | 'file' | 'server' | 'stranger'

/** Who did what, or was allowed what. No member holds a secret. */
export interface AuditEvent {
  /** As in the log: `signed_in`. */
  readonly event: string
  readonly by: Actor
  /** The account that it concerns. */
  readonly accountId?: string | undefined
  /** The client that it concerns. */
  readonly clientId?: string | undefined
  /** What else there is to know. */
  readonly facts?: Readonly<Record<string, unknown>> | undefined
}

/** An event with its circumstances. */
export interface AuditRecord extends AuditEvent {
  /** Milliseconds since the epoch: when it happened, which is a little before it is written. */
  readonly at: number
  /** Leads to the lines that the log has of the same request. */
  readonly requestId: string | undefined
}

/** A record in its place in the log. */
export interface AuditEntry {
  /** 1, 2, 3 and so on, without gaps. */
  readonly sequence: number
  readonly at: number
  readonly event: string
  readonly by: Actor
  readonly accountId: string | undefined
  readonly clientId: string | undefined
  readonly requestId: string | undefined
  /** Canonical JSON: an object, its members in the order of their names. */
  readonly facts: string
  /** The hash of the entry before; empty in the first one. */
  readonly previous: string
  readonly hash: string
}

/** The end of a log at some time. Whoever keeps one elsewhere notices when the log is cut before it. */
export type AuditHead = Pick<AuditEntry, 'sequence' | 'hash'>

export interface AuditFilter {
  readonly accountId?: string | undefined
  readonly clientId?: string | undefined
  /** Milliseconds since the epoch: what happened then or later. */
  readonly since?: number | undefined
}

/** Makes the entries that follow `head`. `find` reads an earlier one, inside of the same transaction. */
export type ExtendLog = (
  head: AuditEntry | undefined,
  find: (sequence: number) => Promise<AuditEntry | undefined>,
) => Promise<readonly AuditEntry[]>

/** Where the log is kept. Nothing in it is ever changed or removed. */
export interface AuditStore {
  /**
   * Adds what `extend` answers, in one transaction that keeps every other `append` waiting, in whichever
   * process. A rejection says nothing about whether it was done: the connection may have been lost after.
   */
  append(extend: ExtendLog): Promise<void>
  /** The newest first. */
  list(filter: AuditFilter, limit: number): Promise<readonly AuditEntry[]>
  /** In order, those with a higher place than `after`; without `after` from the first. */
  page(after: number | undefined, limit: number): Promise<readonly AuditEntry[]>
}

/** Where a log is not as it was written. */
export interface AuditBreak {
  /** The place that should have held what was expected. */
  readonly sequence: number
  readonly what: 'sequence' | 'previous' | 'hash' | 'head'
  readonly expected: string
  readonly found: string
}

export type AuditVerdict =
  | { readonly ok: true; readonly entries: number; readonly head: AuditHead | undefined }
  | { readonly ok: false; readonly reason: AuditBreak }

/** What entries are written under. Whoever has it can write any log: it is never in the database. */
export interface AuditKey {
  /** Stands in every hash, and tells nothing of the secret. */
  readonly id: string
  readonly secret: KeyObject
}

export function createAuditKey(bytes: Buffer): AuditKey {
  // Node takes ten times as long for an HMAC whose key comes as bytes.
  const secret = createSecretKey(bytes)
  return { id: hmac(secret, 'portreeve audit key').slice(0, 8), secret }
}

/** In case an entry of another shape is ever written: the shape belongs to what is hashed. */
const SHAPE = 'portreeve audit 1'
const PAGE = 1000

/** Puts records into their places after `head`. */
export function chainRecords(
  key: AuditKey,
  head: AuditHead | undefined,
  records: readonly AuditRecord[],
): AuditEntry[] {
  const entries: AuditEntry[] = []
  for (const record of records) {
    const last = entries.at(-1) ?? head
    const entry = {
      sequence: (last?.sequence ?? 0) + 1,
      at: record.at,
      event: record.event,
      by: record.by,
      accountId: toStorable(record.accountId),
      clientId: toStorable(record.clientId),
      requestId: toStorable(record.requestId),
      facts: toCanonicalJson(record.facts ?? {}),
      previous: last?.hash ?? '',
    }
    entries.push({ ...entry, hash: hashEntry(key, entry) })
  }
  return entries
}

/**
 * The hash of an entry: the id of the key, and an HMAC over every member and the hash of the entry
 * before. Each member is a JSON value of an array: no two entries are written alike.
 */
function hashEntry(key: AuditKey, entry: Omit<AuditEntry, 'hash'>): string {
  const { sequence, at, event, by, accountId, clientId, requestId, facts, previous } = entry
  const members = [sequence, at, event, by, accountId, clientId, requestId, facts, previous]
  const text = JSON.stringify([SHAPE, ...members.map((member) => member ?? null)])
  return `${key.id}.${hmac(key.secret, text)}`
}

function hmac(secret: KeyObject, text: string): string {
  return createHmac('sha256', secret).update(text).digest('base64url')
}

/** Throws `misconfigured` where the log was written under another key: it would be broken for good. */
export async function requireSameKey(
  store: Pick<AuditStore, 'list'>,
  key: AuditKey,
): Promise<void> {
  const [newest] = await store.list({}, 1)
  if (!newest || newest.hash.startsWith(`${key.id}.`)) return
  throw new PortreeveError(
    'misconfigured',
    'The audit log in the database was written under another root key. Give back the root key that it was written under (rootKey), or start with an empty database.',
  )
}

/**
 * Reads the whole log, a page at a time, and looks for the first place where it is not as written.
 *
 * That there is none proves that, without the key, nobody has changed an entry, added one, removed one
 * from the middle or the beginning, or put them in another order. It does not prove that nothing is
 * missing at the end: a shorter log is as whole as a longer one. For that, compare with a head that was
 * noted elsewhere: pass it as `noted`. Nor does it prove anything against somebody who has the key, which
 * is everybody who may read the root key, or that what was written was true.
 */
export async function verifyLog(
  store: Pick<AuditStore, 'list' | 'page'>,
  key: AuditKey,
  noted?: AuditHead,
): Promise<AuditVerdict> {
  let last: AuditEntry | undefined
  let entries = 0
  for await (const entry of readAll(store)) {
    const fault = judgeEntry(key, last, entry) ?? judgeNoted(entry, noted)
    if (fault) return { ok: false, reason: fault }
    last = entry
    entries += 1
  }
  if (noted !== undefined && noted.sequence > (last?.sequence ?? 0)) {
    const found = `the end of the log after entry ${last?.sequence ?? 0}`
    const reason = { sequence: noted.sequence, what: 'head', expected: noted.hash, found } as const
    return { ok: false, reason }
  }
  return { ok: true, entries, head: last && { sequence: last.sequence, hash: last.hash } }
}

/** In order, up to the end that it has now: or somebody who appends all the time would be read forever. */
async function* readAll(store: Pick<AuditStore, 'list' | 'page'>): AsyncGenerator<AuditEntry> {
  const [newest] = await store.list({}, 1)
  if (!newest) return
  let place: number | undefined
  for (;;) {
    const page = await store.page(place, PAGE)
    if (page.length === 0) return
    for (const entry of page) {
      yield entry
      if (entry.sequence === newest.sequence) return
      place = entry.sequence
    }
  }
}

function judgeEntry(
  key: AuditKey,
  last: AuditEntry | undefined,
  entry: AuditEntry,
): AuditBreak | undefined {
  const sequence = (last?.sequence ?? 0) + 1
  const checks: readonly (readonly [AuditBreak['what'], expected: unknown, found: unknown])[] = [
    ['sequence', sequence, entry.sequence],
    ['previous', last?.hash ?? '', entry.previous],
    ['hash', hashEntry(key, entry), entry.hash],
  ]
  const failed = checks.find(([, expected, found]) => expected !== found)
  if (!failed) return undefined
  const [what, expected, found] = failed
  return { sequence, what, expected: String(expected), found: String(found) }
}

function judgeNoted(
  { sequence, hash }: AuditEntry,
  noted: AuditHead | undefined,
): AuditBreak | undefined {
  if (noted?.sequence !== sequence || noted.hash === hash) return undefined
  return { sequence, what: 'head', expected: noted.hash, found: hash }
}

/** What a database gives back as it was given: no half of a surrogate pair, no NUL. */
function toStorable(text: string | undefined): string | undefined {
  return text?.toWellFormed().replaceAll('\0', '\uFFFD')
}

function toCanonicalJson(facts: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(facts, (_name, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).toSorted(([one], [two]) => (one < two ? -1 : 1)))
      : value,
  )
}

import { hash, randomBytes } from 'node:crypto'

/**
 * What a revocation is about: one token (`jti`), a grant (`grant_id`), a client's session (`sid`), a
 * user, a client, what one key has signed (`kid`), or everything.
 */
export type RevokedKind = 'token' | 'grant' | 'session' | 'user' | 'client' | 'key' | 'all'

/** What has been revoked. Times are in seconds since the epoch. */
export interface RevocationEntry {
  readonly kind: RevokedKind
  readonly subject: string
  /** Of users, clients and everything: what was issued until then is revoked. */
  readonly revokedAt: number
  /** When the last token that it may concern has expired. */
  readonly until: number
}

/** Revocations that are alive, by fingerprints of what they are about. */
export interface RevocationStore {
  /**
   * Two about one subject are kept as one, by the later of their times. `'known'`: it says nothing new.
   * `'full'`: there is no room, also after those that are dead at `now` (seconds) have gone.
   */
  add(entry: RevocationEntry, now: number): 'added' | 'known' | 'full'
  /**
   * Whether an entry says so. `issuedAt`: when the token was; `undefined` counts as long ago. Entries
   * that are dead may still say so until they are swept away.
   */
  isRevoked(kind: RevokedKind, subject: string, issuedAt?: number): boolean
  /** Removes what is dead at `now` (seconds), from so many of the 256 parts; goes on the next time. */
  sweep(now: number, parts?: number): void
  readonly size: number
  /** What the entries take, in bytes. */
  readonly bytes: number
}

const KINDS: readonly RevokedKind[] = ['token', 'grant', 'session', 'user', 'client', 'key', 'all']
/** What may be let in again later: for these it counts when the token was issued. */
const TIMED: readonly RevokedKind[] = ['user', 'client', 'all']
const PARTS = 256
/** Of an entry: two words of fingerprint, `revokedAt`, `until`. A slot whose `until` is 0 is empty. */
const WORDS = 4
const LATEST = 0xffff_ffff
const WORD_VALUES = 2 ** 32
/** A part is made anew when it is fuller than that, and then a quarter larger than it has to be. */
const MOST_LOAD = 0.75
const ROOM = 1.25
const LEAST_SLOTS = 4

/**
 * Keeps at most `maxEntries`: 64 bits of a keyed SHA-256 each, in tables with open places, so that a
 * million take 22 to 27 MB. Two subjects with one fingerprint (of a million, one look-up in ten million
 * million) cost their holder a new token, and nobody can look for such: the key is random and stays here.
 *
 * There are 256 tables, each of which grows and is swept by itself: no pause is longer than one of them
 * takes.
 */
export function createRevocationStore(maxEntries: number): RevocationStore {
  return new FingerprintStore(maxEntries)
}

class FingerprintStore implements RevocationStore {
  readonly #maxEntries: number
  readonly #key = randomBytes(16).toString('latin1')
  readonly #parts = Array.from({ length: PARTS }, () => createPart(0))
  readonly #sizes = new Uint32Array(PARTS)
  /** Whether there was ever one of a kind: of the others, none is looked for. */
  #kinds = 0
  #size = 0
  #swept = 0
  /** The fingerprint that was made last. */
  #high = 0
  #low = 0

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries
  }

  get size(): number {
    return this.#size
  }

  get bytes(): number {
    return this.#parts.reduce((sum, part) => sum + part.byteLength, 0)
  }

  add(
    { kind, subject, revokedAt, until }: RevocationEntry,
    now: number,
  ): 'added' | 'known' | 'full' {
    if (until <= now) return 'known'
    const before = TIMED.includes(kind) ? clamp(Math.floor(revokedAt)) : LATEST
    const death = clamp(Math.ceil(until))
    this.#takeFingerprint(kind, subject)
    const index = this.#high >>> 24
    const part = this.#parts[index] ?? createPart(0)
    const at = findSlot(part, this.#high, this.#low)
    if (part[at + 3] !== 0) return raise(part, at, before, death) ? 'added' : 'known'
    if (this.#size >= this.#maxEntries) {
      const { size } = this
      this.sweep(now, PARTS)
      return this.#size < size ? this.add({ kind, subject, revokedAt, until }, now) : 'full'
    }
    put(part, at, this.#high, this.#low, before, death)
    this.#kinds |= 1 << KINDS.indexOf(kind)
    this.#size += 1
    const size = (this.#sizes[index] ?? 0) + 1
    this.#sizes[index] = size
    if (size > (part.length / WORDS) * MOST_LOAD) this.#rebuild(index, now)
    return 'added'
  }

  isRevoked(kind: RevokedKind, subject: string, issuedAt = 0): boolean {
    if ((this.#kinds & (1 << KINDS.indexOf(kind))) === 0) return false
    this.#takeFingerprint(kind, subject)
    const part = this.#parts[this.#high >>> 24] ?? createPart(0)
    const at = findSlot(part, this.#high, this.#low)
    // A part of a second does not make a token younger than an entry of that second.
    return part[at + 3] !== 0 && Math.floor(issuedAt) <= (part[at + 2] ?? 0)
  }

  sweep(now: number, parts = PARTS): void {
    for (let count = 0; count < parts; count += 1) {
      const part = this.#parts[this.#swept] ?? createPart(0)
      if (hasDead(part, now)) this.#rebuild(this.#swept, now)
      this.#swept = (this.#swept + 1) % PARTS
    }
  }

  /** A table without what is dead, with room for a quarter more. */
  #rebuild(index: number, now: number): void {
    const old = this.#parts[index] ?? createPart(0)
    let alive = 0
    for (let at = 0; at < old.length; at += WORDS) if ((old[at + 3] ?? 0) > now) alive += 1
    const made = createPart(alive)
    for (let at = 0; at < old.length; at += WORDS) {
      const until = old[at + 3] ?? 0
      if (until <= now) continue
      const [high, low, before] = [old[at] ?? 0, old[at + 1] ?? 0, old[at + 2] ?? 0]
      put(made, findSlot(made, high, low), high, low, before, until)
    }
    this.#parts[index] = made
    this.#size += alive - (this.#sizes[index] ?? 0)
    this.#sizes[index] = alive
  }

  #takeFingerprint(kind: RevokedKind, subject: string): void {
    // As bytes in a text: that is made in half the time that a buffer takes.
    const digest = hash('sha256', `${this.#key}${kind}:${subject}`, 'binary')
    this.#high = readWord(digest, 0)
    this.#low = readWord(digest, 4)
  }
}

function createPart(entries: number): Uint32Array {
  const slots = Math.max(LEAST_SLOTS, Math.ceil((entries * ROOM) / MOST_LOAD))
  return new Uint32Array(slots * WORDS)
}

/** Where the entry with this fingerprint is, or would be: a part is never full. */
function findSlot(part: Uint32Array, high: number, low: number): number {
  const slots = part.length / WORDS
  let at = Math.floor((low / WORD_VALUES) * slots) * WORDS
  while (part[at + 3] !== 0 && (part[at] !== high || part[at + 1] !== low)) {
    at += WORDS
    if (at === part.length) at = 0
  }
  return at
}

function put(
  part: Uint32Array,
  at: number,
  high: number,
  low: number,
  before: number,
  until: number,
): void {
  part[at] = high
  part[at + 1] = low
  part[at + 2] = before
  part[at + 3] = until
}

/** The later of the times; answers whether one of them was not there yet. */
function raise(part: Uint32Array, at: number, before: number, until: number): boolean {
  const [knownBefore, knownUntil] = [part[at + 2] ?? 0, part[at + 3] ?? 0]
  part[at + 2] = Math.max(knownBefore, before)
  part[at + 3] = Math.max(knownUntil, until)
  return before > knownBefore || until > knownUntil
}

function hasDead(part: Uint32Array, now: number): boolean {
  for (let at = 3; at < part.length; at += WORDS) {
    const until = part[at] ?? 0
    if (until !== 0 && until <= now) return true
  }
  return false
}

function readWord(digest: string, at: number): number {
  const bytes =
    (digest.charCodeAt(at) << 24) |
    (digest.charCodeAt(at + 1) << 16) |
    (digest.charCodeAt(at + 2) << 8) |
    digest.charCodeAt(at + 3)
  return bytes >>> 0
}

function clamp(seconds: number): number {
  return Math.min(Math.max(seconds, 0), LATEST)
}

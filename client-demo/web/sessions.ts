import { createHash, randomBytes } from 'node:crypto'
import type { Clock } from './clock.ts'
import type { Person, SignedIn, Tokens } from './issuer.ts'
import { createTrace, type Arrow, type Trace } from './trace.ts'

const MAX_SESSIONS = 1000
const MAX_SIGNED_OUT = 100
const MAX_IDLE_MS = 30 * 60_000
const MAX_AGE_MS = 8 * 3_600_000

export interface Session {
  readonly person: Person
  /** What the authorization server calls this sign-in. */
  readonly sid: string | undefined
  tokens: Tokens
  /** What was said for this person. */
  readonly trace: Trace
  /** The one refresh that is under way. */
  renewal?: Promise<void> | undefined
}

/** What is left at a browser whose session the authorization server has ended. */
export interface SignedOut {
  /** The drawing of it, without what was sent; what is said afterwards goes on in it. */
  readonly trace: Trace
  /** The place of the last arrow that is of the session. */
  readonly lastPlace: number
}

export interface Sessions {
  /** Begins a session under an id that nobody had before, and returns the id. */
  begin(signedIn: SignedIn): string
  find(id: string): Session | undefined
  /** As `find`, and does not count as use. */
  peek(id: string): Session | undefined
  /** What is left of a session that somebody else has ended, until this browser signs in or out. */
  findSignedOut(id: string): SignedOut | undefined
  end(id: string): void
  /** Ends every session of a sign-in that is over at the authorization server, which has `said` so. */
  endSignIn(sid: string, said: readonly Arrow[]): void
}

/** An unguessable id of 256 bits, base64url. */
export function makeId(): string {
  return randomBytes(32).toString('base64url')
}

/** Sessions in memory, under hashes of their ids. The least recently used makes room for a new one. */
export function createSessions(clock: Clock): Sessions {
  const entries = new Map<string, { session: Session; begunAt: number; seenAt: number }>()
  /** Sign-ins that are over, those of last. */
  const ended = new Set<string>()
  /** By the hashes of the ids that their sessions had, those of last. */
  const signedOut = new Map<string, SignedOut>()
  const isOver = (entry: { begunAt: number; seenAt: number }) =>
    clock.now() - entry.seenAt > MAX_IDLE_MS || clock.now() - entry.begunAt > MAX_AGE_MS

  return {
    begin({ person, sid, tokens }) {
      // Told of while it was still being finished here: nobody is signed in under this id.
      if (sid !== undefined && ended.has(sid)) return makeId()
      const [oldest] = entries.keys()
      if (oldest !== undefined && entries.size >= MAX_SESSIONS) entries.delete(oldest)
      const id = makeId()
      const now = clock.now()
      entries.set(hash(id), {
        session: { person, sid, tokens, trace: createTrace() },
        begunAt: now,
        seenAt: now,
      })
      return id
    },
    find(id) {
      const key = hash(id)
      const entry = entries.get(key)
      if (!entry) return undefined
      entries.delete(key)
      if (isOver(entry)) return undefined
      entries.set(key, { ...entry, seenAt: clock.now() })
      return entry.session
    },
    peek(id) {
      const entry = entries.get(hash(id))
      return entry && !isOver(entry) ? entry.session : undefined
    },
    findSignedOut: (id) => signedOut.get(hash(id)),
    end(id) {
      entries.delete(hash(id))
      signedOut.delete(hash(id))
    },
    endSignIn(sid, said) {
      const [oldest] = ended
      if (oldest !== undefined && ended.size >= MAX_SESSIONS) ended.delete(oldest)
      ended.add(sid)
      for (const [key, { session }] of entries) {
        if (session.sid !== sid) continue
        entries.delete(key)
        const [longestAgo] = signedOut.keys()
        if (longestAgo !== undefined && signedOut.size >= MAX_SIGNED_OUT) {
          signedOut.delete(longestAgo)
        }
        signedOut.set(key, leave(session, said))
      }
    },
  }
}

/**
 * In a trace of its own: whoever is at this browser now may be another person, and a request that is
 * still under way writes into the one of before.
 */
function leave({ trace }: Session, said: readonly Arrow[]): SignedOut {
  const left = createTrace(trace.list().map((arrow) => ({ ...arrow, fields: [], tokens: [] })))
  left.append(said)
  return { trace: left, lastPlace: left.list().at(-1)?.place ?? 0 }
}

function hash(id: string): string {
  return createHash('sha256').update(id).digest('base64url')
}

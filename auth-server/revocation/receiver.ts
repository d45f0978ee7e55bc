/** An API that follows the log, or one of its replicas. */
export interface Receiver {
  /** The client that it is to this server. */
  readonly clientId: string
  /** What it calls itself, so that its replicas can be told apart. */
  readonly receiver: string
  /** The place in the log up to which it has applied everything, but what it cannot use. */
  readonly place: number
  /** In the order of their places. */
  readonly unusable: readonly UnusablePlaces[]
  /** Milliseconds since the epoch: when it said so. */
  readonly reportedAt: number
  /** When it was last heard of, or connected. */
  readonly seenAt: number
}

/** Entries that a receiver has been given and cannot use, by its own word. */
export interface UnusablePlaces {
  readonly from: number
  readonly through: number
  /** Milliseconds since the epoch: from then on nothing hangs on any of them. */
  readonly expiresAt: number
}

export type ReceiverReport = Omit<Receiver, 'place' | 'unusable' | 'reportedAt'> & {
  /** `undefined` for one that is there and says nothing new. */
  readonly place: number | undefined
  /** Up to that place. Default: none. */
  readonly unusable?: readonly UnusablePlaces[] | undefined
}

/** How far those have come who follow the log. Concurrency contract: of two reports, the later counts. */
export interface ReceiverStore {
  /** Of a client that has more than `mostOfOne`, those are forgotten that were not seen for the longest. */
  record(reports: readonly ReceiverReport[], mostOfOne: number): Promise<void>
  find(clientId: string, receiver: string): Promise<Receiver | undefined>
  /** Those that were seen since then (ms), by client and name; at most `limit`. */
  listSeen(since: number, limit: number): Promise<readonly Receiver[]>
  /** Removes at most `limit` that were not seen since `before` (ms); answers how many. */
  purge(before: number, limit: number): Promise<number>
}

/** Of one receiver: what it says is kept, and there is no end to what it may say. */
const MOST_UNUSABLE = 16

/**
 * Adds an entry that comes after all the others. Where they are too many, the oldest two become one with
 * all that is between them: it is rather taken for unusable than for applied.
 */
export function addUnusable(
  known: readonly UnusablePlaces[],
  { sequence, expiresAt }: { readonly sequence: number; readonly expiresAt: number },
): readonly UnusablePlaces[] {
  const added = { from: sequence, through: sequence, expiresAt }
  const last = known.at(-1)
  if (last?.through === sequence - 1) return [...known.slice(0, -1), join(last, added)]
  const [first, second, ...others] = known
  if (!first || !second || known.length < MOST_UNUSABLE) return [...known, added]
  return [join(first, second), ...others, added]
}

function join(one: UnusablePlaces, next: UnusablePlaces): UnusablePlaces {
  const expiresAt = Math.max(one.expiresAt, next.expiresAt)
  return { from: one.from, through: next.through, expiresAt }
}

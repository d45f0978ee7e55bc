/** An API that follows the log, or one of its replicas. */
export interface Receiver {
  /** The client that it is to this server. */
  readonly clientId: string
  /** What it calls itself, so that its replicas can be told apart. */
  readonly receiver: string
  /** The place in the log up to which it has applied everything. */
  readonly place: number
  /** Milliseconds since the epoch: when it said so. */
  readonly reportedAt: number
  /** When it was last heard of, or connected. */
  readonly seenAt: number
}

export type ReceiverReport = Omit<Receiver, 'place' | 'reportedAt'> & {
  /** `undefined` for one that is there and says nothing new. */
  readonly place: number | undefined
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

import { setTimeout as wait } from 'node:timers/promises'
import type { Clock } from '../../auth-server/clock.ts'
import { PortreeveError } from '../../auth-server/errors.ts'
import type { ModelWrite } from '../../auth-server/provider/model-store.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { createLog } from '../../auth-server/log.ts'
import { createTestClock } from '../support/clock.ts'

/** One kind of storage that the suite runs on. */
export interface StorageEngine {
  readonly name: string
  /** Makes an empty database; disposing of it removes it. */
  create(): Promise<EmptyStorage>
}

export interface EmptyStorage extends AsyncDisposable {
  readonly url: string
  /** The URL of the Redis that holds what may expire, if one does. */
  readonly redis?: string
}

/** An empty storage with two connections: what holds between them holds between two processes. */
export interface World {
  readonly url: string
  readonly redis: string | undefined
  readonly stores: Stores
  readonly other: Stores
  readonly clock: TestClock
}

export type TestClock = ReturnType<typeof createTestClock>

export type WithWorld = (work: (world: World) => Promise<void>) => Promise<void>

const log = createLog('silent')

export function createWithWorld(engine: StorageEngine): WithWorld {
  return async (work) => {
    const clock = createTestClock()
    await using place = await engine.create()
    const redis = place.redis === undefined ? undefined : { url: place.redis, log }
    await using stores = await openStores(place.url, clock, { redis, databaseClock: clock })
    await using other = await openStores(place.url, clock, { redis, databaseClock: clock })
    await work({ url: place.url, redis: place.redis, stores, other, clock })
  }
}

export const HOUR = 3_600_000

export type Put = Extract<ModelWrite, { kind: 'put' }>
export type Insert = Extract<ModelWrite, { kind: 'insert' }>

/** Rows live an hour unless the test says otherwise. */
export function createRows(clock: Clock) {
  const put = (model: string, key: string, more: Partial<Put> = {}): Put => ({
    kind: 'put',
    model,
    key,
    payload: {},
    expiresAt: clock.now() + HOUR,
    ...more,
  })
  const insert = (model: string, key: string, more: Partial<Put> = {}): Insert => ({
    ...put(model, key, more),
    kind: 'insert',
  })
  const grant = (grantId: string, more: Partial<Put> = {}) =>
    put('Grant', grantId, { grantId, ...more })
  /** A session that `client` is authorised in. */
  const session = (key: string, client: string, more: Partial<Put> = {}) =>
    put('Session', key, {
      uid: 'u',
      accountId: 'alice',
      payload: {
        accountId: more.accountId ?? 'alice',
        uid: more.uid ?? 'u',
        authorizations: { [client]: { sid: `sid of ${client}`, grantId: client } },
      },
      ...more,
    })
  return { put, insert, grant, session }
}

/** What can hang on an account. */
export const hanging = (
  { put, grant, session }: ReturnType<typeof createRows>,
  accountId: string,
) => [
  grant(`grant of ${accountId}`, { accountId, clientId: `client of ${accountId}` }),
  put('RefreshToken', `token of ${accountId}`, { accountId, grantId: `grant of ${accountId}` }),
  // Tokens of an older version name their account in the payload alone.
  put('AccessToken', `token of ${accountId}`, { grantId: `grant of ${accountId}` }),
  put('DeviceCode', `device of ${accountId}`, { accountId }),
  session(`session of ${accountId}`, `client of ${accountId}`, { uid: accountId, accountId }),
]

export function consume(model: string, key: string): ModelWrite {
  return { kind: 'consume', model, key }
}

export function revoke(grantId: string): ModelWrite {
  return { kind: 'revoke-grant', grantId }
}

/** Does `work` so many times at once, dealt out to both connections. */
export function atOnce<T>(
  { stores, other }: Pick<World, 'stores' | 'other'>,
  count: number,
  work: (stores: Stores, index: number) => Promise<T>,
): Promise<T[]> {
  return Promise.all(
    Array.from({ length: count }, (_, index) =>
      untilAnswered(() => work(index % 2 === 0 ? stores : other, index)),
    ),
  )
}

const PAUSE_MS = 10
const MOST_PAUSES = 500

/** Whoever is told that the store is busy comes again, as a client does that is answered 503. */
export async function untilAnswered<T>(work: () => Promise<T>): Promise<T> {
  for (let pauses = 0; ; pauses += 1) {
    try {
      return await work()
    } catch (error) {
      const isBusy = error instanceof PortreeveError && error.code === 'busy'
      if (!isBusy || pauses === MOST_PAUSES) throw error
    }
    await wait(PAUSE_MS)
  }
}

/** The whole log, in pages. */
export async function readLog({ revocations }: Stores, after = 0) {
  const entries = []
  for (let place = after; ;) {
    const page = await revocations.list(place, 100)
    entries.push(...page)
    const last = page.at(-1)
    if (!last) return entries
    place = last.sequence
  }
}

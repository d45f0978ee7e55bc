import { createLog } from '../auth-server/log.ts'
import { openStores, type Stores } from '../auth-server/storage/stores.ts'
import { findEngine } from '../test/support/engines/find.ts'
import { startPostgres } from '../test/support/engines/postgres.ts'
import { startRedis } from '../test/support/engines/redis.ts'
import { makeFolder } from '../test/support/folder.ts'
import { clock, CONTESTS, populate, REDIS_CONTESTS, type Contest } from './contests.ts'
import { compareSides, compareTimes, type Measured, type Side } from './measure.ts'
import {
  createTokens,
  MARK,
  openBarePostgres,
  openBareRedis,
  openBareSqlite,
  record,
  type BareDriver,
} from './statements.ts'
import { printTable } from './table.ts'
import { runPgbench, runRedisBenchmark } from './tools.ts'

const BOUND = 2
const SQLITE_WORKERS = 1
const SERVER_WORKERS = 16
const MILLISECONDS = 12

/** A database twice: one for the stores, one for the driver alone. */
interface Engine {
  readonly name: string
  /** How many operations are under way at once. */
  readonly workers: number
  readonly stores: Stores
  readonly bare: BareDriver
  readonly contests: readonly Contest[]
}

/**
 * Operations per second of each port beside those of the driver with the same statements. Answers
 * whether every ratio that has a bound is within it.
 */
export async function benchStorage(): Promise<boolean> {
  const results = await withSqlite(runContests)
  const limits: string[] = []
  const leftOut: string[] = []
  const postgres = findEngine('postgres')
  if (typeof postgres === 'string') leftOut.push(postgres)
  else {
    results.push(
      ...(await withPostgres(runContests, (url) => {
        limits.push(...runPgbench(postgres.command, url))
      })),
    )
  }
  const redis = findEngine('redis')
  if (typeof redis === 'string') leftOut.push(redis)
  else {
    results.push(...(await withRedis(runContests, (url) => limits.push(...runRedisBenchmark(url)))))
  }
  printTable(HEAD, results.map(toLine))
  console.log(['', "What the engines' own tools reach:", ...limits].join('\n'))
  for (const why of leftOut) console.log(`Left out: ${why}`)
  const over = results.filter(
    ({ contest, ratio, jsonRatio }) => contest.isBound && (jsonRatio ?? ratio) >= BOUND,
  )
  console.log(`\n${over.length} of the ratios with a bound (*) are ${BOUND.toFixed(1)} or more.`)
  return over.length === 0
}

interface Result {
  readonly engine: string
  readonly contest: Contest
  readonly store: Measured
  readonly driver: Measured
  /** The time of the store over that of the driver with the same statements. */
  readonly ratio: number
  /** The same where the driver's side reads the JSON as well. */
  readonly jsonRatio: number | undefined
}

const HEAD = ['engine', 'port', 'operation', 'store/s', 'driver/s', 'ratio', 'with JSON'] as const

function toLine({ engine, contest, store, driver, ratio, jsonRatio }: Result): string[] {
  return [
    engine,
    contest.port,
    contest.name,
    store.perSecond.toFixed(0),
    driver.perSecond.toFixed(0),
    `${ratio.toFixed(2)}${contest.isBound && jsonRatio === undefined ? '*' : ' '}`,
    jsonRatio === undefined ? '' : `${jsonRatio.toFixed(2)}${contest.isBound ? '*' : ' '}`,
  ]
}

async function runContests(engine: Engine): Promise<Result[]> {
  await populate(engine.stores)
  const results: Result[] = []
  for (const contest of engine.contests) results.push(await runContest(engine, contest))
  return results
}

async function runContest(engine: Engine, contest: Contest): Promise<Result> {
  const { stores, bare, workers } = engine
  const before = await record(async () => contest.before?.(stores, MARK))
  const statements = await record(() => contest.run(stores, MARK))
  const { json, place } = contest
  const read = (row: Record<string, unknown>) => {
    for (const column of json ?? []) JSON.parse(String(row[column]))
  }
  const sides = [
    createStoreSide(stores, contest),
    bare.replay('driver', { before, statements, place }),
    ...(json ? [bare.replay('driver and JSON', { before, statements, place, read })] : []),
  ]
  const [store, driver, driverAndJson] = await compareSides(sides, workers, MILLISECONDS)
  if (!store || !driver) throw new Error('nothing was measured')
  return {
    engine: engine.name,
    contest,
    store,
    driver,
    ratio: compareTimes(store, driver),
    jsonRatio: driverAndJson && compareTimes(store, driverAndJson),
  }
}

function createStoreSide(stores: Stores, { before, run }: Contest): Side {
  return {
    name: 'store',
    async run(workers, count) {
      const tokens = createTokens(workers, count)
      for (const [first = MARK] of tokens) await before?.(stores, first)
      const start = performance.now()
      await Promise.all(
        tokens.map(async (own) => {
          for (const token of own) await run(stores, token)
        }),
      )
      return performance.now() - start
    },
  }
}

async function withSqlite<T>(work: (engine: Engine) => Promise<T>): Promise<T> {
  using folder = makeFolder()
  const bareFile = folder.file('bare.sqlite')
  await makeDatabase(`sqlite:${bareFile}`)
  await using stores = await openStores(`sqlite:${folder.file('stores.sqlite')}`, clock)
  await using bare = openBareSqlite(bareFile)
  const name = 'SQLite'
  return await work({ name, workers: SQLITE_WORKERS, stores, bare, contests: CONTESTS })
}

async function withPostgres<T>(
  work: (engine: Engine) => Promise<T>,
  askTool: (url: string) => void,
): Promise<T> {
  await using postgres = await startPostgres()
  const url = await postgres.createDatabase()
  await makeDatabase(url)
  await using stores = await openStores(postgres.url, clock)
  await using bare = openBarePostgres(url)
  const engine = { name: 'PostgreSQL', workers: SERVER_WORKERS, stores, bare, contests: CONTESTS }
  const result = await work(engine)
  askTool(url)
  return result
}

/** Beside SQLite; what it is asked is not measured. */
async function withRedis<T>(
  work: (engine: Engine) => Promise<T>,
  askTool: (url: string) => void,
): Promise<T> {
  using folder = makeFolder()
  await using redis = await startRedis()
  const options = { redis: { url: redis.url, log: createLog('silent') } }
  await using stores = await openStores(`sqlite:${folder.file('stores.sqlite')}`, clock, options)
  await using bare = await openBareRedis(redis.url)
  const contests = REDIS_CONTESTS
  const result = await work({ name: 'Redis', workers: SERVER_WORKERS, stores, bare, contests })
  askTool(redis.url)
  return result
}

async function makeDatabase(url: string): Promise<void> {
  await using stores = await openStores(url, clock)
  await populate(stores)
}

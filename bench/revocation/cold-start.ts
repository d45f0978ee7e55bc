import { Client } from 'pg'
import { setTimeout as wait } from 'node:timers/promises'
import type { Memory } from '../heap.ts'
import { startLoad, type Hit, type Shot } from './load.ts'
import { createIssuer, type Api, type Issuer } from './world.ts'

/** An API that begins to follow an issuer with many revocations, while it serves. */
export interface ColdStart {
  readonly entries: number
  readonly starts: readonly OneStart[]
  readonly perSecond: number
}

export interface OneStart {
  /** Until the view was fresh: discovery, a token, the stream, and all pages. */
  readonly seconds: number
  /** What it holds beyond before. Of the objects of before, some may have gone. */
  readonly memory: Memory
  /** Meanwhile, milliseconds to an answer: its own, and those of two APIs that follow nothing. */
  readonly latencies: readonly (readonly number[])[]
  /** Requests that were not let in, or not answered. */
  readonly failed: number
}

export interface ColdStartOptions {
  readonly entries: number
  readonly starts: number
  readonly perSecond: number
}

const WARM_UP_MS = 3000
const LIFE_MS = 7_200_000

export async function measureColdStart(
  database: string,
  { entries, starts, perSecond }: ColdStartOptions,
): Promise<ColdStart> {
  await using issuer = await createIssuer(database)
  await fillLog(database, entries)
  await issuer.startInstances(1)
  const options = { follows: false, staleAfterSeconds: 15, youngSeconds: 60 }
  const [one, other] = await issuer.startApis(2, options)
  const results: OneStart[] = []
  for (let start = 0; start < starts; start += 1) {
    const [api] = await issuer.startApis(1, options)
    if (!api || !one || !other) throw new Error('an API is missing')
    const result = await measureStart(issuer, [api, one, other], perSecond)
    if (result.entries !== entries) throw new Error(`${result.entries} of ${entries} were applied`)
    results.push(result)
    await api[Symbol.asyncDispose]()
  }
  return { entries, starts: results, perSecond }
}

async function measureStart(
  issuer: Issuer,
  apis: readonly [Api, Api, Api],
  perSecond: number,
): Promise<OneStart & { readonly entries: number }> {
  const [api] = apis
  const [token = ''] = await issuer.issueTokens(1)
  const latencies: readonly number[][] = apis.map(() => [])
  let isMeasured = false
  let failed = 0
  const onHit = ({ api: place }: Shot, { dueAt, answeredAt, status }: Hit) => {
    if (!isMeasured) return
    if (status !== 200) failed += 1
    latencies[place]?.push(answeredAt - dueAt)
  }
  const urls = apis.map(({ url }) => url)
  const choose = () => ({ rule: 'open', token }) as const
  await using running = new AsyncDisposableStack()
  running.use(startLoad({ urls, perSecond, choose, onHit }))
  await wait(WARM_UP_MS)
  const before = await api.measureMemory()
  isMeasured = true
  const { milliseconds, entries } = await api.follow(token)
  isMeasured = false
  const after = await api.measureMemory()
  const memory = subtract(after, before)
  return { seconds: milliseconds / 1000, memory, latencies, failed, entries }
}

function subtract(one: Memory, other: Memory): Memory {
  return {
    objects: one.objects - other.objects,
    external: one.external - other.external,
    resident: one.resident - other.resident,
  }
}

/** As many entries as nobody wants to make by hand: mostly sessions, a tenth of them about people. */
async function fillLog(database: string, entries: number): Promise<void> {
  const client = new Client({ connectionString: database })
  await client.connect()
  try {
    const now = Math.round(performance.timeOrigin + performance.now())
    await client.query(
      `insert into revocation (sequence, kind, subject, reason, revoked_at, expires_at)
      select n, case when n % 10 = 0 then 'user' else 'session' end, gen_random_uuid()::text,
        'operator', $1::bigint, $2::bigint
      from generate_series(1, $3::bigint) as n`,
      [now, now + LIFE_MS, entries],
    )
    await client.query('vacuum analyze revocation')
  } finally {
    await client.end()
  }
}

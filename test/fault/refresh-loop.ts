import { expect } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { obtainTokens, refresh, type TokenAnswer } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { startServerProcess, writeConfig, type ServerProcess } from '../support/process.ts'
import { isDisconnection } from './person.ts'
import { createRandom, type Random } from './random.ts'

export interface RefreshLoopOptions {
  readonly seed: number
  readonly kills: number
  readonly clients: number
  readonly databaseUrl?: string
  /** The refresh tokens that the database holds now. */
  readonly readTokens: (database: string) => Promise<readonly StoredToken[]>
}

export interface StoredToken {
  readonly grantId: string
  readonly isUsed: boolean
}

export interface RefreshCounts {
  answered: number
  /** Requests that the kill cut off. */
  interrupted: number
  /** Those of them that had been done, though nobody was told. */
  doneUnheard: number
}

/** The kill comes after so many refreshes were begun, and so much later. */
const MOST_REFRESHES = 16
const MOST_MILLISECONDS = 12

/** Nothing but the kill may end a retry window, however slow the machine. */
const patient = (port: number) => (config: ConfigInput) => ({
  ...config,
  // The less is declared, the sooner it starts.
  clients: config.clients?.filter(({ id }) => id === 'web'),
  users: config.users?.filter(({ username }) => username === 'alice'),
  issuer: `http://127.0.0.1:${port}`,
  listen: { host: '127.0.0.1', port },
  tokens: { refreshRetryWindowSeconds: 300 },
})

/** Somebody who does nothing but refresh. */
interface Refresher {
  readonly tokens: string[]
  isOwed: boolean
}

/**
 * Kills the server so many times while everybody refreshes in a loop. After each kill the database has
 * to hold one unused token for each of them, and after each start what was cut off has to succeed.
 */
export async function killDuringRefreshes(options: RefreshLoopOptions): Promise<RefreshCounts> {
  const { seed, kills, clients, readTokens } = options
  using folder = makeFolder()
  const random = createRandom(seed)
  const counts: RefreshCounts = { answered: 0, interrupted: 0, doneUnheard: 0 }
  const environment = options.databaseUrl === undefined ? {} : { DATABASE_URL: options.databaseUrl }
  const start = (port: number) =>
    startServerProcess(writeConfig(folder.path, patient(port)), {
      folder: folder.path,
      environment,
    })
  const refreshers: Refresher[] = []
  let port = 0
  for (let kill = 0; kill < kills; kill += 1) {
    await using server = await start(port)
    const { issuer } = server
    port = Number(new URL(issuer).port)
    while (refreshers.length < clients) {
      const { refresh_token } = await obtainTokens(issuer)
      refreshers.push({ tokens: [refresh_token], isOwed: false })
    }
    for (const refresher of refreshers) await settle(issuer, refresher)
    await killWhile(server, refreshers, random, counts)
    const stored = await readTokens(server.database)
    expect(countUnused(stored)).toEqual(refreshers.map(() => 1))
    counts.doneUnheard += stored.length - refreshers.flatMap(({ tokens }) => tokens).length
  }
  await using last = await start(port)
  for (const refresher of refreshers) {
    await settle(last.issuer, refresher)
    await expectReuseToEndAll(last.issuer, refresher)
  }
  return counts
}

async function killWhile(
  server: ServerProcess,
  refreshers: readonly Refresher[],
  random: Random,
  counts: RefreshCounts,
): Promise<void> {
  const killed = new AbortController()
  let left = 1 + random.below(MOST_REFRESHES)
  const milliseconds = random.below(MOST_MILLISECONDS * 1000) / 1000
  const { promise: isTime, resolve } = Promise.withResolvers<void>()
  const loops = refreshers.map(async (refresher) => {
    while (!killed.signal.aborted) {
      left -= 1
      if (left === 0) resolve()
      refresher.isOwed = true
      try {
        keep(refresher, await refresh(server.issuer, newest(refresher)))
        counts.answered += 1
      } catch (error) {
        if (!killed.signal.aborted || !isDisconnection(error)) throw error
        counts.interrupted += 1
      }
    }
  })
  const failed = Promise.all(loops)
  await Promise.race([isTime, failed])
  await passTime(milliseconds)
  killed.abort()
  server.signal('SIGKILL')
  await server.ended
  await failed
}

/** Timers are too coarse: what is to be hit takes less than a millisecond. */
async function passTime(milliseconds: number): Promise<void> {
  const end = performance.now() + milliseconds
  while (performance.now() < end) await new Promise((resolve) => setImmediate(resolve))
}

/** What was cut off succeeds when it is tried again, whether it had been done or not. */
async function settle(issuer: string, refresher: Refresher): Promise<void> {
  if (refresher.isOwed) keep(refresher, await refresh(issuer, newest(refresher)))
}

/** How many unused tokens there are of each grant. */
function countUnused(tokens: readonly StoredToken[]): number[] {
  const grants = [...new Set(tokens.map(({ grantId }) => grantId))]
  return grants.map(
    (grant) => tokens.filter(({ grantId, isUsed }) => grantId === grant && !isUsed).length,
  )
}

function newest({ tokens }: Refresher): string {
  return tokens.at(-1) ?? ''
}

function keep(refresher: Refresher, { status, body }: TokenAnswer): void {
  expect(['refresh', status, body.error]).toEqual(['refresh', 200, undefined])
  expect(refresher.tokens).not.toContain(body.refresh_token)
  refresher.tokens.push(body.refresh_token)
  refresher.isOwed = false
}

async function expectReuseToEndAll(issuer: string, { tokens }: Refresher): Promise<void> {
  for (const token of [tokens.at(-3), tokens.at(-1)]) {
    const { status, body } = await refresh(issuer, token ?? '')
    expect([status, body.error]).toEqual([400, 'invalid_grant'])
  }
}

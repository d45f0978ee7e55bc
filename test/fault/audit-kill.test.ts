import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createAuditKey, verifyLog } from '../../auth-server/audit/audit.ts'
import { systemClock } from '../../auth-server/clock.ts'
import { readEnvironment } from '../../auth-server/config/load.ts'
import { deriveKey, parseRootKey } from '../../auth-server/keys/seal.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { basic } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { startServerProcess, writeConfig, type ServerProcess } from '../support/process.ts'
import { SERVICE_SECRET } from '../support/server.ts'
import { createRandom } from './random.ts'

/** Set `FAULT_SEED` to choose the same moments again. */
const SEED = Number(readEnvironment()['FAULT_SEED'] ?? randomInt(2 ** 31))
const KILLS = 8
const AT_ONCE = 10
/** Fifty milliseconds and a commit, which waits its turn on a busy machine. */
const LOST_MS = 1000

interface Answered {
  readonly requestId: string
  readonly at: number
}

/** Asks for tokens until the server is gone; answers the requests that were answered. */
async function load({ issuer }: ServerProcess): Promise<Answered[]> {
  const request = {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'notes:read' }),
    headers: { authorization: basic('service', SERVICE_SECRET) },
  }
  const answered: Answered[] = []
  for (;;) {
    const response = await fetch(`${issuer}/token`, request).catch(() => undefined)
    if (!response) return answered
    const requestId = response.headers.get('x-request-id') ?? ''
    if (response.status === 200) answered.push({ requestId, at: systemClock.now() })
    await response.arrayBuffer().catch(() => {})
  }
}

test('a server that is killed leaves a whole chain, which lacks its last moments at most', async () => {
  const random = createRandom(SEED)
  using folder = makeFolder()
  const config = writeConfig(folder.path)
  const losses: { missing: number; of: number; ms: number }[] = []
  let recordedBefore = 0
  for (let kill = 0; kill < KILLS; kill += 1) {
    const server = await startServerProcess(config, { folder: folder.path })
    const loads = Promise.all(Array.from({ length: AT_ONCE }, () => load(server)))
    await wait(300 + random.below(1200))
    const killedAt = systemClock.now()
    await server[Symbol.asyncDispose]()
    const answered = (await loads).flat()
    await using stores = await openStores(`sqlite:${server.database}`, systemClock)
    const rootKey = parseRootKey(readFileSync(folder.file('portreeve.key'), 'utf8').trim())
    const key = createAuditKey(deriveKey(rootKey, 'audit'))
    const verdict = await verifyLog(stores.audit, key)
    const entries = await stores.audit.page(undefined, 1_000_000)
    expect(verdict).toMatchObject({ ok: true, entries: entries.length })
    expect(entries.length).toBeGreaterThanOrEqual(recordedBefore)
    recordedBefore = entries.length
    const recorded = new Set(entries.map(({ requestId }) => requestId))
    const missing = answered.filter(({ requestId }) => !recorded.has(requestId))
    const oldest = Math.min(killedAt, ...missing.map(({ at }) => at))
    losses.push({ missing: missing.length, of: answered.length, ms: killedAt - oldest })
  }
  console.log(`killed ${KILLS} times (FAULT_SEED=${SEED}):`, losses)
  expect(Math.max(...losses.map(({ of }) => of))).toBeGreaterThan(0)
  expect(Math.max(...losses.map(({ ms }) => ms))).toBeLessThan(LOST_MS)
})

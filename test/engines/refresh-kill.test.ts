import { randomInt } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { Client } from 'pg'
import { describe, expect, test } from 'vitest'
import { readEnvironment } from '../../auth-server/config/load.ts'
import { killDuringRefreshes } from '../fault/refresh-loop.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'

/** Set `FAULT_SEED` to choose the same moments again. */
const SEED = Number(readEnvironment()['FAULT_SEED'] ?? randomInt(2 ** 31))
const KILLS = 15
const TIMEOUT_MS = 300_000
const PAUSE_MS = 10
const MOST_PAUSES = 500

const { isMissing, note } = needEngines('postgres')

/** What the killed server had begun, the database may still be ending. */
async function waitForSilence(client: Client): Promise<void> {
  for (let pause = 0; pause < MOST_PAUSES; pause += 1) {
    const { rowCount } = await client.query(
      `select 1 from pg_stat_activity where application_name = 'portreeve'`,
    )
    if (rowCount === 0) return
    await wait(PAUSE_MS)
  }
  throw new Error('connections of the killed server are still there')
}

describe.skipIf(isMissing)(`a server on PostgreSQL${note}`, () => {
  test(
    `loses no refresh token to ${KILLS} kills while people refresh (FAULT_SEED=${SEED})`,
    async () => {
      console.log(`FAULT_SEED=${SEED}`)
      await using postgres = await startPostgres()
      await using client = Object.assign(new Client({ connectionString: postgres.url }), {
        [Symbol.asyncDispose]: () => client.end(),
      })
      await client.connect()
      const readTokens = async () => {
        await waitForSilence(client)
        const { rows } = await client.query<{ grant_id: string; consumed_at: string | null }>(
          `select grant_id, consumed_at from engine_model where model = 'RefreshToken'`,
        )
        return rows.map((row) => ({ grantId: row.grant_id, isUsed: row.consumed_at !== null }))
      }
      const databaseUrl = postgres.url
      const options = { seed: SEED, kills: KILLS, clients: 8, databaseUrl }
      const counts = await killDuringRefreshes({ ...options, readTokens })
      console.log(counts)
      expect(counts.interrupted).toBeGreaterThan(KILLS)
    },
    TIMEOUT_MS,
  )
})

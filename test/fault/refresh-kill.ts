import { randomInt } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { readEnvironment } from '../../auth-server/config/load.ts'
import { killDuringRefreshes } from './refresh-loop.ts'

/** Set `FAULT_SEED` to choose the same moments again. */
const SEED = Number(readEnvironment()['FAULT_SEED'] ?? randomInt(2 ** 31))
/** Servers side by side, each with a database of its own: starting is most of the work. */
const SERVERS = 2
const TIMEOUT_MS = 1_800_000

async function readTokens(file: string) {
  using database = new DatabaseSync(file, { readOnly: true })
  const rows = database
    .prepare(`select grant_id, consumed_at from engine_model where model = 'RefreshToken'`)
    .all()
  return rows.map((row) => ({
    grantId: String(row['grant_id']),
    isUsed: row['consumed_at'] !== null,
  }))
}

/** One test: two servers on SQLite, each killed so many times. */
export function testRefreshKills(killsEach: number): void {
  const title = `loses no refresh token to ${SERVERS * killsEach} kills while people refresh`
  test(
    `${title} (FAULT_SEED=${SEED})`,
    async () => {
      console.log(`FAULT_SEED=${SEED}`)
      const runs = Array.from({ length: SERVERS }, (_, index) =>
        killDuringRefreshes({ seed: SEED + index, kills: killsEach, clients: 6, readTokens }),
      )
      const counts = await Promise.all(runs)
      console.log(counts)
      // Kills that nobody was hit by would prove nothing.
      expect(Math.min(...counts.map(({ interrupted }) => interrupted))).toBeGreaterThan(killsEach)
      expect(Math.max(...counts.map(({ doneUnheard }) => doneUnheard))).toBeGreaterThan(0)
    },
    TIMEOUT_MS,
  )
}

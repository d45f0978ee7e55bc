import { randomInt } from 'node:crypto'
import { expect, test } from 'vitest'
import { readEnvironment } from '../../auth-server/config/load.ts'
import { surviveKills } from './kills.ts'

const TIMEOUT_MS = 600_000

/** Set `FAULT_SEED` to choose the same actions and moments again. */
const SEED = Number(readEnvironment()['FAULT_SEED'] ?? randomInt(2 ** 31))

/** One test: a server on SQLite that is killed so many times while people do everything. */
export function testKills(kills: number): void {
  test(
    `keeps what it answered for through ${kills} kills (FAULT_SEED=${SEED})`,
    async () => {
      console.log(`FAULT_SEED=${SEED}`)
      const counts = await surviveKills(kills, SEED)
      expect(Object.keys(counts)).toEqual(
        expect.arrayContaining(['signIn', 'exchange', 'refresh', 'signOut', 'refresh interrupted']),
      )
    },
    TIMEOUT_MS,
  )
}

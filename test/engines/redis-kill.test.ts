import { randomInt } from 'node:crypto'
import { expect, test } from 'vitest'
import { readEnvironment } from '../../auth-server/config/load.ts'
import { surviveKills } from '../fault/kills.ts'
import { needEngines } from '../support/engines/need.ts'
import { startRedis } from '../support/engines/redis.ts'

const { isMissing, note } = needEngines('redis')

const KILLS = 15
const TIMEOUT_MS = 300_000

/** Set `FAULT_SEED` to choose the same actions and moments again. */
const SEED = Number(readEnvironment()['FAULT_SEED'] ?? randomInt(2 ** 31))

/** Guesses that a kill cut off count as wrong: they outlive the server here. */
const GUESSES = { attempts: 9999, windowSeconds: 60 }

test.skipIf(isMissing)(
  `with Redis, a server keeps what it answered for through ${KILLS} kills (FAULT_SEED=${SEED})${note}`,
  async () => {
    console.log(`FAULT_SEED=${SEED}`)
    await using redis = await startRedis()
    const counts = await surviveKills(KILLS, SEED, (config) => ({
      ...config,
      redis: { url: redis.url },
      signIn: { perAccount: GUESSES, perAddress: GUESSES },
    }))
    expect(Object.keys(counts)).toEqual(
      expect.arrayContaining(['signIn', 'exchange', 'refresh', 'signOut']),
    )
  },
  TIMEOUT_MS,
)

import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import {
  addOutcomes,
  countRaces,
  prepareCourse,
  raceIssuance,
  withCourse,
} from '../support/issuance-race.ts'
import { makeFolder } from '../support/folder.ts'
import { startServerProcess, writeConfig } from '../support/process.ts'

const { isMissing, note } = needEngines('postgres')

/** In each second: so many ends, of which most race with ten tokens. */
const ENDS = {
  withdrawClient: 8,
  disableUser: 7,
  disableOwner: 3,
  revokeKey: 2,
  withdrawConsent: 1,
  signOut: 1,
}
/** As far as clocks may be apart that nobody has looked after. */
const AHEAD = 2500
const RACES = 10_000

describe.skipIf(isMissing)(
  `tokens of two processes on PostgreSQL, one ahead of the other${note}`,
  () => {
    test(
      'outlive nothing that is taken away while they are issued, ten thousand times',
      { timeout: 900_000 },
      async () => {
        await using postgres = await startPostgres({ fsync: false })
        const { url } = postgres
        using folder = makeFolder()
        const config = writeConfig(folder.path, (base) => ({
          ...withCourse(base),
          database: { url },
        }))
        const options = { folder: folder.path }
        await using server = await startServerProcess(config, options)
        await using another = await startServerProcess(config, {
          ...options,
          aheadMilliseconds: AHEAD,
        })
        await using stores = await openStores(url, systemClock)
        const course = await prepareCourse(stores, server, another)
        let outcome = await raceIssuance(course, ENDS)
        while (countRaces(outcome) < RACES) {
          outcome = addOutcomes(outcome, await raceIssuance(course, ENDS))
        }
        console.log(outcome)
        expect(outcome).toMatchObject({ outlived: [], alive: 0 })
        expect(another.logged()).toContain('"event":"clock_differs"')
        // They did race.
        expect(outcome.given).toBeGreaterThan(RACES / 20)
        expect(outcome.given).toBeLessThan((RACES * 19) / 20)
      },
    )
  },
)

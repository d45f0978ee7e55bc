import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { prepareCourse, raceIssuance, withCourse } from '../support/issuance-race.ts'
import { startServer } from '../support/server.ts'

describe('a token that is being issued while access is taken away', () => {
  test('is refused, or known to the log, at two servers of one file', async () => {
    await using server = await startServer(withCourse)
    await using another = await server.startAnother()
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    const course = await prepareCourse(stores, server, another)
    const ends = { withdrawClient: 4, disableUser: 3, disableOwner: 1, revokeKey: 1, signOut: 1 }
    const outcome = await raceIssuance(course, { ...ends, withdrawConsent: 1 })
    console.log(outcome)
    expect(outcome).toMatchObject({ outlived: [], alive: 0 })
  })
})

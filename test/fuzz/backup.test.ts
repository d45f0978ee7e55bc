import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { PortreeveError } from '../../auth-server/errors.ts'
import { sqliteFiles } from '../../auth-server/storage/backup.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { account } from '../storage/records.ts'
import { createTestClock } from '../support/clock.ts'
import { makeFolder } from '../support/folder.ts'
import { tryOut } from './seed.ts'

const RUNS = 150

test(
  'puts no file in the place of a database that is not sound',
  { timeout: 120_000 },
  async () => {
    using folder = makeFolder()
    const [source, copy, spoiled, target] = ['source', 'copy', 'spoiled', 'target'].map(
      folder.file,
    ) as [string, string, string, string]
    {
      await using stores = await openStores(`sqlite:${source}`, createTestClock())
      await stores.accounts.insert(account())
    }
    await sqliteFiles.backUp(source, copy)
    const good = readFileSync(copy)
    const damage = fc.record({
      at: fc.nat(good.length - 1),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 64 }),
      length: fc.oneof(fc.constant(good.length), fc.nat(good.length)),
    })
    const counts = { refused: 0, restored: 0 }
    await tryOut(
      fc.asyncProperty(damage, async ({ at, bytes, length }) => {
        const changed = Buffer.from(good)
        changed.set(bytes.subarray(0, good.length - at), at)
        writeFileSync(spoiled, changed.subarray(0, length))
        try {
          await sqliteFiles.restore(spoiled, target, '.before')
        } catch (error) {
          if (!(error instanceof PortreeveError)) throw error
          counts.refused += 1
          return
        }
        counts.restored += 1
        // The damage met what nothing is kept in.
        using database = new DatabaseSync(target)
        expect(database.prepare('pragma integrity_check').get()).toEqual({ integrity_check: 'ok' })
        rmSync(target)
      }),
      RUNS,
    )
    console.log(counts)
    expect(Math.min(counts.refused, counts.restored)).toBeGreaterThan(0)
  },
)

import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { makeFolder } from '../support/folder.ts'
import { purgeUnderLoad, ROWS } from './purge-load.ts'

const HOUR_MS = 3_600_000
const TIMEOUT_MS = 900_000

test(
  'a million expired rows are purged from SQLite while requests go on as fast as ever',
  async () => {
    using folder = makeFolder()
    const file = folder.file('test.sqlite')
    // So late that the server's own purge, every minute, leaves them alone.
    const expiry = systemClock.now() + HOUR_MS
    await fill(file, expiry)
    const run = await purgeUnderLoad(`sqlite:${file}`, expiry + HOUR_MS)
    expect(run.removed).toBeGreaterThan(5000)
    expect(run.requests).toBeGreaterThan(500)
    expect(run.p99Difference).toBeLessThan(run.p99Bound)
  },
  TIMEOUT_MS,
)

async function fill(file: string, expiry: number): Promise<void> {
  await (await openStores(`sqlite:${file}`, systemClock))[Symbol.asyncDispose]()
  using database = new DatabaseSync(file)
  database.exec('pragma synchronous = off; pragma cache_size = -500000')
  const payload = JSON.stringify({ scope: 'openid notes:read', filler: 'x'.repeat(300) })
  database
    .prepare(
      `with recursive number (n) as (select 1 union all select n + 1 from number where n < ?)
      insert into engine_model (model, key, payload, grant_id, account_id, client_id, expires_at, written_at)
      select 'AccessToken', lower(hex(randomblob(16))), ?, lower(hex(randomblob(16))),
        'acc_' || (n % 10007), 'client-' || (n % 20), ? + n % 1000, ? from number`,
    )
    .run(ROWS, payload, expiry, expiry)
  database.exec('pragma wal_checkpoint(truncate)')
}

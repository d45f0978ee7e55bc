import { Client } from 'pg'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { purgeUnderLoad, ROWS } from './purge-load.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'

const HOUR_MS = 3_600_000
const TIMEOUT_MS = 900_000

const { isMissing, note } = needEngines('postgres')

describe.skipIf(isMissing)(`PostgreSQL${note}`, () => {
  test(
    'is purged of a million expired rows while requests go on as fast as ever',
    async () => {
      await using postgres = await startPostgres()
      // So late that the server's own purge, every minute, leaves them alone.
      const expiry = systemClock.now() + HOUR_MS
      await fill(postgres.url, expiry)
      const run = await purgeUnderLoad(postgres.url, expiry + HOUR_MS)
      expect(run.removed).toBeGreaterThan(5000)
      expect(run.requests).toBeGreaterThan(500)
      expect(run.p99Difference).toBeLessThan(run.p99Bound)
    },
    TIMEOUT_MS,
  )
})

async function fill(url: string, expiry: number): Promise<void> {
  await (await openStores(url, systemClock))[Symbol.asyncDispose]()
  const client = new Client({ connectionString: url })
  await client.connect()
  const payload = JSON.stringify({ scope: 'openid notes:read', filler: 'x'.repeat(300) })
  await client.query(
    `insert into engine_model
      (model, key, payload, grant_id, account_id, client_id, expires_at, written_at)
    select 'AccessToken', md5(n::text), $2, md5('grant' || n), 'acc_' || (n % 10007),
      'client-' || (n % 20), $3::bigint + n % 1000, $3
    from generate_series(1, $1::bigint) as n`,
    [ROWS, payload, expiry],
  )
  await client.end()
}

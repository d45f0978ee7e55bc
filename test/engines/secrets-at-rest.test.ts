import { Client } from 'pg'
import { describe, expect, test } from 'vitest'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { collectSecrets } from '../support/secrets.ts'
import { startServer } from '../support/server.ts'

const { isMissing, note } = needEngines('postgres')

describe.skipIf(isMissing)(`PostgreSQL${note}`, () => {
  test('holds no secret that ever came by, in any row of any table', async () => {
    await using postgres = await startPostgres({ fsync: false })
    await using server = await startServer((config) => ({
      ...config,
      database: { url: postgres.url },
    }))
    const seen = await collectSecrets(server.issuer)
    const text = await dump(postgres.url)
    const kept = [...seen].filter(([secret]) => text.includes(secret))
    expect(kept.map(([, what]) => what)).toEqual([])
    for (const kind of ['RefreshToken', 'AuthorizationCode', 'Interaction', 'Session']) {
      expect(text).toContain(kind)
    }
    expect(seen.size).toBeGreaterThan(30)
  })
})

async function dump(url: string): Promise<string> {
  const client = new Client({ connectionString: url })
  await client.connect()
  const { rows: tables } = await client.query<{ tablename: string }>(
    `select tablename from pg_tables where schemaname = 'public'`,
  )
  const texts: string[] = []
  for (const { tablename } of tables) {
    const { rows } = await client.query<{ row: string }>(
      `select row_to_json(one)::text as row from ${tablename} as one`,
    )
    texts.push(...rows.map(({ row }) => row))
  }
  await client.end()
  return texts.join('\n')
}

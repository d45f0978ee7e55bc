import { Client } from 'pg'
import { createClient } from 'redis'
import { afterAll, beforeAll, describe } from 'vitest'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres, type Postgres } from '../support/engines/postgres.ts'
import { startRedis, type Redis } from '../support/engines/redis.ts'
import { testStorage } from '../storage/suite.ts'

const { isMissing, note } = needEngines('postgres')

describe.skipIf(isMissing)(`with PostgreSQL${note}`, () => {
  let postgres: Postgres
  let admin: Client
  const free: string[] = []
  let count = 0
  beforeAll(async () => {
    postgres = await startPostgres({ fsync: false })
    admin = new Client({ connectionString: postgres.url })
    await admin.connect()
  })
  afterAll(async () => {
    await admin.end()
    await postgres[Symbol.asyncDispose]()
  })

  const createDatabase = async () => {
    count += 1
    const name = `storage_${count}`
    // Its letters are in another order than those of SQLite and JavaScript.
    await admin.query(
      `create database ${name} template template0 locale_provider icu icu_locale 'en'`,
    )
    const url = new URL(postgres.url)
    url.pathname = name
    return url.href
  }

  const borrowDatabase = async () => {
    const url = free.pop() ?? (await createDatabase())
    return {
      url,
      // Making a database takes much longer than emptying one.
      async [Symbol.asyncDispose]() {
        await empty(url)
        free.push(url)
      },
    }
  }

  testStorage({ name: 'PostgreSQL', create: borrowDatabase })

  const needRedis = needEngines('redis')

  describe.skipIf(needRedis.isMissing)(`and Redis${needRedis.note}`, () => {
    let redis: Redis
    let client: ReturnType<typeof createClient>
    beforeAll(async () => {
      redis = await startRedis({ durable: false })
      client = createClient({ url: redis.url })
      await client.connect()
    })
    afterAll(async () => {
      client.destroy()
      await redis[Symbol.asyncDispose]()
    })

    testStorage({
      name: 'PostgreSQL and Redis',
      async create() {
        const database = await borrowDatabase()
        return {
          url: database.url,
          redis: redis.url,
          async [Symbol.asyncDispose]() {
            await client.flushAll()
            await database[Symbol.asyncDispose]()
          },
        }
      },
    })
  })
})

/** Leaves the tables, and what is known of how they were made. */
async function empty(url: string): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query<{ tablename: string }>(
    `select tablename from pg_tables
      where schemaname = 'public' and tablename <> 'schema_migration'`,
  )
  await client.query(`truncate ${rows.map(({ tablename }) => tablename).join(', ')}`)
  await client.end()
}

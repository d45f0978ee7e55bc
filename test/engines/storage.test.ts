import { Client } from 'pg'
import { afterAll, beforeAll, describe } from 'vitest'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres, type Postgres } from '../support/engines/postgres.ts'
import { testStorage } from '../storage/suite.ts'

const { isMissing, note } = needEngines('postgres')

describe.skipIf(isMissing)(`with PostgreSQL${note}`, () => {
  let postgres: Postgres
  let admin: Client
  let count = 0
  beforeAll(async () => {
    postgres = await startPostgres()
    admin = new Client({ connectionString: postgres.url })
    await admin.connect()
  })
  afterAll(async () => {
    await admin.end()
    await postgres[Symbol.asyncDispose]()
  })

  testStorage({
    name: 'PostgreSQL',
    async create() {
      count += 1
      const name = `storage_${count}`
      // Its letters are in another order than those of SQLite and JavaScript.
      await admin.query(
        `create database ${name} template template0 locale_provider icu icu_locale 'en'`,
      )
      const url = new URL(postgres.url)
      url.pathname = name
      return {
        url: url.href,
        async [Symbol.asyncDispose]() {
          await admin.query(`drop database ${name} with (force)`)
        },
      }
    },
  })
})

import { afterAll, beforeAll, describe } from 'vitest'
import { testMigrations } from '../migrations/suite.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres, type Postgres } from '../support/engines/postgres.ts'

const { isMissing, note } = needEngines('postgres')

describe.skipIf(isMissing)(`with PostgreSQL${note}`, () => {
  let postgres: Postgres
  beforeAll(async () => {
    postgres = await startPostgres()
  })
  afterAll(() => postgres[Symbol.asyncDispose]())

  testMigrations({
    name: 'PostgreSQL',
    async create() {
      const url = await postgres.createDatabase()
      // It goes away with the whole instance.
      return { url, [Symbol.asyncDispose]: async () => {} }
    },
  })
})

import { testMigrations } from '../migrations/suite.ts'
import { makeFolder } from '../support/folder.ts'

testMigrations({
  name: 'a SQLite file',
  async create() {
    const folder = makeFolder()
    return {
      url: `sqlite:${folder.file('test.sqlite')}`,
      [Symbol.asyncDispose]: async () => folder[Symbol.dispose](),
    }
  },
})

import { makeFolder } from '../support/folder.ts'
import { testStorage } from '../storage/suite.ts'

testStorage({
  name: 'a SQLite file',
  async create() {
    const folder = makeFolder()
    return {
      url: `sqlite:${folder.file('test.sqlite')}`,
      [Symbol.asyncDispose]: async () => folder[Symbol.dispose](),
    }
  },
})

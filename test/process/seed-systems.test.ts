import { describeSeedSystems } from '../seed/suite.ts'

describeSeedSystems('on SQLite alone', async () => ({
  config: {},
  async [Symbol.asyncDispose]() {},
}))

import { createClient } from 'redis'
import { afterAll, beforeAll, describe } from 'vitest'
import { testStorage } from '../storage/suite.ts'
import { needEngines } from '../support/engines/need.ts'
import { startRedis, type Redis } from '../support/engines/redis.ts'
import { makeFolder } from '../support/folder.ts'

const { isMissing, note } = needEngines('redis')

describe.skipIf(isMissing)(`with Redis${note}`, () => {
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
    name: 'SQLite and Redis',
    async create() {
      const folder = makeFolder()
      return {
        url: `sqlite:${folder.file('storage.sqlite')}`,
        redis: redis.url,
        async [Symbol.asyncDispose]() {
          await client.flushAll()
          folder[Symbol.dispose]()
        },
      }
    },
  })
})

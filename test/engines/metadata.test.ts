import { afterAll, describe, expect, test } from 'vitest'
import { walkMetadata } from '../metadata/walk.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { startRedis } from '../support/engines/redis.ts'

const { isMissing, note } = needEngines('postgres', 'redis')

async function openPlace() {
  await using cleanUp = new AsyncDisposableStack()
  const postgres = cleanUp.use(await startPostgres({ fsync: false }))
  const redis = cleanUp.use(await startRedis({ durable: false }))
  const running = cleanUp.move()
  afterAll(() => running.disposeAsync())
  return { postgres: postgres.url, redis: redis.url }
}

const place = isMissing ? undefined : await openPlace()

/** Every grant, way to prove who asks, and endpoint that is advertised. */
async function walkPlace({ postgres, redis }: NonNullable<typeof place>): Promise<void> {
  await walkMetadata({
    change: (config) => ({ ...config, database: { url: postgres }, redis: { url: redis } }),
    nameDatabase: () => postgres,
  })
}

describe.skipIf(isMissing)(`what is advertised, on PostgreSQL with Redis${note}`, () => {
  test('is tried on these', () => {
    expect([place?.postgres, place?.redis]).toEqual([
      expect.stringMatching(/^postgres:/),
      expect.stringMatching(/^redis:/),
    ])
  })
})

if (place) await walkPlace(place)

import { createClient } from 'redis'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../resource-server/clock.ts'
import { createDpopVerifier } from '../../resource-server/dpop.ts'
import { createRedisReplayStore, type RedisClient } from '../../resource-server/replay.ts'
import { needEngines } from '../support/engines/need.ts'
import { startRedis, type Redis } from '../support/engines/redis.ts'
import { createProofClient, makeProof } from '../support/proof.ts'

const { isMissing, note } = needEngines('redis')

const REQUEST = { method: 'GET', url: 'https://api.example/notes', accessToken: 'a.b.c' } as const
const client = await createProofClient()

async function connect(redis: Redis) {
  const connection = createClient({ url: redis.url })
  connection.on('error', () => {})
  await connection.connect()
  return connection
}

type Connection = Awaited<ReturnType<typeof connect>>

/** What one of several processes of an API has. */
function createInstance(connection: RedisClient, clock = systemClock) {
  const replays = createRedisReplayStore(connection, { timeoutMilliseconds: 500, clock })
  return createDpopVerifier({ replays, clock })
}

function makeRequest() {
  const proof = makeProof(client, REQUEST, systemClock)
  return { ...REQUEST, proof, thumbprint: client.thumbprint }
}

describe.skipIf(isMissing)(`used proofs in Redis${note}`, () => {
  let redis: Redis
  let connections: readonly [Connection, Connection]
  beforeAll(async () => {
    redis = await startRedis()
    connections = [await connect(redis), await connect(redis)]
  })
  afterAll(async () => {
    for (const connection of connections) connection.destroy()
    await redis[Symbol.asyncDispose]()
  })
  beforeEach(() => connections[0].flushDb())

  test('are refused by every process of an API', async () => {
    const [first, second] = connections.map((connection) => createInstance(connection))
    const request = makeRequest()
    const replayed = { ok: false, reason: { kind: 'invalid_dpop_proof', part: 'jti' } }
    expect(await first?.verify(request)).toEqual({ ok: true, value: undefined })
    expect(await first?.verify(request)).toMatchObject(replayed)
    expect(await second?.verify(request)).toMatchObject(replayed)
  })

  test('have one winner when fifty send one at once to two processes', async () => {
    const instances = connections.map((connection) => createInstance(connection))
    const request = makeRequest()
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, async (_, count) => instances[count % 2]?.verify(request)),
    )
    expect(outcomes.filter((outcome) => outcome?.ok)).toHaveLength(1)
  })

  test('are kept under a readable key that says nothing, until no clock lets them in', async () => {
    const [connection] = connections
    const request = makeRequest()
    expect(await createInstance(connection).verify(request)).toMatchObject({ ok: true })
    const [key = '', ...others] = await connection.keys('*')
    expect(others).toEqual([])
    expect(key).toMatch(/^dpop_[\w-]{43}$/)
    expect(key).not.toContain(client.thumbprint)
    const left = await connection.pTTL(key)
    // A minute in which it is fresh, one by which clocks may differ.
    expect(left).toBeGreaterThan(110_000)
    expect(left).toBeLessThanOrEqual(121_000)
  })

  test('are refused by a process whose clock is half a minute behind', async () => {
    const behind = { ...systemClock, now: () => systemClock.now() - 30_000 }
    const [connection] = connections
    const request = { ...makeRequest(), proof: makeProof(client, REQUEST, behind) }
    expect(await createInstance(connection).verify(request)).toMatchObject({ ok: true })
    const outcome = await createInstance(connection, behind).verify(request)
    expect(outcome).toMatchObject({ ok: false, reason: { part: 'jti' } })
  })

  test('let nobody in while Redis stands still, and everybody when it goes on', async () => {
    const instance = createInstance(connections[0])
    await redis.pause()
    const outcome = await instance.verify(makeRequest())
    redis.resume()
    expect(outcome).toMatchObject({ ok: false, reason: { kind: 'replays_unavailable' } })
    expect(outcome).toMatchObject({
      reason: { cause: { message: expect.stringContaining('500') } },
    })
    expect(await instance.verify(makeRequest())).toMatchObject({ ok: true })
  })

  test('cost a bounded number of commands while Redis stands still, however many come', async () => {
    const connection = await connect(redis)
    await connection.flushDb()
    const replays = createRedisReplayStore(connection, { timeoutMilliseconds: 500 })
    const take = async (key: string) => replays.take(key, systemClock.now() + 60_000, 'a')
    await redis.pause()
    const outcomes = await Promise.allSettled(
      Array.from({ length: 1500 }, (_, count) => take(`proof ${count}`)),
    )
    redis.resume()
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toEqual([])
    // Behind all that was sent before it.
    const keys = await connection.dbSize()
    expect(keys).toBeGreaterThan(0)
    expect(keys).toBeLessThanOrEqual(1000)
    expect(await take('afterwards')).toBe(true)
    connection.destroy()
  })

  test('let nobody in when the connection is closed', async () => {
    const connection = await connect(redis)
    connection.destroy()
    const outcome = await createInstance(connection).verify(makeRequest())
    expect(outcome).toMatchObject({ ok: false, reason: { kind: 'replays_unavailable' } })
  })

  test('let nobody in when the client answers neither that it is new nor that it is not', async () => {
    for (const answer of [undefined, true, 1, 'QUEUED']) {
      const outcome = await createInstance({ set: async () => answer }).verify(makeRequest())
      expect(outcome).toMatchObject({ ok: false, reason: { kind: 'replays_unavailable' } })
    }
  })

  test('may be kept under another prefix', async () => {
    const [connection] = connections
    const replays = createRedisReplayStore(connection, { prefix: 'notes:proof:' })
    expect(await createDpopVerifier({ replays }).verify(makeRequest())).toMatchObject({ ok: true })
    expect(await connection.keys('*')).toEqual([expect.stringMatching(/^notes:proof:[\w-]{43}$/)])
  })
})

test('a time-out that cannot be right is refused', () => {
  const make = () => createRedisReplayStore({ set: async () => 'OK' }, { timeoutMilliseconds: 0 })
  expect(make).toThrow(TypeError)
})

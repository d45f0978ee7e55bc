import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { createRevocationFeed, type RevocationFeed } from '../../resource-server/index.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { findFreePort } from '../support/engines/service.ts'
import { getListenerToken, LISTENER_SECRET, openFeed, withListener } from '../support/feed.ts'
import { decodeJwt } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { startServerProcess, writeConfig, type ServerProcess } from '../support/process.ts'
import { startProgram } from '../support/program.ts'
import { startSwitch, type Switch } from '../support/switch.ts'

const { isMissing, note } = needEngines('postgres')
const EACH = 2000
const TIMEOUT_MS = 60_000
const LISTENER = { clientId: 'api', clientSecret: LISTENER_SECRET }

describe.skipIf(isMissing)(`two instances with one log${note}`, () => {
  const engines = new AsyncDisposableStack()
  let world: World
  beforeAll(async () => {
    world = await startWorld(engines)
  })
  afterAll(() => engines.disposeAsync())

  test('give every receiver everything that both write, in order, and nothing twice', async () => {
    const { stores, balancer, instances } = world
    const before = await stores.revocations.head()
    await using made = new AsyncDisposableStack()
    const streams = []
    const feeds: RevocationFeed[] = []
    for (const { port } of instances) {
      balancer.leadTo(port)
      for (let count = 0; count < 2; count += 1) {
        const token = await getListenerToken(world.issuer)
        streams.push(made.use(await openFeed(world.issuer, token)))
      }
      const feed = made.use(createRevocationFeed({ issuer: world.issuer, ...LISTENER }))
      await feed.whenFresh()
      feeds.push(feed)
    }
    const names = ['one', 'two']
    const collecting = streams.map((stream) => collect(stream, before + names.length * EACH))
    await Promise.all(names.map((name) => write(world.database, name)))
    const head = await stores.revocations.head()
    expect(head).toBe(before + names.length * EACH)
    for (const { places, subjects } of await Promise.all(collecting)) {
      expect(places).toEqual(places.map((_, index) => before + 1 + index))
      expect(new Set(subjects).size).toBe(names.length * EACH)
    }
    for (const feed of feeds) await expectComplete(feed, names, head)
  })

  test('lose nothing when one after the other is killed while its receivers listen', async () => {
    const { stores, balancer, instances } = world
    balancer.leadTo(instances[0].port)
    await using feed = createRevocationFeed({ issuer: world.issuer, ...LISTENER })
    await feed.whenFresh()
    const names: string[] = []
    for (let round = 0; round < 4; round += 1) {
      const [killed, other] = round % 2 === 0 ? instances : instances.toReversed()
      const name = `round ${round}`
      names.push(name)
      const { applied = 0 } = feed.state
      const writing = write(world.database, name)
      await expect
        .poll(() => feed.state.applied, { timeout: TIMEOUT_MS, interval: 5 })
        .toBeGreaterThan(applied + EACH / 4)
      await killed?.kill()
      balancer.leadTo(other?.port ?? 0)
      await writing
      await expectComplete(feed, names, await stores.revocations.head())
      await killed?.start()
    }
    expect(feed.state.connections).toBeGreaterThan(4)
  })

  test('make nobody believe that nothing was revoked where one cannot reach the database', async () => {
    const { stores, balancer, instances, toDatabase } = world
    balancer.leadTo(instances[0].port)
    const staleAfterSeconds = 10
    await using feed = createRevocationFeed({
      issuer: world.issuer,
      ...LISTENER,
      staleAfterSeconds,
    })
    await feed.whenFresh()
    toDatabase.hold()
    const heldAt = performance.now()
    await stores.revocations.append([grantEntry('behind its back')])
    await expect.poll(() => feed.state.isFresh, { timeout: TIMEOUT_MS }).toBe(false)
    // What it said last it had read before.
    expect(performance.now() - heldAt).toBeLessThan(staleAfterSeconds * 1000 + 500)
    expect(isEnded(feed, 'behind its back')).toBe(false)
    toDatabase.release()
    await feed.whenFresh()
    expect(isEnded(feed, 'behind its back')).toBe(true)
  })
})

interface TestInstance {
  readonly port: number
  start(): Promise<void>
  kill(): Promise<void>
}

interface World {
  readonly issuer: string
  readonly database: string
  readonly stores: Stores
  /** In front of both. */
  readonly balancer: Switch
  /** Between the first one and the database. */
  readonly toDatabase: Switch
  readonly instances: readonly [TestInstance, TestInstance]
}

async function startWorld(made: AsyncDisposableStack): Promise<World> {
  const postgres = made.use(await startPostgres({ fsync: false }))
  const folder = made.use(makeFolder())
  const stores = made.use(await openStores(postgres.url, systemClock))
  const toDatabase = made.use(await startSwitch(postgres.port))
  const ports = [await findFreePort(), await findFreePort()] as const
  const balancer = made.use(await startSwitch(ports[0]))
  const issuer = `http://127.0.0.1:${balancer.port}`
  const config = writeConfig(folder.path, (base) => ({ ...withListener(base), issuer }))
  const createInstance = async (port: number, database: string): Promise<TestInstance> => {
    let running: ServerProcess | undefined
    const environment = {
      DATABASE_URL: database,
      PORT: String(port),
      ISSUER: issuer,
      LISTENER_SECRET,
    }
    const instance = {
      port,
      async start() {
        running = await startServerProcess(config, { folder: folder.path, environment })
      },
      async kill() {
        running?.signal('SIGKILL')
        await running?.ended
      },
    }
    await instance.start()
    made.defer(async () => running?.[Symbol.asyncDispose]())
    return instance
  }
  const held = new URL(postgres.url)
  held.port = String(toDatabase.port)
  const first = await createInstance(ports[0], held.href)
  const instances = [first, await createInstance(ports[1], postgres.url)] as const
  return { issuer, database: postgres.url, stores, balancer, toDatabase, instances }
}

/** From a process of its own, to its end. */
async function write(database: string, name: string): Promise<void> {
  await using writer = startProgram('test/storage/revocation-racer.ts', [
    database,
    name,
    String(EACH),
  ])
  const { code, stderr } = await writer.ended
  if (code !== 0) throw new Error(stderr)
}

/** What a stream gives up to a place. */
async function collect(stream: Awaited<ReturnType<typeof openFeed>>, last: number) {
  const places: number[] = []
  const subjects: unknown[] = []
  while (places.at(-1) !== last) {
    const { id = '', data } = await stream.nextOf('set')
    const { jti, seq, sub_id: subject } = decodeJwt(data).claims
    if (id !== jti) throw new Error(`${id} is not ${String(jti)}`)
    places.push(Number(seq))
    subjects.push((subject as { id: string }).id)
  }
  return { places, subjects }
}

async function expectComplete(feed: RevocationFeed, names: readonly string[], head: number) {
  await expect.poll(() => feed.state.applied, { timeout: TIMEOUT_MS }).toBe(head)
  const missing = names.flatMap((name) =>
    Array.from({ length: EACH }, (_, index) => `${name} ${index}`).filter(
      (subject) => !isEnded(feed, subject),
    ),
  )
  expect(missing).toEqual([])
  expect(isEnded(feed, 'of nobody')).toBe(false)
}

function isEnded(feed: RevocationFeed, grantId: string): boolean {
  const claims = { iss: '', sub: 's', aud: '', client_id: 'c', jti: 'j', iat: 0, exp: 0 }
  return feed.isRevoked({ ...claims, grant_id: grantId })
}

function grantEntry(subject: string) {
  const now = systemClock.now()
  const times = { revokedAt: now, expiresAt: now + TIMEOUT_MS }
  return { kind: 'grant', subject, reason: 'operator', ...times } as const
}

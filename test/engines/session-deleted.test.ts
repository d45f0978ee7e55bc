import { createClient } from 'redis'
import { describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { startRedis } from '../support/engines/redis.ts'
import { withClients } from '../support/endpoints.ts'
import { decodeJwt, obtainTokens } from '../support/flow.ts'
import { prepareConfig } from '../../auth-server/config/load.ts'
import { createLog } from '../../auth-server/log.ts'
import { createAuthServer } from '../../auth-server/server.ts'
import { makeFolder } from '../support/folder.ts'
import { startLogoutReceiver } from '../support/logout-receiver.ts'
import { BASE_CONFIG, ENVIRONMENT } from '../support/server.ts'

const { isMissing, note } = needEngines('postgres', 'redis')

const SOON = { timeout: 5000, interval: 20 }

/** Redis, and a folder in which a server can be started again and again. */
async function makeWorld(databaseUrl?: string, change = withClients()) {
  await using cleanUp = new AsyncDisposableStack()
  const folder = cleanUp.use(makeFolder())
  const url = databaseUrl ?? `sqlite:${folder.file('portreeve.sqlite')}`
  const redis = cleanUp.use(await startRedis({ durable: false }))
  const client = createClient({ url: redis.url })
  await client.connect()
  cleanUp.defer(() => client.destroy())
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const config = {
    ...change(BASE_CONFIG),
    database: { url },
    redis: { url: redis.url },
    metrics: { port: 0 },
  }
  const owned = cleanUp.move()
  return {
    client,
    start: () =>
      createAuthServer(prepareConfig(config, { folder: folder.path, environment: ENVIRONMENT }), {
        log,
      }),
    /** The accounts that the log of the process says it of. */
    listLogged: () =>
      lines
        .map((line) => JSON.parse(line) as { event: string; accountId?: string })
        .flatMap(({ event, accountId }) => (event === 'session_deleted' ? [accountId] : [])),
    async listAudited() {
      await using stores = await openStores(url, systemClock)
      const entries = await stores.audit.list({}, 100)
      return entries.flatMap(({ event, by, accountId }) =>
        event === 'session_deleted' ? [{ by, accountId }] : [],
      )
    },
    listKeys: () => client.keys('session_*'),
    async deleteSession(): Promise<string> {
      const [key = ''] = await client.keys('session_*')
      const { accountId } = JSON.parse((await client.get(key)) ?? '') as { accountId: string }
      await client.unlink(key)
      return accountId
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function readCounter(url: string | undefined): Promise<string | undefined> {
  const text = await (await fetch(url ?? '')).text()
  return /^portreeve_session_deleted_total (\d+)$/m.exec(text)?.[1]
}

describe.skipIf(isMissing)(`a session whose key is deleted by hand${note}`, () => {
  test('is told of once in the log, the metrics and the audit log', async () => {
    await using world = await makeWorld()
    await using server = await world.start()
    expect(await readCounter(server.metricsUrl)).toBe('0')
    await obtainTokens(server.issuer)
    const accountId = await world.deleteSession()
    await vi.waitFor(
      async () => expect(await world.listAudited()).toEqual([{ by: 'server', accountId }]),
      SOON,
    )
    expect(world.listLogged()).toEqual([accountId])
    expect(await readCounter(server.metricsUrl)).toBe('1')
  })

  test('is told of once where two servers hear of it', async () => {
    // On SQLite one would have ended it before the other looks.
    await using postgres = await startPostgres({ fsync: false })
    await using world = await makeWorld(postgres.url)
    const servers = [await world.start(), await world.start()]
    const ended: string[] = []
    for (let count = 0; count < 5; count += 1) {
      await obtainTokens(servers[0]?.issuer ?? '')
      ended.push(await world.deleteSession())
      await vi.waitFor(async () => expect(await world.listKeys()).toEqual([]), SOON)
    }
    // What they have heard is done before they end.
    for (const server of servers) await server[Symbol.asyncDispose]()
    const audited = ended.map((accountId) => ({ by: 'server', accountId }))
    expect(await world.listAudited()).toEqual(audited)
    expect(world.listLogged()).toEqual(ended)
  })

  test('while no server runs is told of by the next one', async () => {
    await using world = await makeWorld()
    const first = await world.start()
    await obtainTokens(first.issuer)
    await first[Symbol.asyncDispose]()
    const accountId = await world.deleteSession()
    await using second = await world.start()
    await vi.waitFor(
      async () => expect(await world.listAudited()).toEqual([{ by: 'server', accountId }]),
      SOON,
    )
    expect(await readCounter(second.metricsUrl)).toBe('1')
  })

  test('is told to its clients', async () => {
    await using receiver = await startLogoutReceiver()
    const client = { id: 'web', backchannelLogoutUri: receiver.uri }
    await using world = await makeWorld(undefined, withClients(client))
    await using server = await world.start()
    const { id_token } = await obtainTokens(server.issuer)
    const accountId = await world.deleteSession()
    await vi.waitFor(() => expect(receiver.received).toHaveLength(1), SOON)
    const { sid } = decodeJwt(id_token).claims
    expect(decodeJwt(receiver.received[0]?.token ?? '').claims).toMatchObject({
      sub: accountId,
      sid,
    })
  })

  test('just before the server stops is in the audit log when it has stopped', async () => {
    await using world = await makeWorld()
    const server = await world.start()
    await obtainTokens(server.issuer)
    const accountId = await world.deleteSession()
    await vi.waitFor(() => expect(world.listLogged()).toEqual([accountId]), SOON)
    await server[Symbol.asyncDispose]()
    expect(await world.listAudited()).toEqual([{ by: 'server', accountId }])
  })
})

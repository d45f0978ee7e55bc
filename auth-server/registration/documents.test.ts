import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { createTestClock } from '../../test/support/clock.ts'
import { configSchema } from '../config/schema.ts'
import { createEvents } from '../events.ts'
import { createLog } from '../log.ts'
import { createOutboundFetch, type OutboundOptions } from '../outbound.ts'
import { openStores } from '../storage/stores.ts'
import { createPace } from '../throttle.ts'
import { createClientDocuments } from './documents.ts'

const OFTEN = { attempts: 1000, windowSeconds: 60 }
const LOOPBACK = { issuer: 'http://127.0.0.1:1', networks: ['127.0.0.0/8'] }

/** A place that has a document for whatever it is asked, and who reads there. */
async function start(
  { issuer = 'https://id.example', networks = [] as readonly string[] },
  resolve?: NonNullable<OutboundOptions['resolve']>,
) {
  await using cleanUp = new AsyncDisposableStack()
  const asked: string[] = []
  const http = createServer((request, response) => {
    const url = `http://${request.headers.host}${request.url}`
    asked.push(url)
    const metadata = { client_id: url, redirect_uris: ['https://app.example/callback'] }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(metadata))
  })
  await new Promise<void>((done) => http.listen(0, '127.0.0.1', done))
  cleanUp.defer(() => {
    http.closeAllConnections()
    http.close()
  })
  const clock = createTestClock()
  const stores = cleanUp.use(await openStores('sqlite::memory:', clock))
  const { clientDocuments: policy } = configSchema.parse({ clientDocuments: {} })
  if (!policy) throw new TypeError('it was asked for')
  const pace = createPace('test', OFTEN)
  const documents = createClientDocuments(
    {
      clients: stores.clients,
      store: stores.documents,
      fetchOutbound: createOutboundFetch({ networks, ...(resolve ? { resolve } : {}) }),
      paces: { address: pace, host: pace, known: pace, overall: pace },
      events: createEvents(createLog('silent')),
      clock,
    },
    { issuer, policy, resources: [], ownNames: [] },
  )
  const running = cleanUp.move()
  return {
    documents,
    asked,
    stores,
    clock,
    port: (http.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

const ASKING = { purpose: 'authorization', address: '192.0.2.1' } as const

test.each([
  '10.0.0.1',
  '127.0.0.1',
  '169.254.169.254',
  '192.168.0.1',
  '::1',
  'fd00:ec2::254',
  '::ffff:169.254.169.254',
  '64:ff9b::a9fe:a9fe',
])('nothing is fetched by a name that leads to %s', async (address) => {
  const resolve = async () => [{ address, family: address.includes(':') ? 6 : 4 }]
  await using it = await start({}, resolve)
  const outcome = await it.documents.resolve(`https://app.example:${it.port}/a`, ASKING)
  expect(outcome).toMatchObject({ ok: false, reason: { kind: 'unreadable', isTransient: false } })
  expect(it.asked).toEqual([])
})

test('a name that leads elsewhere the next time is judged by where it leads now', async () => {
  const answers = ['127.0.0.1', '169.254.169.254', '127.0.0.1']
  const asked: string[] = []
  const resolve = async (host: string) => {
    asked.push(host)
    return [{ address: answers[asked.length - 1] ?? '', family: 4 }]
  }
  await using it = await start(LOOPBACK, resolve)
  const place = `http://localhost:${it.port}`
  expect((await it.documents.resolve(`${place}/a`, ASKING)).ok).toBe(true)
  // Looked up once: where the connection goes is what was judged.
  expect([asked.length, it.asked.length]).toEqual([1, 1])
  expect((await it.documents.resolve(`${place}/b`, ASKING)).ok).toBe(false)
  expect((await it.documents.resolve(`${place}/c`, ASKING)).ok).toBe(true)
  expect(it.asked).toEqual([`${place}/a`, `${place}/c`])
})

test('what was read is bounded: of very many the first is asked for again', async () => {
  await using it = await start(LOOPBACK)
  const urls = Array.from({ length: 501 }, (_, index) => `http://127.0.0.1:${it.port}/${index}`)
  for (const url of urls) expect((await it.documents.resolve(url, ASKING)).ok).toBe(true)
  expect(it.asked).toHaveLength(501)
  for (const url of urls.slice(-2)) await it.documents.resolve(url, ASKING)
  expect(it.asked).toHaveLength(501)
  await it.documents.resolve(urls[0] ?? '', ASKING)
  expect(it.asked).toHaveLength(502)
})

test('a page is answered by what was shown, and on another instance by what is there', async () => {
  await using it = await start(LOOPBACK)
  const url = `http://127.0.0.1:${it.port}/a`
  const onPage = { ...ASKING, purpose: 'page' } as const
  expect((await it.documents.resolve(url, onPage)).ok).toBe(true)
  it.clock.advance(24 * 3_600_000)
  expect((await it.documents.resolve(url, onPage)).ok).toBe(true)
  expect(it.asked).toHaveLength(1)
  expect((await it.documents.resolve(url, ASKING)).ok).toBe(true)
  expect(it.asked).toHaveLength(2)
})

test('a server that has another document in mind asks again before it ends anything', async () => {
  await using it = await start(LOOPBACK)
  const url = `http://127.0.0.1:${it.port}/a`
  const resolved = await it.documents.resolve(url, ASKING)
  if (!resolved.ok) throw new Error('it was not read')
  // Another server has read another document, to which somebody has agreed there.
  await it.stores.documents.keep({ ...resolved.value, document: { hash: 'another' } })
  expect((await it.documents.resolve(url, { ...ASKING, purpose: 'token' })).ok).toBe(true)
  expect(it.asked).toHaveLength(2)
  expect(await it.stores.clients.findById(url)).toBeUndefined()
})

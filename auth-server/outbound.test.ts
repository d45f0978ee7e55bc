import { createSocket } from 'node:dgram'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { createOutboundFetch, type OutboundOptions } from './outbound.ts'

const LOOPBACK = ['127.0.0.0/8']

interface Place extends AsyncDisposable {
  readonly port: number
  readonly url: string
  /** How many have connected. */
  readonly connections: () => number
}

async function startPlace(answer: RequestListener): Promise<Place> {
  const server: Server = createServer(answer)
  let connections = 0
  server.on('connection', () => void (connections += 1))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `http://127.0.0.1:${port}/`,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function startSilentNameServer() {
  const socket = createSocket('udp4')
  let asked = 0
  socket.on('message', () => void (asked += 1))
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${socket.address().port}`,
    asked: () => asked,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => socket.close(() => resolve())),
  }
}

const sayHello: RequestListener = (request, response) => {
  response
    .writeHead(200, { 'content-type': 'text/plain', 'x-path': request.url ?? '' })
    .end('hello')
}

/** Never stops. */
const pour: RequestListener = (_request, response) => {
  const more = () =>
    void (response.write(Buffer.alloc(65_536)) ? setImmediate(more) : response.once('drain', more))
  more()
}

function leadTo(...addresses: string[]): NonNullable<OutboundOptions['resolve']> {
  return async () =>
    addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
}

describe('an outbound request', () => {
  test('gets the answer, status and headers', async () => {
    await using place = await startPlace(sayHello)
    const response = await createOutboundFetch({ networks: LOOPBACK })(`${place.url}a?b=c`)
    expect([response.status, response.headers.get('x-path'), await response.text()]).toEqual([
      200,
      '/a?b=c',
      'hello',
    ])
  })

  test('sends its method, headers and body', async () => {
    const seen: unknown[] = []
    await using place = await startPlace(async (request, response) => {
      const body = (await request.toArray()).join('')
      seen.push([request.method, request.headers['x-a'], body, request.headers['accept-encoding']])
      response.writeHead(204).end()
    })
    const call = createOutboundFetch({ networks: LOOPBACK })
    const response = await call(place.url, { method: 'POST', headers: { 'x-a': '1' }, body: 'b' })
    expect(response.status).toBe(204)
    expect(seen).toEqual([['POST', '1', 'b', 'identity']])
  })

  test('follows no redirect', async () => {
    await using elsewhere = await startPlace(sayHello)
    await using place = await startPlace((_request, response) => {
      response.writeHead(302, { location: elsewhere.url }).end()
    })
    const response = await createOutboundFetch({ networks: LOOPBACK })(place.url)
    expect([response.status, elsewhere.connections()]).toEqual([302, 0])
  })

  test.each([
    'http://127.0.0.1',
    'http://localhost',
    'http://[::1]',
    'http://[::ffff:127.0.0.1]',
    'http://0x7f.1',
    'http://2130706433',
    'http://0.0.0.0',
  ])('never reaches this machine by %s unless it may', async (origin) => {
    await using place = await startPlace(sayHello)
    const call = createOutboundFetch({ networks: [] })
    await expect(call(`${origin}:${place.port}/`)).rejects.toMatchObject({ fault: 'address' })
    expect(place.connections()).toBe(0)
  })

  // The first and the last address of each range, and what is written in another way.
  test.each(
    `
    0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0
    127.255.255.255 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255
    192.0.0.0 192.0.0.255 192.0.2.0 192.0.2.255 192.31.196.0 192.31.196.255 192.52.193.0
    192.52.193.255 192.88.99.0 192.88.99.255 192.168.0.0 192.168.255.255 192.175.48.0
    192.175.48.255 198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255
    224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255 168.63.129.16 ::ffff:168.63.129.16
    ::ffff:10.0.0.1 ::ffff:a9fe:a9fe :: ::1 ::10.0.0.1 ::8.8.8.8 ::ffff:0:10.0.0.1 64:ff9b::a00:1
    64:ff9b::808:808 64:ff9b:1::1 100::1 100:0:0:1::1 200::1 1fff:ffff::1 2001:: 2001::1 2001:1::1
    2001:2::1 2001:3::1 2001:4:112::1 2001:10::1 2001:20::1 2001:30::1 2001:1ff:ffff::1
    2001:db8::1 2001:db8:ffff::1 2002::1 2002:a00:1:: 2002:808:808::1 2002:ffff::1 2620:4f:8000::1
    3fff::1 3fff:fff:ffff::1 4000::1 5f00::1 8000::1 e000::1 fc00::1 fd00:ec2::254 fdff::1 fe00::1
    fe80::1 febf::1 fec0::1 ff02::1 fe80::1%eth0 ::1%lo 2606:4700::1111%eth0 ::ffff:8.8.8.8%eth0
    `
      .trim()
      .split(/\s+/),
  )('is not sent to a name that leads to %s', async (address) => {
    const call = createOutboundFetch({ networks: [], resolve: leadTo(address) })
    await expect(call('https://app.example/')).rejects.toMatchObject({ fault: 'address' })
  })

  // What is beside those ranges. Nobody answers: it is refused for going there without TLS, no earlier.
  test.each(
    `
    1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0
    191.255.255.255 192.0.1.0 192.0.3.0 192.31.195.255 192.88.98.255 192.88.100.0 192.167.255.255
    192.169.0.0 198.17.255.255 198.20.0.0 203.0.112.255 203.0.114.0 223.255.255.255 ::ffff:8.8.8.8
    2001:200::1 2001:4860:4860::8888 2001:db7:ffff::1 2001:db9::1 2003::1 2606:4700::1111
    2620:4f:7fff::1 2620:4f:8001::1 2a00::1 3ffe:ffff::1 3fff:1000::1
    `
      .trim()
      .split(/\s+/),
  )('may be sent to a name that leads to %s', async (address) => {
    const call = createOutboundFetch({ networks: [], resolve: leadTo(address) })
    await expect(call('http://app.example/')).rejects.toMatchObject({ fault: 'scheme' })
  })

  test('is not sent where one of several addresses is special', async () => {
    const resolve = leadTo('93.184.216.34', '10.0.0.1')
    const call = createOutboundFetch({ networks: [], resolve })
    await expect(call('https://app.example/')).rejects.toMatchObject({ fault: 'address' })
  })

  test('goes where its name led when it was judged, whatever it leads to afterwards', async () => {
    await using place = await startPlace(sayHello)
    const answers = ['127.0.0.1', '127.0.0.2']
    const asked: string[] = []
    const call = createOutboundFetch({
      networks: ['127.0.0.1/32'],
      resolve: (host) => {
        asked.push(host)
        return leadTo(answers.shift() ?? '')(host)
      },
    })
    const url = `http://app.example:${place.port}/`
    expect((await call(url)).status).toBe(200)
    // Each request is judged anew: no connection of before is used again.
    await expect(call(url)).rejects.toMatchObject({ fault: 'address' })
    expect([asked, place.connections()]).toEqual([['app.example', 'app.example'], 1])
  })

  test('needs TLS elsewhere than on loopback', async () => {
    const resolve = leadTo('93.184.216.34')
    const call = createOutboundFetch({ networks: [], resolve })
    await expect(call('http://app.example/')).rejects.toMatchObject({ fault: 'scheme' })
    const inside = createOutboundFetch({ networks: ['10.0.0.0/8'], resolve: leadTo('10.0.0.1') })
    await expect(inside('http://app.example/')).rejects.toMatchObject({ fault: 'scheme' })
  })

  test.each(['ftp://127.0.0.1/', 'file:///etc/passwd', 'data:text/plain,x'])(
    'is not sent to %s',
    async (url) => {
      const call = createOutboundFetch({ networks: LOOPBACK })
      await expect(call(url)).rejects.toMatchObject({ fault: 'scheme' })
    },
  )

  test.each<[string, RequestListener, string]>([
    ['too much', (_, response) => void response.end(Buffer.alloc(300_000)), 'too_large'],
    ['without an end', pour, 'too_large'],
    [
      'packed',
      (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end('x'),
      'encoded',
    ],
    ['nothing', (request) => void request.socket.destroy(), 'network'],
    [
      'half of it',
      (_, response) => {
        response.writeHead(200, { 'content-length': '10' }).write('x')
        response.socket?.end()
      },
      'network',
    ],
  ])('that is answered %s fails', async (_what, answer, fault) => {
    await using place = await startPlace(answer)
    await expect(createOutboundFetch({ networks: LOOPBACK })(place.url)).rejects.toMatchObject({
      fault,
    })
  })

  test.each<[string, RequestListener]>([
    ['without an end', pour],
    ['by one byte and nothing more', (_, response) => void response.writeHead(200).write('x')],
    ['at length', (_, response) => void response.end(Buffer.alloc(3_000_000))],
    [
      'packed',
      (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end('x'),
    ],
    [
      'half of it',
      (_, response) => void response.writeHead(200, { 'content-length': '10' }).write('x'),
    ],
  ])('for a status has it when it is answered %s, and hangs up', async (_how, answer) => {
    const closed = Promise.withResolvers<void>()
    await using place = await startPlace((request, response) => {
      request.socket.once('close', () => closed.resolve())
      answer(request, response)
    })
    const call = createOutboundFetch({ networks: LOOPBACK })
    const response = await call(place.url, { method: 'POST', body: 'b', isStatusEnough: true })
    expect([response.status, response.body, place.connections()]).toEqual([200, null, 1])
    await closed.promise
  })

  test.each([204, 302, 400, 503])('for a status has %i as it is', async (status) => {
    await using place = await startPlace((_, response) => void response.writeHead(status).end('x'))
    const call = createOutboundFetch({ networks: LOOPBACK })
    expect((await call(place.url, { isStatusEnough: true })).status).toBe(status)
  })

  test('can be stopped, also while a name is looked up', async () => {
    await using place = await startPlace(() => {})
    const stop = new AbortController()
    const silent = createOutboundFetch({ networks: LOOPBACK })(place.url, { signal: stop.signal })
    const lost = createOutboundFetch({ networks: [], resolve: () => new Promise(() => {}) })
    const looking = lost('https://app.example/', { signal: stop.signal })
    const failures = [silent, looking].map((call) =>
      expect(call).rejects.toMatchObject({ fault: 'stopped' }),
    )
    stop.abort()
    await Promise.all(failures)
  })

  test('to a name that does not exist fails', async () => {
    const call = createOutboundFetch({
      networks: [],
      resolve: () => Promise.reject(new Error('ENOTFOUND')),
    })
    await expect(call('https://app.example/')).rejects.toMatchObject({ fault: 'network' })
    const empty = createOutboundFetch({ networks: [], resolve: leadTo() })
    await expect(empty('https://app.example/')).rejects.toMatchObject({ fault: 'network' })
  })

  test('to names whose server is silent holds up no other', async () => {
    await using place = await startPlace(sayHello)
    await using silent = await startSilentNameServer()
    const nameServers = [silent.address]
    const call = createOutboundFetch({ networks: [...LOOPBACK, '::1/128'], nameServers })
    const lost = Array.from({ length: 40 }, (_, index) =>
      call(`https://a${index}.evil.test/`).then(
        () => 'answered',
        (error: unknown) => (error as { fault: string }).fault,
      ),
    )
    const start = performance.now()
    expect((await call(`http://localhost:${place.port}/`)).status).toBe(200)
    expect(performance.now() - start).toBeLessThan(1500)
    expect(new Set(await Promise.all(lost))).toEqual(new Set(['network']))
    expect(silent.asked()).toBeGreaterThan(0)
  })

  test('knows what is no range', () => {
    expect(() => createOutboundFetch({ networks: ['10.0.0.0'] })).toThrow('expected a range')
  })
})

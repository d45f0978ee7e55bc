import { once } from 'node:events'
import { connect, createServer as createPlainServer, type Socket } from 'node:net'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { describe, expect, test, vi } from 'vitest'
import { createGateway, type GatewayOptions } from '../../resource-server/demo/gateway-api.ts'
import { createVerifier, fromAuthorization, fromHeader } from '../../resource-server/index.ts'
import { listen, startUpstream, type Upstream } from '../support/demo.ts'
import { API, createKey, signToken, startIssuer } from '../support/issuer.ts'
import { sendBytes, sendRaw, type RawAnswer } from '../support/raw.ts'
import { createTurnableClock, type TurnableClock } from '../support/turnable-clock.ts'

const key = await createKey('ES256')
const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
const MAX_BODY = 1000

interface World extends AsyncDisposable {
  readonly url: string
  readonly server: Server
  readonly clock: TurnableClock
  readonly token: string
  /** Another good token. */
  readonly signFor: (change: Readonly<Record<string, unknown>>) => string
  readonly logged: () => string
  /** Sends a request with a good token as it stands; the first line is `GET / HTTP/1.1` and the like. */
  readonly send: (lines: readonly string[], body?: string) => Promise<RawAnswer>
}

/** A gateway in front of these services, by their paths. */
async function start(
  services: Readonly<Record<string, string>>,
  change: Partial<GatewayOptions> = {},
): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const clock = createTurnableClock()
  const issuer = cleanUp.use(await startIssuer(clock, key))
  const verifier = cleanUp.use(createVerifier({ issuer: issuer.url, audience: API, clock }))
  const lines: unknown[] = []
  const options: GatewayOptions = {
    routes: Object.entries(services).map(([prefix, url]) => ({ prefix, origin: new URL(url) })),
    token: fromAuthorization(),
    namesChecks: false,
    passedHeaders: new Set(['x-custom']),
    maxUnderWay: 256,
    connectTimeoutMs: 5000,
    headersTimeoutMs: 10_000,
    wholeTimeoutMs: 60_000,
    maxBodyBytes: MAX_BODY,
    ...change,
  }
  const gateway = cleanUp.use(createGateway(verifier, options, clock, (entry) => lines.push(entry)))
  const server = createServer()
  server.maxHeadersCount = 0
  server.on('request', gateway.handle)
  server.on('checkContinue', gateway.handle)
  const url = await listen(server)
  cleanUp.defer(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const token = signToken(key, issuer.claims())
  const running = cleanUp.move()
  return {
    url,
    server,
    clock,
    token,
    signFor: (claims) => signToken(key, issuer.claims({ ...claims })),
    logged: () => JSON.stringify(lines),
    send: ([first = '', ...headers], body) =>
      sendRaw(url, [first, `Authorization: Bearer ${token}`, ...headers], body),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

/** Answers with what it was sent. */
function tellAll({ method, url, rawHeaders }: IncomingMessage, response: ServerResponse): void {
  response.end(JSON.stringify({ method, url, rawHeaders }))
}

interface Told {
  readonly method: string
  readonly url: string
  readonly rawHeaders: readonly string[]
}

function readTold({ body }: RawAnswer): Told & { readonly headers: Record<string, string> } {
  // The answer is chunked where nobody said its length; what is told is one line of it.
  const told = JSON.parse(/\{.*\}/s.exec(body)?.[0] ?? '') as Told
  const names = told.rawHeaders.filter((_text, at) => at % 2 === 0)
  const headers = names.map((name, at) => [name.toLowerCase(), told.rawHeaders[at * 2 + 1] ?? ''])
  return { ...told, headers: Object.fromEntries(headers) as Record<string, string> }
}

function waitUntil(isTrue: () => boolean): Promise<unknown> {
  return vi.waitUntil(isTrue, { timeout: 10_000, interval: 5 })
}

describe('what a service is told', () => {
  test('the request as it came, with the token, an id, and by which way', async () => {
    await using upstream = await startUpstream(tellAll)
    await using world = await start({ '/': upstream.url })
    const answer = await world.send([
      'GET /a/b%20c;v=1?x=%2F..%2F&y=http://z HTTP/1.1',
      'Accept: text/plain',
      'X-Custom: one',
      'X-Custom: two',
      `traceparent: ${TRACE}`,
      'tracestate: a=1,b=2',
    ])
    const { url, headers, rawHeaders } = readTold(answer)
    expect(url).toBe('/a/b%20c;v=1?x=%2F..%2F&y=http://z')
    expect(headers).toEqual({
      host: new URL(upstream.url).host,
      accept: 'text/plain',
      'x-custom': 'two',
      traceparent: TRACE,
      tracestate: 'a=1,b=2',
      authorization: `Bearer ${world.token}`,
      forwarded: `for="127.0.0.1";host="${new URL(world.url).host}";proto=http`,
      via: expect.stringMatching(/^1\.1 gateway-[\da-f]{16}$/) as string,
      'x-request-id': answer.headers['x-request-id'],
      connection: 'keep-alive',
    })
    expect(rawHeaders.filter((name) => name === 'X-Custom')).toHaveLength(2)
    expect(answer.headers['x-request-id']).toMatch(/^[\da-f-]{36}$/)
  })

  test('nothing by which a client could pass for somebody else', async () => {
    await using upstream = await startUpstream(tellAll)
    await using world = await start({ '/': upstream.url })
    const lies = [
      'X-User: admin',
      'X-User-Id: 1',
      'x-userinfo: e30',
      'X_User: admin',
      'X-Forwarded-User: admin',
      'X-Forwarded-For: 10.0.0.1',
      'X-Forwarded-Host: evil.example',
      'X-Forwarded-Proto: https',
      'Forwarded: for=10.0.0.1;by=10.0.0.2',
      'X-Real-IP: 10.0.0.1',
      'X-Auth-Request-User: admin',
      'X-Remote-User: admin',
      'Remote-User: admin',
      'X-Roles: admin',
      'X-Original-URL: /admin',
      'X-Rewrite-URL: /admin',
      'X-HTTP-Method-Override: DELETE',
      'X-Request-Id: forged',
      'Client-Cert: :AAAA:',
      'SSL-Client-Verify: SUCCESS',
      'X-SSL-Client-Verify: SUCCESS',
      'True-Client-IP: 10.0.0.1',
      'X-MS-Client-Principal: e30',
      'X-Amzn-Oidc-Identity: admin',
      'Cookie: session=1',
      'DPoP: x',
      'Token: x',
      'access_token: x',
      'Proxy-Authorization: Basic YTpi',
    ]
    const { headers } = readTold(await world.send(['GET / HTTP/1.1', ...lies]))
    expect(Object.keys(headers).toSorted()).toEqual([
      'authorization',
      'connection',
      'forwarded',
      'host',
      'via',
      'x-request-id',
    ])
    expect(headers['x-request-id']).not.toBe('forged')
    expect(headers['forwarded']).not.toContain('10.0.0')
  })

  test('nothing that belongs to the connection of the client', async () => {
    await using upstream = await startUpstream(tellAll)
    await using world = await start({ '/': upstream.url })
    const hops = [
      'Connection: keep-alive, X-Hop , Authorization,traceparent, X-Request-Id',
      'Connection: Forwarded, Host, Via',
      'X-Hop: 1',
      `traceparent: ${TRACE}`,
      'Keep-Alive: timeout=5',
      'Proxy-Connection: keep-alive',
      'TE: trailers',
      'Trailer: X-Checksum',
      'Upgrade: h2c',
      'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA',
    ]
    const { headers } = readTold(await world.send(['GET / HTTP/1.1', ...hops]))
    expect(Object.keys(headers).toSorted()).toEqual([
      'authorization',
      'connection',
      'forwarded',
      'host',
      'via',
      'x-request-id',
    ])
    expect(headers['connection']).toBe('keep-alive')
  })

  test.each([
    ['no trace', 'x'],
    ['one of zeros', `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`],
    ['one in capitals', TRACE.toUpperCase()],
    ['two of them', `${TRACE}\r\ntraceparent: ${TRACE}`],
  ])('no trace where the client wrote %s', async (_case, value) => {
    await using upstream = await startUpstream(tellAll)
    await using world = await start({ '/': upstream.url })
    const lines = ['GET / HTTP/1.1', `traceparent: ${value}`, 'tracestate: a=1']
    const { headers } = readTold(await world.send(lines))
    expect([headers['traceparent'], headers['tracestate']]).toEqual([undefined, undefined])
  })

  test('no host where the client named none', async () => {
    await using upstream = await startUpstream(tellAll)
    await using world = await start({ '/': upstream.url })
    const { headers } = readTold(await world.send(['GET / HTTP/1.1', 'Host:']))
    expect(headers['forwarded']).toBe('for="127.0.0.1";proto=http')
  })

  test('how the answer is to be, what it is about, and no header that is not known', async () => {
    await using upstream = await startUpstream(tellAll)
    await using world = await start({ '/': upstream.url })
    const known = ['Accept', 'If-None-Match', 'Range', 'Content-Type', 'Idempotency-Key', 'baggage']
    const unknown = `Proxy Impersonate-User X-Hasura-Role Tailscale-User-Login iv-user SM-User
      X-Pomerium-Jwt-Assertion X-Vouch-User X-Okta-User OIDC-claim-sub Shib-User eppn
      X-AppEngine-User-Email X-Azure-ClientIP X-Originating-IP Fly-Client-IP X-Vercel-Ip From
      X-Nobody-Has-Heard-Of.This X-Anything X-Custom2 X_Custom`.split(/\s+/)
    const lines = [...known, ...unknown, 'X-CUSTOM'].map((name) => `${name}: admin`)
    const { headers } = readTold(await world.send(['GET / HTTP/1.1', ...lines]))
    const own = ['authorization', 'connection', 'forwarded', 'host', 'via', 'x-custom']
    expect(Object.keys(headers).toSorted()).toEqual(
      [...own, 'x-request-id', ...known.map((name) => name.toLowerCase())].toSorted(),
    )
  })

  test.each([
    ['a length', ['Content-Length: 5'], 'hello', '5', undefined],
    ['a hop', ['Connection: Content-Length', 'Content-Length: 5'], 'hello', '5', undefined],
    ['chunks', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n0\r\n\r\n', undefined, 'chunked'],
    ['no body', [], '', '0', undefined],
  ] as const)('the body as it was framed: %s', async (_case, framing, body, length, coding) => {
    await using upstream = await startUpstream((request, response) => {
      void (async () => {
        const { 'content-length': sent, 'transfer-encoding': used } = request.headers
        const answer = { body: await text(request), length: sent, coding: used }
        response.end(JSON.stringify(answer))
      })()
    })
    await using world = await start({ '/': upstream.url })
    const answer = await world.send(['POST / HTTP/1.1', ...framing], body)
    const told = JSON.parse(/\{.*\}/s.exec(answer.body)?.[0] ?? '') as unknown
    const expected = { body: body === '' ? '' : 'hello', length, coding }
    expect(told).toEqual(JSON.parse(JSON.stringify(expected)))
  })
})

describe('where a request goes', () => {
  test('to the service with the longest path that fits, and to no other', async () => {
    await using one = await startUpstream((_request, response) => void response.end('one'))
    await using two = await startUpstream((_request, response) => void response.end('two'))
    await using world = await start({ '/a': one.url, '/a/b': two.url })
    const ask = async (path: string) => {
      const { status, body } = await world.send([`GET ${path} HTTP/1.1`])
      return status === 200 ? /one|two/.exec(body)?.[0] : status
    }
    expect(await ask('/a')).toBe('one')
    expect(await ask('/a/')).toBe('one')
    expect(await ask('/a?/a/b')).toBe('one')
    expect(await ask('/a/bc')).toBe('one')
    expect(await ask('/a/b/c')).toBe('two')
    for (const path of ['/', '/ab', '/A', '/%61', '/b/a']) expect(await ask(path)).toBe(404)
  })

  test('without a token, nobody learns which paths there are', async () => {
    await using world = await start({ '/a': 'http://127.0.0.1:9' })
    for (const path of ['/a', '/b']) {
      const { status, headers } = await sendRaw(world.url, [`GET ${path} HTTP/1.1`])
      expect([status, headers['www-authenticate']]).toEqual([401, 'Bearer'])
    }
  })

  test.each([
    'http://evil.example/',
    'http://127.0.0.1:9/a',
    '//evil.example/a',
    '///a',
    '*',
    '/a#b',
    '/a\\..\\b',
    '/../b',
    '/a/../b',
    '/a/..',
    '/a/./b',
    '/a/.',
    '/a//b',
    '/a/%2e%2e/b',
    '/a/%2E./b',
    '/a/.%2e',
    '/a/..;x=1/b',
    '/a/%2e%2e;/b',
    '/a%2fb',
    '/a%2Fb',
    '/a%5cb',
    '/a%252fb',
    '/a/%252e%252e/b',
    '/a%00',
    '/a%0d%0aX-User:%20admin',
    '/a%7f',
    '/a%',
    '/a%zz',
    '/a%ff',
    '/a%c0%ae',
    '/\u00e9',
  ])('nowhere, where its target is %j', async (target) => {
    await using upstream = await startUpstream(tellAll)
    await using world = await start({ '/': upstream.url })
    const { status } = await world.send([`OPTIONS ${target} HTTP/1.1`])
    expect([status, upstream.requests.length]).toEqual([400, 0])
  })

  test.each<[string, number, string[]]>([
    ['TRACE', 405, ['TRACE / HTTP/1.1']],
    ['another method', 405, ['PROPFIND / HTTP/1.1']],
    ['a target of 9000 characters', 414, [`GET /${'a'.repeat(9000)} HTTP/1.1`]],
    ['101 headers', 431, ['GET / HTTP/1.1', ...Array.from({ length: 101 }, () => 'X-A: 1')]],
    ['17 KB of headers', 431, ['GET / HTTP/1.1', `X-A: ${'a'.repeat(17_000)}`]],
    ['another coding', 501, ['POST / HTTP/1.1', 'Transfer-Encoding: gzip, chunked']],
    ['both framings', 400, ['POST / HTTP/1.1', 'Transfer-Encoding: chunked', 'Content-Length: 5']],
    ['two lengths', 400, ['POST / HTTP/1.1', 'Content-Length: 5', 'Content-Length: 6']],
    ['a length with a sign', 400, ['POST / HTTP/1.1', 'Content-Length: +5']],
    ['a body that is too large', 413, ['POST / HTTP/1.1', `Content-Length: ${MAX_BODY + 1}`]],
    ['two tokens', 400, ['GET / HTTP/1.1', 'Authorization: Bearer x']],
    ['two hosts', 400, ['GET / HTTP/1.1', 'Host: a.example', 'Host: b.example']],
    ['a host that is none', 400, ['GET / HTTP/1.1', 'Host: a";by="evil']],
    ['chunked twice', 400, ['POST / HTTP/1.1', ...Array(2).fill('Transfer-Encoding: chunked')]],
    ['chunks of HTTP/1.0', 400, ['POST / HTTP/1.0', 'Transfer-Encoding: chunked']],
    ['another expectation', 417, ['POST / HTTP/1.1', 'Expect: 200-ok', 'Content-Length: 0']],
  ])('nowhere with %s', async (_case, expected, lines) => {
    await using upstream = await startUpstream(tellAll)
    await using world = await start({ '/': upstream.url })
    const { status } = await world.send(lines)
    expect([status, upstream.requests.length]).toEqual([expected, 0])
  })

  test('no further where chunks become too many, which the service sees as broken off', async () => {
    const received: Buffer[] = []
    await using upstream = await startUpstream((request) => {
      request.on('error', () => {}).on('data', (chunk: Buffer) => received.push(chunk))
    })
    await using world = await start({ '/': upstream.url })
    const chunk = `${(400).toString(16)}\r\n${'x'.repeat(400)}\r\n`
    const lines = ['POST / HTTP/1.1', 'Transfer-Encoding: chunked']
    const { status, headers } = await world.send(lines, chunk.repeat(3))
    expect([status, headers['connection']]).toEqual([413, 'close'])
    await waitUntil(() => upstream.requests.every(({ socket }) => socket.destroyed))
    expect(upstream.requests.some(({ complete }) => complete)).toBe(false)
    expect(Buffer.concat(received).length).toBeLessThanOrEqual(MAX_BODY)
  })

  test('not round in a circle', async () => {
    const circle = createServer()
    const url = await listen(circle)
    await using world = await start({ '/': url })
    circle.on('request', (request: IncomingMessage, response: ServerResponse) => {
      const headers = { authorization: `Bearer ${world.token}`, via: request.headers.via ?? '' }
      void fetch(world.url, { headers }).then(({ status }) => response.end(String(status)))
    })
    await using cleanUp = new AsyncDisposableStack()
    cleanUp.defer(() => {
      circle.closeAllConnections()
      circle.close()
    })
    expect((await world.send(['GET / HTTP/1.1'])).body).toContain('508')
  })

  test('a client that waits for 100 is told so when it may go on, or refused without a body', async () => {
    await using upstream = await startUpstream((request, response) => {
      request.resume()
      request.on('end', () => response.end(request.headers.expect ?? 'none'))
    })
    await using world = await start({ '/': upstream.url })
    const lines = ['POST / HTTP/1.1', 'Expect: 100-continue', 'Content-Length: 5']
    const good = await world.send(lines, 'hello')
    expect(good.status).toBe(100)
    expect(good.body).toMatch(/^HTTP\/1\.1 200 OK.*none/s)
    const { status, headers } = await sendRaw(world.url, lines)
    expect([status, headers['connection']]).toEqual([401, 'close'])
  })

  test('a client of HTTP/1.0 is not told to go on, which it would take for the answer', async () => {
    await using upstream = await startUpstream((request, response) => {
      request.resume().on('end', () => response.end('done'))
    })
    await using world = await start({ '/': upstream.url })
    const lines = ['POST / HTTP/1.0', 'Expect: 100-continue', 'Content-Length: 5']
    const { status, headers } = await world.send(lines, 'hello')
    expect([status, headers['connection']]).toEqual([200, 'close'])
  })
})

describe('requests on one connection', () => {
  const post = (path: string, ...more: readonly string[]) =>
    [`POST ${path} HTTP/1.1`, 'Host: x', ...more, 'Content-Length: 2', '', 'ab'].join('\r\n')

  test('one behind another that is refused, with the end of the connection, is not carried out', async () => {
    await using upstream = await startUpstream(tellAll)
    await using world = await start({ '/': upstream.url })
    // Now nothing has to be waited for: no keys, no connection.
    await world.send(['GET /before HTTP/1.1'])
    const good = `Authorization: Bearer ${world.token}`
    const bytes = Buffer.from(post('/refused') + post('/behind', good))
    const { status, headers, body } = await sendBytes(world.url, bytes)
    expect([status, headers['connection']]).toEqual([401, 'close'])
    expect(body).not.toContain('HTTP/1.1')
    expect((await world.send(['GET /after HTTP/1.1'])).status).toBe(200)
    expect(upstream.requests.map(({ url }) => url)).toEqual(['/before', '/after'])
  })

  test.each([
    ['has not begun', false],
    ['has begun', true],
  ])(
    'one before whose turn it is, while an answer %s, ends the connection',
    async (_case, begun) => {
      let finish = (): void => {}
      await using upstream = await startUpstream((_request, response) => {
        if (begun) response.write('first')
        finish = () => void response.end('last')
      })
      await using world = await start({ '/': upstream.url })
      const good = `Authorization: Bearer ${world.token}`
      const { hostname, port } = new URL(world.url)
      const socket = connect(Number(port), hostname)
      const closed = once(socket, 'close')
      let received = ''
      socket.on('data', (chunk: Buffer) => (received += chunk.toString()))
      socket.write(post('/one', good))
      await waitUntil(() => upstream.requests.length === 1 && received.includes('first') === begun)
      socket.write(post('/two', good))
      await once(world.server, 'request')
      finish()
      await closed
      expect(received.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200'])
      expect(upstream.requests.map(({ url }) => url)).toEqual(['/one'])
    },
  )

  test('one that keeps sending is cut off', async () => {
    await using upstream = await startUpstream(() => {})
    await using world = await start({ '/': upstream.url })
    const good = `Authorization: Bearer ${world.token}`
    const bytes = Buffer.from(post('/one', good) + post('/more').repeat(17))
    expect((await sendBytes(world.url, bytes)).status).toBe(0)
  })

  test('the next one is carried out when it is its turn', async () => {
    await using upstream = await startUpstream(tellAll)
    await using world = await start({ '/': upstream.url })
    const { hostname, port } = new URL(world.url)
    const socket = connect(Number(port), hostname)
    for (const path of ['/one', '/two']) {
      socket.write(post(path, `Authorization: Bearer ${world.token}`))
      const [answer] = (await once(socket, 'data')) as [Buffer]
      expect(answer.toString()).toMatch(/^HTTP\/1\.1 200 /)
    }
    socket.destroy()
    expect(upstream.requests.map(({ url }) => url)).toEqual(['/one', '/two'])
  })
})

describe('one who is greedy', () => {
  const openSlow = (world: World, count: number) =>
    Array.from({ length: count }, () => {
      const { hostname, port } = new URL(world.url)
      const socket = connect(Number(port), hostname).on('error', () => {})
      const head = ['POST / HTTP/1.1', 'Host: x', `Authorization: Bearer ${world.token}`]
      socket.write(`${[...head, 'Content-Length: 100'].join('\r\n')}\r\n\r\nx`)
      return socket
    })

  test('gets half of what a service has, and leaves the other half to others', async () => {
    await using upstream = await startUpstream((request, response) => {
      request.resume().on('end', () => response.end('ok'))
    })
    await using world = await start({ '/': upstream.url }, { maxUnderWay: 8 })
    const slow = openSlow(world, 4)
    await waitUntil(() => upstream.requests.length === 4)
    const { status, headers, body } = await world.send(['GET / HTTP/1.1'])
    expect([status, headers['retry-after']]).toEqual([429, '5'])
    expect(JSON.parse(body)).toMatchObject({ error: 'too_many_requests' })
    const bob = world.signFor({ sub: 'acc_bob' })
    const ask = (token: string) =>
      sendRaw(world.url, ['GET / HTTP/1.1', `Authorization: Bearer ${token}`])
    expect((await ask(bob)).status).toBe(200)
    // Another token of the same person is no other person.
    expect((await ask(world.signFor({ client_id: 'another' }))).status).toBe(429)
    for (const socket of slow) socket.destroy()
    await waitUntil(() => world.logged().split('client_gone').length === 5)
    expect((await world.send(['GET / HTTP/1.1'])).status).toBe(200)
  })

  test('503 where a service has no place at all, at once and not when one is free', async () => {
    await using upstream = await startUpstream(() => {})
    await using world = await start({ '/': upstream.url }, { maxUnderWay: 1 })
    const [slow] = openSlow(world, 1)
    await waitUntil(() => upstream.requests.length === 1)
    const { status, headers, body } = await world.send(['GET / HTTP/1.1'])
    expect([status, headers['retry-after']]).toEqual([503, '5'])
    expect(JSON.parse(body)).toMatchObject({ error: 'temporarily_unavailable' })
    slow?.destroy()
  })
})

describe('what a client is answered', () => {
  const behind = async (answer: (response: ServerResponse) => void) => {
    const upstream = await startUpstream((_request, response) => answer(response))
    const world = await start({ '/': upstream.url })
    return {
      ...world,
      upstream,
      async [Symbol.asyncDispose]() {
        await world[Symbol.asyncDispose]()
        await upstream[Symbol.asyncDispose]()
      },
    }
  }

  test('what the service says, but for what belongs to its own connection', async () => {
    await using world = await behind((response) => {
      response.writeHead(201, 'Made', {
        'Content-Type': 'text/plain',
        'Content-Length': '2',
        ETag: '"1"',
        Connection: 'keep-alive, X-Hop',
        'X-Hop': '1',
        'Keep-Alive': 'timeout=77',
        'Proxy-Authenticate': 'Basic',
        'Set-Cookie': 'a=1',
        'X-Request-Id': 'its own',
        Location: `${world.upstream.url}/made/1`,
        'WWW-Authenticate': 'Basic realm="x"',
      })
      response.end('ok')
    })
    const { status, headers, body } = await world.send(['POST / HTTP/1.1'])
    expect([status, body]).toEqual([201, 'ok'])
    expect(headers).toEqual({
      'content-type': 'text/plain',
      'content-length': '2',
      etag: '"1"',
      location: '/made/1',
      'cache-control': 'no-store',
      'x-request-id': expect.stringMatching(/^[\da-f-]{36}$/) as string,
      date: expect.any(String) as string,
      connection: 'close',
    })
  })

  test.each([
    [200, 'HEAD'],
    [204, 'GET'],
    [304, 'GET'],
    [404, 'GET'],
    [503, 'GET'],
  ])('the status %i to %s', async (expected, method) => {
    await using world = await behind((response) => void response.writeHead(expected).end())
    expect((await world.send([`${method} / HTTP/1.1`])).status).toBe(expected)
  })

  test('what the service lets caches do', async () => {
    await using world = await behind((response) =>
      response.setHeader('Cache-Control', 'private, max-age=60').end(),
    )
    const { headers } = await world.send(['GET / HTTP/1.1'])
    expect(headers['cache-control']).toBe('private, max-age=60')
  })

  test('the same where the service names Cache-Control in Connection', async () => {
    await using world = await behind((response) =>
      response
        .writeHead(200, { Connection: 'cache-control', 'Cache-Control': 'max-age=60' })
        .end('private'),
    )
    const { headers } = await world.send(['GET / HTTP/1.1'])
    expect(headers['cache-control']).toBe('no-store')
  })

  test.each([
    ['max-age=60', 'max-age=60, private'],
    ['public', 'public, private'],
    ['no-cache, no-store', 'no-cache, no-store'],
    ['', 'no-store'],
  ])('of %j, nothing for shared caches, which do not know a token', async (said, expected) => {
    await using upstream = await startUpstream((_request, response) =>
      (said === '' ? response : response.setHeader('Cache-Control', said)).end(),
    )
    await using world = await start({ '/': upstream.url }, { token: fromHeader('Token') })
    const answer = await fetch(world.url, { headers: { Token: world.token } })
    expect(answer.headers.get('cache-control')).toBe(expected)
  })

  test.each([
    ['ORIGIN', '/'],
    ['ORIGIN/', '/'],
    ['ORIGIN/a?b#c', '/a?b#c'],
    ['ORIGIN?x', '/?x'],
    ['//HOST/a', '/a'],
    ['http:\\\\HOST\\a', '/a'],
    ['http:HOST/a', '/a'],
    ['http://user:secret@HOST/a', '/a'],
    ['ORIGIN//evil.example/', '/.//evil.example/'],
    ['ORIGIN/\\evil.example/', '/.//evil.example/'],
    ['ORIGIN/\t/evil.example/', '/.//evil.example/'],
    ['ORIGIN/.//evil.example/', '/.//evil.example/'],
    ['?x', '?x'],
    ['made/1', 'made/1'],
    ['/made/1', '/made/1'],
    ['https://other.example/a', 'https://other.example/a'],
    ['https://HOST/a', undefined],
    ['https://other.example/?next=ORIGIN/a', undefined],
  ])('the location %s without where the service is: %s', async (location, expected) => {
    await using world = await behind((response) => {
      const { origin, host } = new URL(world.upstream.url)
      const shown = location.replace('ORIGIN', origin).replace('HOST', host)
      response.writeHead(302, { Location: shown, 'Content-Location': shown }).end()
    })
    const { headers } = await world.send(['GET /here HTTP/1.1'])
    expect([headers['location'], headers['content-location']]).toEqual([expected, expected])
    // A browser does not read another host in it.
    const isElsewhere = expected === undefined || expected.startsWith('https:')
    const read = isElsewhere
      ? 'gateway.example'
      : new URL(expected, 'https://gateway.example/').host
    expect(read).toBe('gateway.example')
  })

  test('no other header that says where the service is, and none for its whole host', async () => {
    await using world = await behind((response) => {
      const { origin, host } = new URL(world.upstream.url)
      response.writeHead(204, {
        Link: `<${origin}/a?2>; rel=next, <https://b.example/>; rel=x`,
        Refresh: `0;url=${origin}/a`,
        'X-Served-By': host,
        'Alt-Svc': 'h2=":443"',
        'Clear-Site-Data': '"*"',
        'Strict-Transport-Security': 'max-age=9',
        'X-Accel-Redirect': '/internal',
        X_Accel_Redirect: '/internal',
        'X-Accel_Buffering': 'no',
        X_Sendfile: '/etc/passwd',
        Set_Cookie: 'a=1',
        WWW_Authenticate: 'Basic',
        'Authentication-Info': 'nextnonce="x"',
        'Proxy-Authentication-Info': 'nextnonce="x"',
        X_Kept: '8',
        Server: 'Old/1.0',
        'Content-Length': '5',
        'X-Total': '7',
      })
      response.end()
    })
    const { headers } = await world.send(['GET / HTTP/1.1'])
    expect(headers).toEqual({
      link: '</a?2>; rel=next, <https://b.example/>; rel=x',
      'x-total': '7',
      x_kept: '8',
      'cache-control': 'no-store',
      'x-request-id': expect.any(String) as string,
      date: expect.any(String) as string,
      connection: 'close',
    })
  })

  test.each([401, 407])('502 where the service answers %i, and no challenge', async (status) => {
    await using world = await behind((response) => {
      response.writeHead(status, {
        'WWW-Authenticate': 'Bearer error="invalid_token"',
        'Proxy-Authenticate': 'Basic',
      })
      response.end('secret detail')
    })
    const answer = await world.send(['GET / HTTP/1.1'])
    expect(answer.status).toBe(502)
    expect(answer.headers).not.toHaveProperty('www-authenticate')
    expect(answer.headers).not.toHaveProperty('proxy-authenticate')
    expect(JSON.parse(answer.body)).toEqual({
      error: 'bad_gateway',
      error_description: 'The service could not answer.',
    })
    expect(world.logged()).toContain(`"kind":"not_accepted","status":${status}`)
    expect(world.logged()).toContain(answer.headers['x-request-id'])
  })

  test('an answer that comes before the whole of the request', async () => {
    await using world = await behind((response) => void response.writeHead(409).end('no'))
    const lines = ['POST / HTTP/1.1', 'Content-Length: 900']
    const { hostname, port } = new URL(world.url)
    const socket = connect(Number(port), hostname)
    const head = [...lines, 'Host: x', `Authorization: Bearer ${world.token}`]
    socket.write(`${head.join('\r\n')}\r\n\r\nhalf`)
    const [answer] = (await once(socket, 'data')) as [Buffer]
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 409 /)
    // The rest is read, and the connection goes on.
    socket.write('x'.repeat(896))
    socket.write(`GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${world.token}\r\n\r\n`)
    await waitUntil(() => world.upstream.requests.length === 2)
    socket.destroy()
  })

  test('502 where nobody listens', async () => {
    const gone = await startUpstream(tellAll)
    await gone[Symbol.asyncDispose]()
    await using world = await start({ '/': gone.url })
    const { status, body } = await world.send(['POST / HTTP/1.1', 'Content-Length: 5'], 'hello')
    expect([status, JSON.parse(body)]).toMatchObject([502, { error: 'bad_gateway' }])
    expect(body).not.toContain(new URL(gone.url).port)
    expect(world.logged()).toContain('"kind":"broken"')
  })

  test.each<[string, (socket: Socket) => void]>([
    ['resets the connection', (socket) => socket.resetAndDestroy()],
    ['closes the connection', (socket) => socket.end()],
    ['answers what is not HTTP', (socket) => socket.end('SSH-2.0-OpenSSH\r\n')],
    [
      'packs the body for the connection, in chunks',
      (socket) =>
        socket.end(
          'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n',
        ),
    ],
    [
      'packs the body for the connection, until it is closed',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx'),
    ],
    [
      'packs the body, and says so in a header of its own',
      (socket) =>
        socket.end(
          'HTTP/1.1 200 OK\r\nTransfer-Encoding: x-gzip\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n',
        ),
    ],
    [
      'answers with too many headers',
      (socket) => socket.end(`HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(20_000)}\r\n\r\n`),
    ],
    [
      'answers in two framings',
      (socket) =>
        socket.end(
          'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
        ),
    ],
    [
      'wants another protocol',
      (socket) => socket.end('HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n'),
    ],
  ])('502 where the service %s', async (_case, answer) => {
    await using cleanUp = new AsyncDisposableStack()
    const server = createPlainServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => answer(socket))
    })
    const url = await listen(server)
    cleanUp.defer(() => void server.close())
    await using world = await start({ '/': url })
    expect((await world.send(['POST / HTTP/1.1', 'Content-Length: 5'], 'hello')).status).toBe(502)
  })

  test('a request that changes nothing is sent again where a kept connection was closed', async () => {
    let connections = 0
    await using cleanUp = new AsyncDisposableStack()
    // Answers one request on each connection, and resets it at the second.
    const server = createPlainServer((socket) => {
      connections += 1
      socket.on('error', () => {})
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
        socket.once('data', () => socket.resetAndDestroy())
      })
    })
    const url = await listen(server)
    cleanUp.defer(() => void server.close())
    await using world = await start({ '/': url })
    const get = ['GET / HTTP/1.1']
    expect([(await world.send(get)).status, (await world.send(get)).status]).toEqual([200, 200])
    expect(connections).toBe(2)
    await world.send(get)
    const post = await world.send(['POST / HTTP/1.1', 'Content-Length: 1'], 'x')
    expect([post.status, connections]).toEqual([502, 3])
  })
})

describe('time-outs', () => {
  /** Accepts connections, and says nothing. */
  async function startSilence(): Promise<AsyncDisposable & { url: string; sockets: Socket[] }> {
    const sockets: Socket[] = []
    const server = createPlainServer((socket) => {
      socket.on('error', () => {})
      sockets.push(socket)
    })
    return {
      url: await listen(server),
      sockets,
      async [Symbol.asyncDispose]() {
        for (const socket of sockets) socket.destroy()
        await new Promise((resolve) => server.close(resolve))
      },
    }
  }

  test('504 where there is no connection in time: TLS that nobody speaks', async () => {
    await using silence = await startSilence()
    await using world = await start({ '/': silence.url.replace('http:', 'https:') })
    const answer = world.send(['GET / HTTP/1.1'])
    await waitUntil(() => silence.sockets.length === 1)
    await world.clock.advance(5000)
    const { status, body } = await answer
    expect([status, JSON.parse(body)]).toMatchObject([504, { error: 'gateway_timeout' }])
    expect(world.logged()).toContain('"phase":"connect"')
    // It notices when it reads.
    silence.sockets[0]?.resume()
    await waitUntil(() => silence.sockets[0]?.destroyed === true)
  })

  test('504 where the service hangs, which is noticed there', async () => {
    await using upstream = await startUpstream((request) => void request.resume())
    await using world = await start({ '/': upstream.url })
    const answer = world.send(['POST / HTTP/1.1', 'Content-Length: 5'], 'hello')
    await waitUntil(() => upstream.requests[0]?.complete === true)
    const [request] = upstream.requests
    await world.clock.advance(9999)
    expect(request?.socket.destroyed).toBe(false)
    await world.clock.advance(1)
    expect((await answer).status).toBe(504)
    expect(world.logged()).toContain('"phase":"headers"')
    await waitUntil(() => request?.socket.destroyed === true)
  })

  test('504 where it reads nothing of a body, for the whole of the time', async () => {
    await using silence = await startSilence()
    await using world = await start({ '/': silence.url })
    const answer = world.send(['POST / HTTP/1.1', 'Content-Length: 5'], 'he')
    await waitUntil(() => silence.sockets.length === 1)
    await world.clock.advance(59_999)
    await world.clock.advance(1)
    expect((await answer).status).toBe(504)
    expect(world.logged()).toContain('"phase":"whole"')
  })

  test('an answer that does not end is cut off, and is seen to be', async () => {
    await using upstream = await startUpstream((_request, response) => {
      response.writeHead(200, { 'Content-Length': '10' }).write('half')
    })
    await using world = await start({ '/': upstream.url })
    const response = await fetch(world.url, {
      headers: { authorization: `Bearer ${world.token}` },
    })
    await world.clock.advance(60_000)
    await expect(response.text()).rejects.toThrow('terminated')
    expect(world.logged()).toContain('"event":"cut_off"')
    await waitUntil(() => upstream.requests[0]?.socket.destroyed === true)
  })

  test('an answer in time is not touched by any of them', async () => {
    let finish = (): void => {}
    await using upstream = await startUpstream((_request, response) => {
      response.writeHead(200).write('first')
      finish = () => void response.end('last')
    })
    await using world = await start({ '/': upstream.url })
    const response = await fetch(world.url, {
      headers: { authorization: `Bearer ${world.token}` },
    })
    await world.clock.advance(59_000)
    finish()
    expect(await response.text()).toBe('firstlast')
    await world.clock.advance(60_000)
    expect(world.logged()).toBe('[]')
  })
})

describe('a client that has gone', () => {
  const leaveAfter = async (upstream: Upstream, framing: string, body: string) => {
    const world = await start({ '/': upstream.url })
    const { hostname, port } = new URL(world.url)
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    const head = ['POST / HTTP/1.1', 'Host: x', `Authorization: Bearer ${world.token}`, framing]
    socket.write(`${head.join('\r\n')}\r\n\r\n${body}`)
    await waitUntil(() => upstream.requests.length === 1)
    socket.destroy()
    return world
  }

  test.each([
    ['while it sends', 'Content-Length: 100', 'half'],
    ['while it waits', 'Content-Length: 4', 'body'],
  ])('ends the request to the service: %s', async (_case, framing, body) => {
    await using upstream = await startUpstream((request) => void request.resume())
    await using world = await leaveAfter(upstream, framing, body)
    const [request] = upstream.requests
    await waitUntil(() => request?.socket.destroyed === true)
    await waitUntil(() => world.logged() !== '[]')
    expect(world.logged()).toContain('"kind":"client_gone"')
  })

  test('ends the answer of the service', async () => {
    await using upstream = await startUpstream((request, response) => {
      request.resume()
      response.writeHead(200).write('first')
    })
    await using world = await leaveAfter(upstream, 'Content-Length: 4', 'body')
    await waitUntil(() => upstream.requests[0]?.socket.destroyed === true)
    await waitUntil(() => world.logged().includes('"kind":"client_gone"'))
    expect(world.logged()).toContain('"event":"cut_off"')
  })
})

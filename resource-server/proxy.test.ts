import { once } from 'node:events'
import { createServer, request, type OutgoingHttpHeaders } from 'node:http'
import { Socket, type AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createProxyTrust, createRequestUrlReader, type RequestUrlReader } from './proxy.ts'

/** Where requests come from, and whether that is a proxy, is what each test says. */
const PEER = '127.0.0.1'
const BEHIND_PROXY = [PEER, '10.0.0.0/8']
const IN_FRONT = ['10.0.0.0/8']
const URLS = ['https://api.example', 'https://notes.example:8443/api/', 'http://inside.example']

/** Answers every request with the address that the reader of its day finds. */
let read: RequestUrlReader = () => []
const server = createServer((req, res) => void res.end(read(req).join(' or ')))
beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})

interface Sent {
  readonly trusted: readonly string[]
  readonly headers?: OutgoingHttpHeaders
  readonly path?: string
}

/** What a server finds out about a request. */
async function find(
  { trusted, headers = {}, path = '/notes/1?page=2' }: Sent,
  urls: string | readonly string[] = URLS,
): Promise<string> {
  read = createRequestUrlReader(urls, createProxyTrust(trusted))
  const { port } = server.address() as AddressInfo
  const sent = request({ host: PEER, port, path, headers }).end()
  const [response] = await once(sent, 'response')
  return text(response)
}

describe('behind a trusted proxy, the address is', () => {
  test.each<readonly [string, OutgoingHttpHeaders, string]>([
    [
      'what X-Forwarded-Proto and -Host say',
      { 'X-Forwarded-Proto': 'http', 'X-Forwarded-Host': 'inside.example' },
      'http://inside.example/notes/1',
    ],
    [
      'what X-Forwarded-Proto and Host say',
      { 'X-Forwarded-Proto': 'http', Host: 'inside.example' },
      'http://inside.example/notes/1',
    ],
    [
      'what Forwarded says',
      { Forwarded: 'for=1.2.3.4;proto=http;host=inside.example' },
      'http://inside.example/notes/1',
    ],
    [
      'what Forwarded says between quotes, in capitals',
      { Forwarded: 'For="[2001:db8::1]:4711"; Proto=HTTPS; Host="NOTES.example:8443"' },
      'https://notes.example:8443/api/notes/1',
    ],
    [
      'what the last of several proxies says',
      { 'X-Forwarded-Proto': 'https, http', 'X-Forwarded-Host': 'api.example, inside.example' },
      'http://inside.example/notes/1',
    ],
    [
      'what the proxy has added to what the client wrote',
      { Forwarded: ['proto=http;host=inside.example', 'proto=https;host="notes.example:8443"'] },
      'https://notes.example:8443/api/notes/1',
    ],
    [
      'what both kinds of headers say',
      {
        Forwarded: 'proto=http;host=inside.example',
        'X-Forwarded-Proto': 'http',
        'X-Forwarded-Host': 'inside.example',
      },
      'http://inside.example/notes/1',
    ],
  ])('%s', async (_row, headers, expected) => {
    expect(await find({ trusted: BEHIND_PROXY, headers })).toBe(expected)
  })

  test.each<readonly [string, OutgoingHttpHeaders]>([
    ['nothing is said', {}],
    [
      'a host is named that is not ours',
      { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'evil.example' },
    ],
    [
      'a port is named that is not ours',
      { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'notes.example' },
    ],
    [
      'a scheme is named that is not ours',
      { 'X-Forwarded-Proto': 'ftp', 'X-Forwarded-Host': 'inside.example' },
    ],
    ['no scheme is named', { 'X-Forwarded-Host': 'inside.example' }],
    [
      'the two kinds of headers differ',
      {
        Forwarded: 'proto=http;host=inside.example',
        'X-Forwarded-Proto': 'https',
        'X-Forwarded-Host': 'api.example',
      },
    ],
    [
      'one of the two kinds of headers is broken',
      { Forwarded: 'nonsense', 'X-Forwarded-Proto': 'http', 'X-Forwarded-Host': 'inside.example' },
    ],
    ['a user is named', { 'X-Forwarded-Proto': 'http', 'X-Forwarded-Host': 'x@inside.example' }],
    ['a path is named', { 'X-Forwarded-Proto': 'http', 'X-Forwarded-Host': 'inside.example/x' }],
    ['a quote is not closed', { Forwarded: 'proto=http;host="inside.example' }],
    ['an earlier quote is not closed', { Forwarded: 'for="x, proto=https;host=api.example' }],
  ])('the first of our own where %s', async (_row, headers) => {
    expect(await find({ trusted: BEHIND_PROXY, headers })).toBe('https://api.example/notes/1')
  })
})

test.each<readonly [string, readonly string[], OutgoingHttpHeaders, string]>([
  ['of the first origin', BEHIND_PROXY, {}, 'https://api.example/v1/x or https://api.example/v2/x'],
  [
    'of the origin that a proxy names',
    BEHIND_PROXY,
    { 'X-Forwarded-Proto': 'http', 'X-Forwarded-Host': 'inside.example' },
    'http://inside.example/x or http://inside.example/y/x',
  ],
  [
    'and not of what anybody names',
    IN_FRONT,
    { 'X-Forwarded-Proto': 'http', 'X-Forwarded-Host': 'inside.example' },
    'https://api.example/v1/x or https://api.example/v2/x',
  ],
])('of several paths it may be each, %s', async (_row, trusted, headers, expected) => {
  const urls = [
    'https://api.example/v1',
    'http://inside.example',
    'https://api.example/v2/',
    'http://inside.example/y',
  ]
  expect(await find({ trusted, headers, path: '/x' }, urls)).toBe(expected)
})

test('nothing that somebody else writes counts', async () => {
  const headers = {
    Host: 'inside.example',
    Forwarded: 'proto=http;host=inside.example',
    'X-Forwarded-Proto': 'http',
    'X-Forwarded-Host': 'inside.example',
    'X-Forwarded-For': '10.0.0.1',
  }
  expect(await find({ trusted: IN_FRONT, headers })).toBe('https://api.example/notes/1')
})

test('of one address alone, no header changes anything', async () => {
  const headers = { 'X-Forwarded-Proto': 'http', 'X-Forwarded-Host': 'evil.example' }
  for (const trusted of [IN_FRONT, BEHIND_PROXY]) {
    expect(await find({ trusted, headers }, 'https://api.example/v1/')).toBe(
      'https://api.example/v1/notes/1',
    )
  }
})

test.each([
  ['/', 'https://api.example/'],
  ['/?x', 'https://api.example/'],
  ['//evil.example/x', 'https://api.example//evil.example/x'],
  ['http://evil.example/x?y', 'https://api.example/x'],
  ['evil://x/secret', 'https://api.example/evil://x/secret'],
  ['https://evil.example', 'https://api.example/'],
  ['/a/../b', 'https://api.example/a/../b'],
  ['/%2e%2e/b', 'https://api.example/%2e%2e/b'],
  ['/a@evil.example/b', 'https://api.example/a@evil.example/b'],
])('the path of %s stays as it was sent', async (path, expected) => {
  expect(await find({ trusted: BEHIND_PROXY, path })).toBe(expected)
})

describe('who is trusted', () => {
  const headers = { 'X-Forwarded-Proto': 'http', 'X-Forwarded-Host': 'inside.example' }
  test.each<readonly [readonly string[], boolean]>([
    [[PEER], true],
    [['10.0.0.0/8', '127.0.0.0/30'], true],
    [['::ffff:127.0.0.1'], true],
    [[], false],
    [['127.0.0.2', '127.0.0.128/25', '10.0.0.0/8'], false],
    [['::1', '2001:db8::/32'], false],
    [['::/0'], false],
    [['::/95'], false],
    [['::ffff:0:0/96'], true],
    [['::FFFF:7f00:0/104'], true],
    [['::ffff:127.0.0.2/127'], false],
    [['0.0.0.0/0'], true],
  ])('with %j: %s', async (trusted, isTrusted) => {
    const found = await find({ trusted, headers })
    expect(found.startsWith('http://inside.example/')).toBe(isTrusted)
  })

  test.each<readonly [string, readonly string[], boolean]>([
    ['::1', ['::1'], true],
    ['::1', ['::/0'], true],
    ['::1', ['0.0.0.0/0'], false],
    ['fe80::1%eth0', ['fe80::/10'], true],
    ['fe80::1%eth0', ['fd00::/8'], false],
    ['::ffff:10.1.2.3', ['10.0.0.0/8'], true],
    ['::ffff:10.1.2.3', ['::/0'], false],
    ['10.1.2.3', ['::ffff:10.0.0.0/104'], true],
    ['10.1.2.3', ['::/0'], false],
    ['', ['0.0.0.0/0', '::/0'], false],
    ['/run/api.sock', ['0.0.0.0/0', '::/0'], false],
  ])('from %j with %j: %s', (remoteAddress, trusted, expected) => {
    const socket = Object.defineProperty(new Socket(), 'remoteAddress', { value: remoteAddress })
    expect(createProxyTrust(trusted)({ socket })).toBe(expected)
  })

  test('without a connection is nobody', () => {
    expect(createProxyTrust(['0.0.0.0/0', '::/0'])({})).toBe(false)
  })

  test.each(['10.0.0.0/8', null, { 0: '10.0.0.0/8' }])('cannot be said as %j alone', (trusted) => {
    expect(() => createProxyTrust(trusted as never)).toThrow(/^trustedProxies: /)
  })

  test.each([
    '',
    'localhost',
    'loopback',
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '*',
    '1.2.3',
    '::/129',
    'true',
  ])('cannot be said as %j', (range) => {
    expect(() => createProxyTrust([range])).toThrow(TypeError)
    expect(() => createProxyTrust([range])).toThrow('trustedProxies')
  })
})

test.each([
  '',
  'api.example',
  '/v1',
  'ftp://api.example',
  'https://api.example/?x',
  'https://a:b@api.example',
  'https://api.example/#x',
])('a public URL cannot be %j', (url) => {
  const make = () => createRequestUrlReader(['https://api.example', url], () => false)
  expect(make).toThrow(TypeError)
  expect(make).toThrow('publicUrl')
})

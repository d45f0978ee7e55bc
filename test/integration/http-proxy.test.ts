import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { authorizationUrl, makePkce } from '../support/flow.ts'
import { sendRaw } from '../support/raw.ts'
import { startServer, type TestServer } from '../support/server.ts'

const ISSUER = 'https://id.example'
const KEYS = 'GET /jwks HTTP/1.1'
const THROUGH_PROXY = ['Host: id.example', 'X-Forwarded-Proto: https']

function addressOf(server: TestServer, requestId: string | undefined): unknown {
  const line = server
    .logged()
    .split('\n')
    .find((text) => text.includes(`"${requestId}"`) && text.includes('"event":"request"'))
  return (JSON.parse(line ?? '{}') as Record<string, unknown>)['address']
}

describe('behind a proxy that is trusted', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer((config) => ({
      ...config,
      issuer: ISSUER,
      trustedProxies: ['127.0.0.1', '10.0.0.0/8'],
    }))
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const askWith = (...headers: string[]) => sendRaw(server.url, [KEYS, ...headers])

  test('the issuer is the public URL', async () => {
    expect(server.issuer).toBe(ISSUER)
    const target = 'GET /.well-known/openid-configuration HTTP/1.1'
    const { status, body } = await sendRaw(server.url, [target, ...THROUGH_PROXY])
    expect(status).toBe(200)
    expect(JSON.parse(body)).toMatchObject({ issuer: ISSUER, token_endpoint: `${ISSUER}/token` })
  })

  test.each([
    ['the proxy passes Host', THROUGH_PROXY],
    [
      'it sends X-Forwarded-Host',
      ['Host: inner:3000', 'X-Forwarded-Host: id.example', 'X-Forwarded-Proto: https'],
    ],
    ['it names the default port', ['Host: id.example:443', 'X-Forwarded-Proto: https']],
    [
      'its own proxy has appended',
      ['Host: a', 'X-Forwarded-Host: evil.example, id.example', 'X-Forwarded-Proto: http, https'],
    ],
  ])('a request is served when %s', async (_name, headers) => {
    expect((await askWith(...headers)).status).toBe(200)
  })

  test.each([
    ['nothing is forwarded', []],
    ['the scheme is not', ['Host: id.example']],
    ['the scheme is http', ['Host: id.example', 'X-Forwarded-Proto: http']],
    [
      'the host is another',
      ['Host: id.example', 'X-Forwarded-Proto: https', 'X-Forwarded-Host: evil.example'],
    ],
    ['the port is another', ['Host: id.example:8443', 'X-Forwarded-Proto: https']],
    ['the host cannot be read', ['Host: id.example@evil.example', 'X-Forwarded-Proto: https']],
    ['the scheme is none', ['Host: id.example', 'X-Forwarded-Proto: javascript']],
    [
      'the client came first',
      ['Host: a', 'X-Forwarded-Host: id.example, evil.example', 'X-Forwarded-Proto: https'],
    ],
    [
      'only the header Forwarded says so',
      ['Host: a', 'Forwarded: for=1.2.3.4;host=id.example;proto=https'],
    ],
  ])('a request is refused when %s', async (_name, headers) => {
    const { status, body } = await askWith(...headers)
    expect(status).toBe(421)
    expect(JSON.parse(body)).toMatchObject({
      error: 'misdirected_request',
      error_description: expect.stringMatching(
        /^This server is https:\/\/id\.example, but .*trustedProxies/,
      ),
    })
  })

  test.each([
    ['203.0.113.9', '203.0.113.9'],
    ['6.6.6.6, 203.0.113.9', '203.0.113.9'],
    ['203.0.113.9, 10.1.2.3', '203.0.113.9'],
    ['2001:db8::1', '2001:db8::1'],
    ['203.0.113.7:4711', '203.0.113.7'],
    ['[2001:db8::7]:443', '2001:db8::7'],
    ['[2001:db8::7]', '2001:db8::7'],
    ['::ffff:203.0.113.9', '203.0.113.9'],
    ['[::ffff:203.0.113.9]:443', '203.0.113.9'],
    ['203.0.113.9:1, 10.1.2.3:2', '203.0.113.9'],
    ['203.0.113.9:port', '127.0.0.1'],
    ['not an address', '127.0.0.1'],
    ['', '127.0.0.1'],
    ['10.1.2.3', '127.0.0.1'],
  ])('of "%s" the client is %s', async (forwarded, expected) => {
    const { headers } = await askWith(...THROUGH_PROXY, `X-Forwarded-For: ${forwarded}`)
    expect(addressOf(server, headers['x-request-id'])).toBe(expected)
  })

  test('browsers are told to stay on https, and cookies are pinned to this host', async () => {
    const { pathname, search } = new URL(authorizationUrl(ISSUER, makePkce().challenge))
    const line = `GET ${pathname}${search} HTTP/1.1`
    const { status, headers } = await sendRaw(server.url, [line, ...THROUGH_PROXY])
    expect(status).toBe(303)
    expect(headers['strict-transport-security']).toContain('max-age=31536000')
    expect(headers['set-cookie']).toMatch(/^__(Host|Secure)-.*; secure/i)
    expect(headers['location']).toMatch(/^(https:\/\/id\.example)?\/interaction\//)
  })
})

describe('without a trusted proxy', () => {
  test('what X-Forwarded-* say is ignored', async () => {
    await using server = await startServer()
    const forged = ['X-Forwarded-Host: evil.example', 'X-Forwarded-Proto: https']
    const { status, headers, body } = await sendRaw(server.url, [
      'GET /.well-known/openid-configuration HTTP/1.1',
      ...forged,
      'X-Forwarded-For: 6.6.6.6',
    ])
    expect(status).toBe(200)
    expect(body).not.toMatch(/evil|https:/)
    expect(addressOf(server, headers['x-request-id'])).toBe('127.0.0.1')
  })

  test('a header cannot make up for the wrong Host', async () => {
    await using server = await startServer()
    const { host } = new URL(server.issuer)
    const headers = ['Host: evil.example', `X-Forwarded-Host: ${host}`]
    expect((await sendRaw(server.url, [KEYS, ...headers])).status).toBe(421)
  })

  test('guessing cannot hide behind forged addresses', async () => {
    await using server = await startServer((config) => ({
      ...config,
      signIn: { perAddress: { attempts: 3, windowSeconds: 900 } },
    }))
    const statuses: number[] = []
    for (let guess = 0; guess < 4; guess += 1) {
      const body = `grant_type=client_credentials&client_id=service&client_secret=wrong-${guess}-wrong-wrong`
      const { status } = await sendRaw(
        server.url,
        [
          'POST /token HTTP/1.1',
          'Content-Type: application/x-www-form-urlencoded',
          `X-Forwarded-For: 203.0.113.${guess}`,
          `Content-Length: ${body.length}`,
        ],
        body,
      )
      statuses.push(status)
    }
    expect(statuses.slice(0, 3)).not.toContain(429)
    expect(statuses[3]).toBe(429)
  })
})

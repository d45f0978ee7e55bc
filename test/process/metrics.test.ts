import { once } from 'node:events'
import { createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createBrowser } from '../support/browser.ts'
import { authorizationUrl, basic, makePkce, obtainTokens, requestToken } from '../support/flow.ts'
import { sendBytes, sendRaw } from '../support/raw.ts'
import { SERVICE_SECRET, startServer, type TestServer } from '../support/server.ts'

const withMetrics = (config: ConfigInput): ConfigInput => ({ ...config, metrics: { port: 0 } })

const SERVICE = { authorization: basic('service', SERVICE_SECRET) }
const CREDENTIALS = { grant_type: 'client_credentials', scope: 'notes:read' }

/** Values by name and labels, as Prometheus would read them. */
async function read({ metricsUrl }: TestServer): Promise<Record<string, number>> {
  const response = await fetch(metricsUrl)
  expect(response.status).toBe(200)
  const text = await response.text()
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at), Number(line.slice(at + 1))]
    }),
  )
}

/** A request is counted when its answer has gone out, which is a little after it has come in here. */
async function readUntil(server: TestServer, name: string, value: number) {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const values = await read(server)
    if (values[name] === value) return values
  }
  return read(server)
}

describe('the listener of the metrics', () => {
  test('answers GET /metrics, in the format of Prometheus, and nothing else', async () => {
    await using server = await startServer(withMetrics)
    const response = await fetch(server.metricsUrl)
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(await response.text()).toMatch(/^# HELP portreeve_signed_in_total /)
    const requests = [
      'POST /metrics',
      'HEAD /metrics',
      'DELETE /metrics',
      'GET /',
      'GET /metrics/',
      'GET /Metrics',
      'GET /metrics?x=1',
      'GET /token',
      'GET /livez',
      'GET /readyz',
      'GET /.well-known/openid-configuration',
      'POST /token',
    ]
    for (const request of requests) {
      const { status, body } = await sendRaw(server.metricsUrl, [`${request} HTTP/1.1`])
      expect([request, status]).toEqual([request, 404])
      expect(body).not.toContain('portreeve_')
    }
  })

  test('is not where the clients are, and not there at all where nobody asks for it', async () => {
    await using server = await startServer(withMetrics)
    await using without = await startServer()
    for (const url of [server.url, without.url]) {
      const { status, text } = await createBrowser(url).get(`${url}/metrics`)
      expect(status).toBe(404)
      expect(text).not.toContain('portreeve_')
    }
    expect(without.metricsUrl).toBe('')
    expect(without.logged()).not.toContain('metricsUrl')
    expect(server.logged()).toContain(`"metricsUrl":"${server.metricsUrl}"`)
  })

  test('on a port that is taken keeps the server from starting, which names the setting', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const address = taken.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const start = startServer((config) => ({ ...config, metrics: { port } }))
    await expect(start).rejects.toMatchObject({
      code: 'misconfigured',
      message: `Port ${port} on 127.0.0.1 is taken by another program. Stop it, or choose another port with metrics.port.`,
    })
    taken.close()
  })

  test('on an address that is not here keeps the server from starting, too', async () => {
    const metrics = { host: '192.0.2.1', port: 0 }
    const start = startServer((config) => ({ ...config, metrics }))
    await expect(start).rejects.toMatchObject({
      code: 'misconfigured',
      message: 'This machine has no address 192.0.2.1. Change metrics.host.',
    })
  })

  test('is gone when the server has stopped', async () => {
    const server = await startServer(withMetrics)
    await fetch(server.metricsUrl)
    await server[Symbol.asyncDispose]()
    await expect(fetch(server.metricsUrl)).rejects.toThrow('fetch failed')
  })
})

describe('the metrics', () => {
  test('count what happens in a flow, once', async () => {
    await using server = await startServer(withMetrics)
    await obtainTokens(server.issuer)
    await requestToken(server.issuer, CREDENTIALS, SERVICE)
    await requestToken(server.issuer, { grant_type: 'refresh_token', refresh_token: 'x' })
    const values = await read(server)
    expect(values).toMatchObject({
      portreeve_signed_in_total: 1,
      portreeve_consent_given_total: 1,
      'portreeve_token_issued_total{grant_type="authorization_code"}': 1,
      'portreeve_token_issued_total{grant_type="client_credentials"}': 1,
      'portreeve_request_refused_total{endpoint="token",error="invalid_grant"}': 1,
      'portreeve_object_changed_total{kind="user",by="file"}': 3,
      'portreeve_object_changed_total{kind="client",by="file"}': 3,
      portreeve_signed_out_total: 0,
    })
  })

  test('measure every request by what it is for and how it ended', async () => {
    await using server = await startServer(withMetrics)
    const browser = createBrowser(server.issuer)
    await browser.get(authorizationUrl(server.issuer, makePkce().challenge))
    await requestToken(server.issuer, CREDENTIALS, SERVICE)
    await requestToken(server.issuer, { grant_type: 'x' })
    await fetch(`${server.url}/livez`)
    await sendRaw(server.url, ['GET /token HTTP/1.1', 'Host: evil.example'])
    await sendBytes(server.url, Buffer.from('no HTTP at all\r\n\r\n'))
    const count = (route: string, status: string) =>
      `portreeve_http_request_duration_seconds_count{route="${route}",status="${status}"}`
    const values = await readUntil(server, count('token', '4xx'), 2)
    expect(values).toMatchObject({
      [count('authorization', '3xx')]: 1,
      [count('interaction', '2xx')]: 1,
      [count('token', '2xx')]: 1,
      [count('token', '4xx')]: 2,
      [count('probe', '2xx')]: 1,
    })
  })

  test('measure a request whose sender goes away', async () => {
    await using server = await startServer(withMetrics)
    const abort = new AbortController()
    const body = new ReadableStream({
      start: (stream) => stream.enqueue(Buffer.from('grant_type=')),
    })
    const request = { method: 'POST', body, duplex: 'half', signal: abort.signal, headers: SERVICE }
    const asked = fetch(`${server.url}/token`, request as RequestInit)
    // That it has arrived shows in a later one on another connection.
    await fetch(`${server.url}/livez`)
    abort.abort()
    await expect(asked).rejects.toThrow(/abort/)
    const name = 'portreeve_http_request_duration_seconds_count{route="token",status="aborted"}'
    expect(await readUntil(server, name, 1)).toMatchObject({ [name]: 1 })
  })

  test('have no series for what strangers make up', async () => {
    await using server = await startServer(withMetrics)
    const ask = async (n: number) => {
      await fetch(`${server.url}/nowhere/${n}`)
      await fetch(`${server.url}/auth/${n}`)
      await fetch(`${server.url}/auth?client_id=${n}&response_type=${n}`)
      const body = { grant_type: `grant-${n}`, scope: `scope-${n}`, client_id: `client-${n}` }
      await requestToken(server.issuer, body, {})
      await requestToken(server.issuer, body, { authorization: basic(`client-${n}`, 'x') })
      await requestToken(server.issuer, { ...body, client_id: 'web' }, {})
    }
    const names = async () =>
      Object.keys(await read(server)).filter((name) => name.startsWith('portreeve_'))
    await ask(1)
    const few = await names()
    for (let n = 2; n < 20; n += 1) await ask(n)
    expect(await names()).toEqual(few)
    expect(few.join('\n')).not.toMatch(/client-1|grant-1|scope-1|nowhere/)
  })
})

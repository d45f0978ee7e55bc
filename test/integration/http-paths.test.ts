import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { basic } from '../support/flow.ts'
import { sendRaw } from '../support/raw.ts'
import { SERVICE_SECRET, startServer, type TestServer } from '../support/server.ts'

const FORM = 'Content-Type: application/x-www-form-urlencoded'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server[Symbol.asyncDispose]())

const ask = (target: string, ...headers: string[]) =>
  sendRaw(server.url, [`GET ${target} HTTP/1.1`, ...headers])

describe('a path that plays tricks', () => {
  const form = 'grant_type=client_credentials&scope=notes:read'
  const askForToken = (target: string) => {
    const headers = [
      FORM,
      `Authorization: ${basic('service', SERVICE_SECRET)}`,
      `Content-Length: ${form.length}`,
    ]
    const bytes = Buffer.from(target).toString('latin1')
    return sendRaw(server.url, [`POST ${bytes} HTTP/1.1`, ...headers], form)
  }

  test.each([
    ['//token'],
    ['/token/'],
    ['/TOKEN'],
    ['/./token'],
    ['/x/../token'],
    ['/%2e%2e/token'],
    ['/token%00'],
    ['/token%2f'],
    ['/%74oken'],
    ['/token;x=y'],
    ['/\\token'],
    ['/%5ctoken'],
    ['/%ff'],
    ['/%'],
    ['/%u0041'],
    ['/ü'],
    ['/__proto__'],
    ['/constructor'],
    ['/assets/../../package.json'],
    ['/assets/%2e%2e/%2e%2e/package.json'],
    ['/assets/..%2f..%2fpackage.json'],
    ['/assets/%00'],
    ['/assets/constructor'],
    ['/interaction/..%2f..%2ftoken'],
    ['/interaction/%00'],
    ['/interaction/'],
    ['/auth/../jwks'],
    ['/auth/%ff'],
    ['a very long one', `/${'a/'.repeat(3000)}`],
    ['a very long interaction', `/interaction/${'a'.repeat(3000)}`],
  ])('(%s) leads nowhere', async (name, target = name) => {
    const { status, body } = await askForToken(target)
    expect([400, 404, 405]).toContain(status)
    expect(body).not.toMatch(/access_token|devDependencies|node_modules/)
  })

  test('is all that is wrong with these requests', async () => {
    const { status, body } = await askForToken('/token')
    expect([status, body]).toEqual([200, expect.stringContaining('access_token')])
  })

  test('in the absolute form counts for more than the header Host', async () => {
    expect((await ask('http://evil.example/jwks')).status).toBe(421)
    expect((await ask(`${server.issuer}/jwks`, 'Host: evil.example')).status).toBe(200)
  })
})

import { describe, expect, test } from 'vitest'
import { readSettings } from './gateway-settings.ts'

const ENVIRONMENT = { SECRET_KEY: 'a text that is long enough for HS256, by far' }

function read(...args: readonly string[]): ReturnType<typeof readSettings> {
  return readSettings(args, ENVIRONMENT)
}

describe('the settings of the gateway', () => {
  test('have defaults', async () => {
    const settings = read()
    await using verifier = settings?.verifier
    expect(verifier?.issuers).toEqual(['jwtgo.io'])
    expect(settings).toMatchObject({ port: 9001, json: false, isShared: true })
    expect(settings?.gateway).toMatchObject({
      connectTimeoutMs: 5000,
      headersTimeoutMs: 15_000,
      wholeTimeoutMs: 60_000,
      maxBodyBytes: 100 * 2 ** 20,
      namesChecks: true,
      maxUnderWay: 256,
      passedHeaders: new Set(),
    })
    const routes = settings?.gateway.routes.map(({ prefix, origin }) => [prefix, origin.href])
    expect(routes).toEqual([
      ['/', 'http://127.0.0.1:9002/'],
      ['/orders', 'http://127.0.0.1:9003/'],
    ])
  })

  test("with an issuer's keys, name no check and read no header Token", async () => {
    const settings = read('--issuer', 'https://as.example', '--audience', 'https://api.example/')
    await using verifier = settings?.verifier
    expect(verifier?.issuers).toEqual(['https://as.example'])
    expect(settings?.gateway.namesChecks).toBe(false)
    expect(settings?.gateway.token.place).toBe('header Authorization')
  })

  test('are none where help is asked for', () => {
    expect(readSettings(['--help'], {})).toBeUndefined()
  })

  test('name the headers that are passed as well', () => {
    const settings = read('--pass-header', 'X-Tenant', '--pass-header', 'b3')
    expect(settings?.gateway.passedHeaders).toEqual(new Set(['x-tenant', 'b3']))
  })

  test.each([
    ['/a=https://a.example'],
    ['/a/b.c-d=https://a.example:8443/'],
    ['/=http://localhost:1'],
    ['/=http://[::1]:1'],
  ])('take the route %s', (route) => {
    expect(read('--route', route)?.gateway.routes).toHaveLength(1)
  })

  test.each<[string[], RegExp]>([
    [['--route', '/a=http://a.example'], /^--route: expected https/],
    [['--route', '/a=http://127.0.0.1.evil.example'], /^--route: expected https/],
    [['--route', '/a=https://user:secret@a.example'], /^--route: expected https/],
    [['--route', '/a=https://a.example/b'], /^--route: expected https/],
    [['--route', '/a=https://a.example?x'], /^--route: expected https/],
    [['--route', '/a=file:///etc/passwd'], /^--route: expected https/],
    [['--route', '/a='], /^--route: expected https/],
    [['--route', 'https://a.example'], /^--route: expected a path/],
    [['--route', '/a/=https://a.example'], /^--route: expected a path/],
    [['--route', '/../a=https://a.example'], /^--route: expected a path/],
    [['--route', '/a=https://a.example', '--route', '/a=https://b.example'], /is there twice/],
    [['--timeout', '0'], /^--timeout: expected 1 to 3600/],
    [['--connect-timeout', '-1'], /--connect-timeout/],
    [['--headers-timeout', '1e3'], /^--headers-timeout: expected 0 to 3600/],
    [['--max-body', 'x'], /^--max-body: expected 0 to/],
    [['--pass-header', 'Cookie'], /^--pass-header: expected a name/],
    [['--pass-header', 'authorization'], /^--pass-header: expected a name/],
    [['--pass-header', 'X-Request-Id'], /^--pass-header: expected a name/],
    [['--pass-header', 'Transfer-Encoding'], /^--pass-header: expected a name/],
    [['--pass-header', 'X_User'], /^--pass-header: expected a name/],
    [['--pass-header', 'X-A: b'], /^--pass-header: expected a name/],
    [['--port', '65536'], /^--port: expected 0 to 65535/],
    [['--issuer', 'https://as.example'], /^--audience is missing/],
    [['--issuer', 'https://as.example', '--issuer-name', 'x'], /^--issuer-name does not go with/],
    [['--issuer', 'https://as.example', '--algorithm', 'HS256'], /^--algorithm does not go with/],
    [['--algorithm', 'HS512'], /^SECRET_KEY: .* 64 bytes for HS512/],
    [['--colour'], /^Unknown option '--colour'/],
  ])('are refused with %j, without quoting a secret', (args, message) => {
    expect(() => read(...args)).toThrow(TypeError)
    expect(() => read(...args)).toThrow(message)
    expect(() => read(...args)).not.toThrow(/user:secret|long enough/)
  })
})

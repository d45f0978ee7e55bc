import { once } from 'node:events'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { request as httpsRequest } from 'node:https'
import type { IncomingMessage } from 'node:http'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { decodeJwt } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createCertificate } from '../support/certificates.ts'
import { findFreePort } from '../support/engines/service.ts'
import { startOpaqueIssuer } from '../support/introspection.ts'
import { startProgram, type Program } from '../support/program.ts'
import { readSamples, type Sample } from '../support/readme.ts'

/** What a reader of the toolkit's README.md gets who does what it says. */
const ROOT = path.resolve(import.meta.dirname, '../..')
const NOTES = 'https://notes.example/'
const samples = await readSamples()

interface RunOptions {
  readonly args?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  /** In place of the one of README.md. */
  readonly issuer?: string
}

/** A program of README.md that listens. */
interface RunningApi extends Program {
  readonly port: number
  ask(place: string, token?: string, method?: string): Promise<Reply>
}

interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly body: unknown
}

const cleanUp = new AsyncDisposableStack()
/** By the ports of README.md. Those that are not here are any. */
const ports = new Map<string, number>()
let folder = ''
let written = 0

beforeAll(async () => {
  // Inside of the repository, where the packages are found that the samples import.
  const cache = path.join(ROOT, 'node_modules/.cache')
  await mkdir(cache, { recursive: true })
  folder = cleanUp.use(await mkdtempDisposable(path.join(cache, 'portreeve-readme-'))).path
  ports.set('3000', await findFreePort())
  const issuer = cleanUp.use(await run(findSample('issuer.mjs')))
  await issuer.firstLine
  ports.set('3003', await findFreePort())
})

afterAll(() => cleanUp.disposeAsync())

function findSample(where: string): Sample {
  const found = samples.find(({ name, section }) => name === where || section === where)
  if (found === undefined) throw new TypeError(`README.md has no sample ${where}`)
  return found
}

/** Runs a sample as it stands, but for its ports. It prints the one that it listens on. */
async function run(
  { file }: Sample,
  { args = [], environment, issuer }: RunOptions = {},
): Promise<Program> {
  const code = file
    .replace(
      /\.listen\((\d+), '127\.0\.0\.1'\)/,
      (_whole, port: string) =>
        `.listen(${ports.get(port) ?? 0}, '127.0.0.1', function () { console.log(this.address().port) })`,
    )
    .replaceAll(/http:\/\/localhost:(3\d{3})\b/g, (whole, port: string) =>
      issuer !== undefined && port === '3000'
        ? issuer
        : `http://localhost:${ports.get(port) ?? whole}`,
    )
  written += 1
  const place = path.join(folder, `sample-${written}.mjs`)
  await writeFile(place, code)
  const options = { folder, ...(environment ? { environment } : {}) }
  return startProgram(path.relative(ROOT, place), args, options)
}

async function runApi(where: string, options?: RunOptions): Promise<RunningApi> {
  const program = await run(findSample(where), options)
  const port = Number(await program.firstLine)
  if (!(port > 0)) throw new Error((await program.ended).stderr)
  return Object.assign(program, {
    port,
    async ask(place: string, token?: string, method = 'GET') {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
      const response = await fetch(`http://127.0.0.1:${port}${place}`, { method, headers })
      const body = await response.text()
      const isJson = response.headers.get('content-type')?.startsWith('application/json')
      return {
        status: response.status,
        headers: response.headers,
        body: isJson ? (JSON.parse(body) as unknown) : body,
      }
    },
  })
}

/** A token of the issuer of README.md. */
async function makeToken(claims: Readonly<Record<string, unknown>>): Promise<string> {
  const url = `http://127.0.0.1:${ports.get('3000')}`
  return (await fetch(url, { method: 'POST', body: JSON.stringify(claims) })).text()
}

function challengeOf({ status, headers }: Reply): readonly unknown[] {
  return [status, headers.get('www-authenticate')]
}

test('the first ten minutes end in a 401, a 200 and a 403', async () => {
  await using api = await runApi('api.mjs')
  expect(challengeOf(await api.ask('/notes'))).toEqual([401, 'Bearer'])
  const token = await makeToken({ scope: 'notes:read' })
  const good = await api.ask('/notes', token)
  expect([good.status, good.body]).toEqual([200, { owner: 'alice', notes: [] }])
  expect(challengeOf(await api.ask('/notes', token, 'DELETE'))).toEqual([
    403,
    'Bearer error="insufficient_scope", scope="notes:write"',
  ])
  const foreign = await makeToken({ scope: 'notes:read', aud: 'https://other.example/' })
  expect(challengeOf(await api.ask('/notes', foreign))).toEqual([
    401,
    'Bearer error="invalid_token"',
  ])
  const kinds = [...api.logged().matchAll(/"kind":"(\w+)"/g)].map(([, kind]) => kind)
  expect(kinds).toEqual(['no_token', 'insufficient_scope', 'wrong_audience'])
  api.signal('SIGTERM')
  expect(await api.ended).toMatchObject({ code: 0 })
})

test('the issuer answers what is no JSON, and goes on', async () => {
  const url = `http://127.0.0.1:${ports.get('3000')}`
  const { status } = await fetch(url, { method: 'POST', body: '{' })
  expect(status).toBe(400)
  expect(decodeJwt(await makeToken({ sub: 'bob' })).sub).toBe('bob')
})

describe('lines for the end of api.mjs', () => {
  test('start all together, in the order of the page', async () => {
    const api = findSample('api.mjs').file
    const lines = samples.filter(({ name }) => name === undefined)
    expect(lines.length).toBeGreaterThan(10)
    const file = api + lines.map((sample) => sample.file.slice(api.length)).join('\n')
    const TOKEN_SECRET = Buffer.alloc(32, 's').toString('base64')
    const environment = { TOKEN_SECRET, NOTES_API_SECRET: 'a secret' }
    await using all = await run({ section: '', name: undefined, file }, { environment })
    expect(Number(await all.firstLine)).toBeGreaterThan(0)
  })

  test('take a token that is made with the shared secret', async () => {
    const TOKEN_SECRET = Buffer.alloc(32, 's').toString('base64')
    const environment = { TOKEN_SECRET }
    await using mint = await run(findSample('mint.mjs'), { environment })
    const { stdout } = await mint.ended
    const [sample] = samples.filter(({ name, file }) => !name && file.includes('protectShared'))
    if (sample === undefined) throw new TypeError('README.md has no shared secret')
    await using api = await run(sample, { environment })
    const url = `http://127.0.0.1:${await api.firstLine}/shared-secret`
    const headers = { authorization: `Bearer ${stdout.trim()}` }
    expect(await (await fetch(url, { headers })).json()).toEqual({ owner: 'alice' })
  })

  test('decide by scopes, by roles, and by whose it is', async () => {
    await using api = await runApi('Scopes, roles, and what is whose')
    const status = async (place: string, method: string, claims: Record<string, unknown>) =>
      (await api.ask(place, await makeToken(claims), method)).status
    expect(await status('/notes/1', 'GET', { scope: 'notes:read' })).toBe(200)
    expect(await status('/notes/2', 'GET', { scope: 'notes:read' })).toBe(403)
    expect(await status('/notes/1', 'GET', { scope: 'notes:read', sub: 'bob' })).toBe(403)
    const scope = 'users:read users:write'
    expect(await status('/users/1', 'DELETE', { scope, roles: ['support'] })).toBe(204)
    expect(await status('/users/1', 'DELETE', { scope, roles: ['other'] })).toBe(403)
    expect(await status('/users/1', 'DELETE', { scope })).toBe(403)
    expect(await status('/users/1', 'DELETE', { scope: 'users:read', roles: ['admin'] })).toBe(403)
  })

  test('give the claims a type', async () => {
    await using api = await runApi('Claims with a type')
    const good = await api.ask('/tenant', await makeToken({ tenant: 'acme' }))
    expect([good.status, good.body]).toEqual([200, { tenant: 'acme' }])
    expect((await api.ask('/tenant', await makeToken({ tenant: 1 }))).status).toBe(401)
    expect(api.logged()).toContain('wrong_claims')
  })

  test('find a route without a policy', async () => {
    const sample = findSample('No route without a policy')
    await using api = await runApi('No route without a policy')
    const { status, body } = await api.ask('/healthz')
    expect([status, body]).toEqual([200, { status: 'ok' }])
    const open = 'router.get("/open", (ctx) => { ctx.body = {} })\n'
    const file = sample.file.replace('assertProtected(router)', (call) => `${open}${call}`)
    await using careless = await run({ ...sample, file })
    const { code, stderr } = await careless.ended
    expect(code).toBe(1)
    expect(stderr).toContain('TypeError: no policy: HEAD,GET /open')
  })

  test('ask for a recent sign-in', async () => {
    await using api = await runApi('A recent sign-in, or a better one (RFC 9470)')
    const { iat = 0 } = decodeJwt(await makeToken({}))
    const acr = 'urn:example:two-factors'
    const fresh = await makeToken({ acr, auth_time: iat - 10 })
    expect((await api.ask('/payments', fresh, 'POST')).status).toBe(204)
    const old = await makeToken({ acr, auth_time: iat - 400 })
    expect(challengeOf(await api.ask('/payments', old, 'POST'))).toEqual([
      401,
      `Bearer error="insufficient_user_authentication", acr_values="${acr}", max_age="300"`,
    ])
  })

  test('serve the metadata, and name them in each challenge', async () => {
    await using api = await runApi('Metadata (RFC 9728)')
    const { status, body } = await api.ask('/.well-known/oauth-protected-resource')
    expect([status, body]).toMatchObject([
      200,
      { resource: NOTES, bearer_methods_supported: ['header'] },
    ])
    expect(challengeOf(await api.ask('/shared'))).toEqual([
      401,
      `Bearer resource_metadata="${NOTES}.well-known/oauth-protected-resource"`,
    ])
    expect((await api.ask('/shared', await makeToken({ scope: 'notes:read' }))).status).toBe(200)
  })

  test('ask about opaque tokens', async () => {
    await using issuer = await startOpaqueIssuer()
    const environment = { NOTES_API_SECRET: 'a secret' }
    const where = 'Opaque tokens (introspection, RFC 7662)'
    await using api = await runApi(where, { environment, issuer: issuer.url })
    const token = issuer.issue({ aud: NOTES, exp: 2 ** 40 })
    const { status, body } = await api.ask('/opaque', token)
    expect([status, body]).toEqual([200, { owner: 'acc_alice' }])
    expect((await api.ask('/opaque', 'another')).status).toBe(401)
    await using careless = await run(findSample(where))
    expect((await careless.ended).stderr).toContain('is its variable set?')
  })

  test('do what each route says while nothing is known of revocations', async () => {
    const environment = { NOTES_API_SECRET: 'a secret' }
    const where = 'Revoked before its time'
    await using api = await runApi(where, { environment })
    const status = async (place: string, method: string, claims: Record<string, unknown>) =>
      (await api.ask(place, await makeToken(claims), method)).status
    expect(await status('/followed', 'GET', { scope: 'notes:read' })).toBe(200)
    expect(await status('/drafts', 'GET', {})).toBe(200)
    expect(await status('/followed', 'POST', { scope: 'notes:write' })).toBe(503)
    expect(await status('/accounts', 'GET', {})).toBe(503)
    expect(api.logged()).toContain('names no portreeve_revocation_feed')
    await using careless = await run(findSample(where))
    expect((await careless.ended).stderr).toContain('is its variable set?')
  })

  test('count what was decided', async () => {
    await using api = await runApi('Metrics')
    await api.ask('/counted')
    const { headers, body } = await api.ask('/metrics')
    expect(headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(body).toContain('portreeve_resource_server_decisions_total{outcome="no_token"} 1\n')
  })

  test.each([
    'Certificates (mutual TLS, RFC 8705)',
    'A shared secret (HS256, HS512)',
    'Several issuers',
    'The token in another place',
    'Revoked before its time',
    'See why',
  ])('of “%s” leave the rest as it was', async (section) => {
    const [sample] = samples.filter((each) => each.section === section && !each.name)
    if (sample === undefined) throw new TypeError(`README.md has no lines in ${section}`)
    const TOKEN_SECRET = Buffer.alloc(32, 's').toString('base64')
    const environment = { TOKEN_SECRET, NOTES_API_SECRET: 'a secret' }
    await using api = await run(sample, { environment })
    const port = Number(await api.firstLine)
    const authorization = `Bearer ${await makeToken({ scope: 'notes:read' })}`
    const answer = await fetch(`http://127.0.0.1:${port}/notes`, { headers: { authorization } })
    expect(answer.status).toBe(200)
  })
})

test('a client proves its key', async () => {
  await using api = await runApi('dpop-api.mjs')
  await using client = await run(findSample('dpop-client.mjs'))
  const { code, stdout } = await client.ended
  const algs = 'ES256 Ed25519 EdDSA PS256 RS256'
  expect([code, stdout]).toEqual([
    0,
    `401 DPoP error="use_dpop_nonce", algs="${algs}"\n200 {"owner":"alice"}\n`,
  ])
  const unbound = await api.ask('/notes', await makeToken({ scope: 'notes:read' }))
  expect(challengeOf(unbound)).toEqual([401, `DPoP error="invalid_token", algs="${algs}"`])
})

test('a client shows its certificate', async () => {
  const [server, client, other] = await Promise.all(
    ['server', 'client', 'other'].map((name) => createCertificate(name)),
  )
  await writeFile(path.join(folder, 'server.key'), server?.key ?? '')
  await writeFile(path.join(folder, 'server.pem'), server?.pem ?? '')
  await using api = await runApi('mtls-api.mjs')
  const cnf = { 'x5t#S256': client?.thumbprint }
  const token = await makeToken({ scope: 'notes:read', cnf })
  const ask = async (certificate: typeof client) => {
    const request = httpsRequest(`https://localhost:${api.port}/notes`, {
      ca: server?.pem,
      headers: { authorization: `Bearer ${token}` },
      agent: false,
      ...(certificate && { cert: certificate.pem, key: certificate.key }),
    }).end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    return [response.statusCode, JSON.parse(await text(response))]
  }
  expect(await ask(client)).toEqual([200, { owner: 'alice' }])
  expect(await ask(other)).toMatchObject([401, { error: 'invalid_token' }])
  expect(await ask(undefined)).toMatchObject([401, { error: 'invalid_token' }])
})

test('explain.mjs says why', async () => {
  const args = [await makeToken({ scope: 'notes:read' })]
  await using explain = await run(findSample('explain.mjs'), { args })
  const { code, stdout } = await explain.ended
  expect(code).toBe(0)
  expect(stdout).toContain('refused {')
  const check = {
    check: 'scope',
    passed: false,
    expected: ['notes:write'],
    received: ['notes:read'],
  }
  expect(stdout).toContain(JSON.stringify(check))
})

test('token.mjs needs no request', async () => {
  await using good = await run(findSample('token.mjs'), {
    args: [await makeToken({ scope: 'notes:read' })],
  })
  expect(await good.ended).toMatchObject({ code: 0, stdout: 'alice true\n' })
  await using none = await run(findSample('token.mjs'))
  expect((await none.ended).stdout).toContain("kind: 'malformed'")
})

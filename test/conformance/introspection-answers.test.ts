/**
 * What an issuer may say about a token (RFC 7662 §2.2), what it says by mistake, and what somebody says
 * in its place. Only a good access token for this API is let in. What is no answer is 503, because then
 * nobody knows whether the token is good: never 401, and never 200.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import Koa from 'koa'
import { describe, expect, test } from 'vitest'
import { createProtect, type Refusal, type Verifier } from '../../resource-server/index.ts'
import { judge, startOpaqueIssuer, type OpaqueIssuer } from '../support/introspection.ts'
import { API, fail, sendJson, type Answer } from '../support/issuer.ts'

interface Api extends AsyncDisposable {
  readonly refusals: readonly Refusal[]
  send(token: string): Promise<Response>
}

async function startApi(verifier: Verifier): Promise<Api> {
  const refusals: Refusal[] = []
  const protect = createProtect(verifier, { onRefusal: (refusal) => void refusals.push(refusal) })
  const app = new Koa().use(protect({ scope: 'notes:read' })).use((ctx) => {
    ctx.body = { subject: ctx.state.auth.subject }
  })
  const server = createServer((request, response) => void app.callback()(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  return {
    refusals,
    send: (token) => fetch(url, { headers: { authorization: `Bearer ${token}` } }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const hour = (issuer: OpaqueIssuer, hours: number) =>
  Math.floor(issuer.clock.now() / 1000) + hours * 3600

type Change = (issuer: OpaqueIssuer) => Record<string, unknown>

describe('a token is refused as invalid, and nothing more is said,', () => {
  test.each<readonly [string, Change, string]>([
    ['that is not active', () => ({ active: false }), 'inactive'],
    ['that has expired', (i) => ({ exp: hour(i, -1) }), 'expired'],
    ['that is not valid before an hour', (i) => ({ nbf: hour(i, 1) }), 'not_yet_valid'],
    ['that is issued in an hour', (i) => ({ iat: hour(i, 1) }), 'not_yet_valid'],
    ['of another issuer', () => ({ iss: 'https://other.example' }), 'wrong_issuer'],
    ['of an issuer spelt otherwise', (i) => ({ iss: `${i.url}/` }), 'wrong_issuer'],
    ['for another API', () => ({ aud: 'https://other.example/' }), 'wrong_audience'],
    ['for others', () => ({ aud: ['https://a.example/', 'web'] }), 'wrong_audience'],
    ['for an API spelt otherwise', () => ({ aud: API.toUpperCase() }), 'wrong_audience'],
    ['for nobody', () => ({ aud: undefined }), 'missing_claim'],
    ['without exp', () => ({ exp: undefined }), 'missing_claim'],
    ['without client_id', () => ({ client_id: undefined }), 'missing_claim'],
    ['without sub', () => ({ sub: undefined }), 'missing_claim'],
    ['of no kind', () => ({ token_type: undefined }), 'missing_claim'],
    ['that is for refreshing (Ory)', () => ({ token_use: 'refresh_token' }), 'wrong_type'],
    ['that is for refreshing (Keycloak)', () => ({ typ: 'Refresh' }), 'wrong_type'],
    ['that is for refreshing offline', () => ({ typ: 'Offline' }), 'wrong_type'],
    ['that is an ID token', () => ({ typ: 'ID' }), 'wrong_type'],
    ['that is none of OAuth', () => ({ token_type: 'N_A' }), 'wrong_type'],
    ['of the type mac', () => ({ token_type: 'mac' }), 'wrong_type'],
    ['with aud in an object', () => ({ aud: { [API]: true } }), 'malformed_claim'],
    ['with aud null', () => ({ aud: null }), 'malformed_claim'],
    ['with an empty aud', () => ({ aud: [] }), 'malformed_claim'],
    ['with a nested aud', () => ({ aud: [[API]] }), 'malformed_claim'],
    ['with exp in a text', (i) => ({ exp: String(hour(i, 1)) }), 'malformed_claim'],
    ['with exp null', () => ({ exp: null }), 'malformed_claim'],
    ['with exp true', () => ({ exp: true }), 'malformed_claim'],
    ['with a negative nbf', () => ({ nbf: -1 }), 'malformed_claim'],
    ['with sub as a number', () => ({ sub: 7 }), 'malformed_claim'],
    ['with an empty sub', () => ({ sub: '' }), 'malformed_claim'],
    ['with sub null', () => ({ sub: null }), 'malformed_claim'],
    ['with client_id in a list', () => ({ client_id: ['web'] }), 'malformed_claim'],
    ['with iss as a list', (i) => ({ iss: [i.url] }), 'malformed_claim'],
    ['with scope in a list', () => ({ scope: ['notes:read'] }), 'malformed_claim'],
    ['with scope null', () => ({ scope: null }), 'malformed_claim'],
    ['with roles in a text', () => ({ roles: 'admin' }), 'malformed_claim'],
    ['with token_type as a list', () => ({ token_type: ['Bearer'] }), 'wrong_type'],
    ['bound to a key', () => ({ cnf: { jkt: 'x' } }), 'sender_constrained'],
    ['bound to a certificate', () => ({ cnf: { 'x5t#S256': 'x' } }), 'sender_constrained'],
    ['bound in no known way', () => ({ cnf: { kid: 'x' } }), 'sender_constrained'],
    ['bound to nothing', () => ({ cnf: {} }), 'sender_constrained'],
    ['with cnf null', () => ({ cnf: null }), 'sender_constrained'],
    ['with cnf false', () => ({ cnf: false }), 'sender_constrained'],
    ['of the type DPoP without a key', () => ({ token_type: 'DPoP' }), 'malformed_claim'],
    [
      'of the type DPoP bound to a certificate alone',
      () => ({ token_type: 'DPoP', cnf: { 'x5t#S256': 'x' } }),
      'malformed_claim',
    ],
  ])('%s', async (_row, change, kind) => {
    await using issuer = await startOpaqueIssuer()
    await using api = await startApi(issuer.verifier())
    const { status, headers } = await api.send(issuer.issue(change(issuer)))
    expect([status, headers.get('www-authenticate')]).toEqual([401, 'Bearer error="invalid_token"'])
    expect(api.refusals).toMatchObject([{ kind }])
  })

  test('that was never issued, whatever its letters', async () => {
    await using issuer = await startOpaqueIssuer()
    await using api = await startApi(issuer.verifier())
    const asked = ['x', '=', 'a&active=true', 'a%00', 'a"b', '../..', 'x'.repeat(8192)]
    for (const token of [...asked, 'x'.repeat(8193)]) {
      expect((await api.send(token)).status).toBe(401)
    }
    const sent = issuer.questions.map(({ form }) => form.get('token'))
    expect(sent).toEqual(['x', '../..', 'x'.repeat(8192)])
  })
})

describe('a token is let in', () => {
  test.each<readonly [string, Change]>([
    ['that says no more than it must', () => ({ iat: undefined, iss: undefined })],
    ['for this API among others', () => ({ aud: ['https://other.example/', API] })],
    ['of the type bearer in small letters', () => ({ token_type: 'bearer' })],
    ['as Ory answers', () => ({ token_use: 'access_token', ext: {}, nbf: 0 })],
    ['as Keycloak answers', () => ({ typ: 'Bearer', realm_access: { roles: ['x'] } })],
    ['as Keycloak answered before', () => ({ token_type: undefined, typ: 'Bearer' })],
    ['within the tolerance of clocks', (i) => ({ exp: hour(i, 0) - 4, iat: hour(i, 0) + 4 })],
    ['whose members are named as those of objects are', () => ({ constructor: 1, toString: 2 })],
  ])('%s', async (_row, change) => {
    await using issuer = await startOpaqueIssuer()
    await using api = await startApi(issuer.verifier())
    expect((await api.send(issuer.issue(change(issuer)))).status).toBe(200)
  })

  test('as in the example of RFC 7662, where the issuer is known to name no type', async () => {
    await using issuer = await startOpaqueIssuer()
    const token = issuer.issue({
      client_id: 'l238j323ds-23ij4',
      username: 'jdoe',
      scope: 'read write dolphin',
      sub: 'Z5O3upPC88QrAjx00dis',
      token_type: undefined,
      extension_field: 'twenty-seven',
    })
    const verifier = issuer.verifier({ mayLack: ['token_type'] })
    expect(await verifier.verify(token)).toMatchObject({
      ok: true,
      value: {
        kind: 'person',
        subject: 'Z5O3upPC88QrAjx00dis',
        clientId: 'l238j323ds-23ij4',
        claims: { username: 'jdoe', extension_field: 'twenty-seven' },
      },
    })
    expect(await judge(verifier, issuer.issue({ typ: 'Refresh' }))).toBe('wrong_type')
  })

  test('as a service, where the issuer is known to name no sub for these', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier({ mayLack: ['sub'] })
    expect(await verifier.verify(issuer.issue({ sub: undefined }))).toMatchObject({
      ok: true,
      value: { kind: 'service', subject: 'web', clientId: 'web', claims: { sub: 'web' } },
    })
    expect(await verifier.verify(issuer.issue())).toMatchObject({ value: { kind: 'person' } })
    for (const change of [{ sub: null }, { sub: undefined, client_id: undefined }]) {
      expect(await judge(verifier, issuer.issue(change))).not.toBe('allowed')
    }
  })
})

const json = (text: string | Buffer): Answer => {
  return (response) => void response.setHeader('content-type', 'application/json').end(text)
}

describe('nothing is known of a token', () => {
  const good = JSON.stringify({ active: true }).slice(1, -1)

  test.each<readonly [string, Answer]>([
    ...[201, 204, 206, 400, 401, 403, 404, 429, 500, 502, 503].map(
      (status) => [`after a status ${status}`, fail(status)] as const,
    ),
    ['after no JSON', json('<html>active: true</html>')],
    ['after nothing', json('')],
    ['after half an answer', json(`{${good}`)],
    ['after two answers', json(`{${good}}{${good}}`)],
    ['after a list', json(`[{${good}}]`)],
    ['after null', json('null')],
    ['after a text', json('"active"')],
    ['without active', json('{}')],
    ['with active in a text', json('{"active":"true"}')],
    ['with active 1', json('{"active":1}')],
    ['with active null', json('{"active":null}')],
    ['with active twice', json('{"active":false,"active":true}')],
    ['with active twice, once escaped', json(String.raw`{"active":false,"\u0061ctive":true}`)],
    ['with aud twice', json(`{${good},"aud":"https://other.example/","aud":"${API}"}`)],
    ['with a member twice further down', json(`{${good},"cnf":{"jkt":"a","jkt":"b"}}`)],
    ['with a member __proto__', json(`{${good},"__proto__":{"aud":"${API}"}}`)],
    ['with a number out of range', json(`{${good},"exp":1e400}`)],
    ['with bytes that are no UTF-8', json(Buffer.from('7b22616374697665223aff7d', 'hex'))],
    ['in too many levels', json(`{${good},"x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`)],
    ['in more than 256 KiB', json(`{${good},"x":"${'x'.repeat(256 * 1024)}"}`)],
    [
      'in little that unpacks to much',
      (response) =>
        void response
          .writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' })
          .end(gzipSync(Buffer.alloc(5_000_000, ' '))),
    ],
    [
      'after less than was announced',
      (response) => {
        response.writeHead(200, { 'content-length': 1000 }).write(`{${good}}`)
        setImmediate(() => response.destroy())
      },
    ],
  ])('%s', async (_row, answer) => {
    await using issuer = await startOpaqueIssuer()
    await using api = await startApi(issuer.verifier())
    issuer.answerAll = answer
    const { status, headers } = await api.send(issuer.issue())
    expect([status, headers.get('www-authenticate')]).toEqual([503, null])
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    expect(api.refusals).toMatchObject([{ kind: 'introspection_unavailable' }])
  })

  test.each([301, 302, 303, 307, 308])(
    'after a redirect by %i, which is not followed',
    async (status) => {
      await using issuer = await startOpaqueIssuer()
      await using other = await startOpaqueIssuer()
      other.answerAll = (response) => sendJson(response, issuer.describe())
      await using api = await startApi(issuer.verifier())
      issuer.answerAll = (response) =>
        void response.writeHead(status, { location: `${other.url}/introspect` }).end()
      expect((await api.send(issuer.issue())).status).toBe(503)
      expect(other.questions).toHaveLength(0)
    },
  )
})

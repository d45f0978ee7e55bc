import { createServer } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createVerifier } from '../../resource-server/index.ts'
import { curl, listen, startDemo, type DemoProgram } from '../support/demo.ts'
import { revoke, withClients } from '../support/endpoints.ts'
import { basic, decodeJwt, obtainTokens, requestToken } from '../support/flow.ts'
import { BILLING, NOTES, SERVICE_SECRET, startServer, type TestServer } from '../support/server.ts'

const GATEWAY = 'https://gateway.example/'
const SCOPES = ['notes:read', 'notes:write', 'billing:read']

/** The gateway may exchange people's tokens for both services, and services' for none. */
function change(config: ConfigInput): ConfigInput {
  const rule = { subjects: ['person' as const], from: [GATEWAY], mode: ['delegation' as const] }
  const secret = { env: 'SERVICE_SECRET' }
  const described = withClients(
    {
      id: 'gateway',
      secret,
      grants: ['token_exchange'],
      scopes: SCOPES,
      introspects: [GATEWAY],
      exchange: [
        { ...rule, resource: NOTES },
        { ...rule, resource: BILLING },
      ],
    },
    { id: 'robot', secret, grants: ['client_credentials'], scopes: ['notes:read'] },
  )(config)
  const scopes = Object.fromEntries(SCOPES.map((scope) => [scope, { description: scope }]))
  return {
    ...described,
    resources: [
      ...(config.resources ?? []),
      { identifier: GATEWAY, name: 'Gateway', rolesClaim: true, scopes },
    ],
  }
}

describe('the gateway and the authorization server', () => {
  let server: TestServer
  let gateway: DemoProgram
  const cleanUp = new AsyncDisposableStack()

  /** Says who was let in by whom, as a verifier of its own finds it in the token that came. */
  async function startService(audience: string): Promise<string> {
    const verifier = cleanUp.use(createVerifier({ issuer: server.issuer, audience }))
    const service = createServer((request, response) => {
      void (async () => {
        const token = request.headers.authorization?.split(' ')[1] ?? ''
        const { ok } = await verifier.verify(token)
        response.end(JSON.stringify({ ok, ...decodeJwt(token).claims }))
      })()
    })
    cleanUp.defer(() => service.closeAllConnections())
    cleanUp.defer(() => void service.close())
    return listen(service)
  }

  beforeAll(async () => {
    server = cleanUp.use(await startServer(change))
    const notes = await startService(NOTES)
    const billing = await startService(BILLING)
    const relayed = await startService(GATEWAY)
    const routes = [`/notes=${notes}`, `/billing=${billing}`, `/=${relayed}`]
    const args = ['--issuer', server.issuer, '--audience', GATEWAY, '--client-id', 'gateway']
    args.push(...routes.flatMap((route) => ['--route', route]))
    args.push('--exchange', `/notes=${NOTES}`, '--exchange', `/billing=${BILLING}`)
    const secret = { CLIENT_SECRET: SERVICE_SECRET }
    gateway = cleanUp.use(await startDemo('gateway.ts', args, secret))
  })
  afterAll(() => cleanUp.disposeAsync())

  const ask = async (path: string, token: string) => {
    const { status, body } = await curl('-H', `Authorization: Bearer ${token}`, gateway.url + path)
    return { status, body: JSON.parse(body) as Record<string, unknown> }
  }
  const signIn = async () =>
    (await obtainTokens(server.issuer, { scope: 'notes:read', resource: GATEWAY })).access_token

  test('a service is told the person and the gateway, by a token for it alone', async () => {
    const token = await signIn()
    const { status, body } = await ask('/notes', token)
    const { sub } = decodeJwt(token).claims
    expect(status).toBe(200)
    expect(body).toMatchObject({
      ok: true,
      aud: NOTES,
      sub,
      client_id: 'gateway',
      act: { sub: 'gateway' },
      scope: 'notes:read',
    })
    expect((await ask('/notes', token)).body['jti']).toBe(body['jti'])
  })

  test("a route without a resource is shown the caller's token", async () => {
    const token = await signIn()
    const { body } = await ask('/', token)
    expect(body).toEqual({ ok: true, ...decodeJwt(token).claims })
  })

  test('403 where nothing at the service is allowed', async () => {
    const { status, body } = await ask('/billing', await signIn())
    expect([status, body['error']]).toEqual([403, 'access_denied'])
  })

  test('403 to a service, where the rule is for people', async () => {
    const form = { grant_type: 'client_credentials', scope: 'notes:read', resource: GATEWAY }
    const headers = { authorization: basic('robot', SERVICE_SECRET) }
    const { body: tokens } = await requestToken(server.issuer, form, headers)
    const { status, body } = await ask('/notes', tokens.access_token)
    expect([status, body['error']]).toEqual([403, 'access_denied'])
  })

  test('401 where the token was revoked, and no secret and no token in the log', async () => {
    const token = await signIn()
    expect((await revoke(server.issuer, token)).status).toBe(200)
    const answer = await curl('-i', '-H', `Authorization: Bearer ${token}`, `${gateway.url}/notes`)
    expect(answer.status).toBe(401)
    expect(answer.body).toMatch(/^www-authenticate: Bearer error="invalid_token"/im)
    expect(gateway.logged()).toContain('"failure":{"kind":"over"}')
    expect(gateway.logged()).not.toContain(SERVICE_SECRET)
    expect(gateway.logged()).not.toContain(token)
  })
})

import { describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createVerifier } from '../../resource-server/index.ts'
import { basic, obtainTokens, requestToken } from '../support/flow.ts'
import { startProgram, type Program } from '../support/program.ts'
import { BILLING, NOTES, SERVICE_SECRET, startServer } from '../support/server.ts'

/** The notes API, as a process of its own, for tokens of a real authorization server. */
async function startNotes(issuer: string): Promise<Program & { readonly url: string }> {
  const args = ['--issuer', issuer, '--audience', NOTES, '--port', '0', '--json']
  const program = startProgram('resource-server/demo/notes.ts', args)
  const line = await program.firstLine
  if (line === undefined) throw new Error((await program.ended).stderr)
  return { ...program, url: (JSON.parse(line) as { url: string }).url }
}

async function call(url: string, token: string, text?: string) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const body = text === undefined ? {} : { method: 'POST', body: JSON.stringify({ text }) }
  const response = await fetch(url, { headers, ...body })
  return {
    status: response.status,
    challenge: response.headers.get('www-authenticate'),
    body: (await response.json()) as {
      id?: string
      owner?: string
      notes?: { text: string; owner: string }[]
    },
  }
}

async function serviceToken(issuer: string, scope: string): Promise<string> {
  const request = { grant_type: 'client_credentials', scope }
  const headers = { authorization: basic('service', SERVICE_SECRET) }
  const { body } = await requestToken(issuer, request, headers)
  return body.access_token
}

/** Lets the service ask for everyone's notes, and makes bob an admin. */
function withServiceForAll(config: ConfigInput): ConfigInput {
  return {
    ...config,
    resources: config.resources?.map((resource) => ({
      ...resource,
      scopes: {
        ...resource.scopes,
        ...(resource.identifier === NOTES ? { 'notes:read:all': { description: 'All' } } : {}),
      },
    })),
    clients: config.clients?.map((client) =>
      client.id === 'service' ? { ...client, scopes: ['notes:read', 'notes:read:all'] } : client,
    ),
    users: config.users?.map((user) =>
      user.username === 'bob' ? { ...user, roles: ['admin'] } : user,
    ),
  }
}

const BOTH = { scope: 'openid notes:read notes:write' }

/** The other scheme that the notes API takes. */
const DPOP = 'DPoP algs="ES256 Ed25519 EdDSA PS256 RS256"'

describe('tokens of the authorization server at the notes API', () => {
  test('serve each person what is theirs, and refuse what their scopes do not carry', async () => {
    await using server = await startServer()
    await using notes = await startNotes(server.issuer)
    const alice = await obtainTokens(server.issuer, BOTH, 'alice')
    const bob = await obtainTokens(server.issuer, BOTH, 'bob')

    const written = await call(`${notes.url}/notes`, alice.access_token, 'buy milk')
    expect(written.status).toBe(201)
    const mine = await call(`${notes.url}/notes`, alice.access_token)
    expect(mine.body.notes).toMatchObject([{ text: 'buy milk', owner: written.body.owner }])

    const his = await call(`${notes.url}/notes`, bob.access_token)
    expect([his.status, his.body.notes]).toEqual([200, []])
    const other = await call(`${notes.url}/notes/${written.body.id}`, bob.access_token)
    expect(other.status).toBe(404)
    const refused = await call(`${notes.url}/notes`, bob.access_token, 'mine')
    expect([refused.status, refused.challenge]).toEqual([
      403,
      `Bearer error="insufficient_scope", scope="notes:write", ${DPOP}`,
    ])
  })

  test('let an admin and a service with the scope for it see everything, another service nothing', async () => {
    await using server = await startServer(withServiceForAll)
    await using notes = await startNotes(server.issuer)
    const alice = await obtainTokens(server.issuer, BOTH, 'alice')
    const admin = await obtainTokens(server.issuer, BOTH, 'bob')
    await call(`${notes.url}/notes`, alice.access_token, 'buy milk')
    const seenWith = async (token: string) => (await call(`${notes.url}/notes`, token)).body.notes
    expect(await seenWith(admin.access_token)).toMatchObject([{ text: 'buy milk' }])
    expect(await seenWith(await serviceToken(server.issuer, 'notes:read'))).toEqual([])
    expect(await seenWith(await serviceToken(server.issuer, 'notes:read:all'))).toMatchObject([
      { text: 'buy milk' },
    ])
  })

  test('are refused for another audience, tampered with, or of another kind', async () => {
    await using server = await startServer(withServiceForAll)
    await using notes = await startNotes(server.issuer)
    const { access_token: good, id_token, refresh_token } = await obtainTokens(server.issuer, BOTH)
    const billing = await obtainTokens(
      server.issuer,
      { scope: 'openid billing:read', resource: BILLING },
      'bob',
    )
    const [header, payload = '', signature] = good.split('.')
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object
    const richer = Buffer.from(JSON.stringify({ ...claims, roles: ['admin'] })).toString(
      'base64url',
    )
    const tampered = [header, richer, signature].join('.')
    for (const token of [billing.access_token, tampered, id_token, refresh_token]) {
      const { status, challenge } = await call(`${notes.url}/notes`, token)
      expect([status, challenge]).toEqual([401, `Bearer error="invalid_token", ${DPOP}`])
    }
    expect((await call(`${notes.url}/notes`, good)).status).toBe(200)
  })
})

describe('a verifier', () => {
  test.each(['ES256', 'RS256', 'PS256', 'EdDSA'] as const)(
    'accepts what the authorization server signs with %s',
    async (algorithm) => {
      await using server = await startServer((config) => ({
        ...config,
        resources: config.resources?.map((resource) => ({ ...resource, algorithm })),
      }))
      const token = await serviceToken(server.issuer, 'notes:read')
      await using verifier = createVerifier({ issuer: server.issuer, audience: NOTES })
      expect(await verifier.verify(token)).toMatchObject({
        ok: true,
        value: { kind: 'service', subject: 'service' },
      })
    },
  )

  test('for tokens of typ JWT accepts those, and still no ID token', async () => {
    await using server = await startServer((config) => ({
      ...config,
      resources: config.resources?.map((resource) => ({ ...resource, tokenType: 'JWT' as const })),
    }))
    const { access_token, id_token } = await obtainTokens(server.issuer)
    const options = { issuer: server.issuer, audience: [NOTES, 'web'] }
    await using verifier = createVerifier({ ...options, tokenType: 'JWT' })
    expect(await verifier.verify(access_token)).toMatchObject({
      ok: true,
      value: { kind: 'person' },
    })
    expect(await verifier.verify(id_token)).toMatchObject({
      ok: false,
      reason: { kind: 'wrong_type', actual: undefined },
    })
    await using strict = createVerifier(options)
    expect(await strict.verify(access_token)).toMatchObject({ reason: { kind: 'wrong_type' } })
  })
})

test('the example of an own API says who is asking', async () => {
  await using server = await startServer()
  await using api = startProgram('examples/your-own-api.ts', [server.issuer, '0'])
  const port = /port: (\d+)/.exec((await api.firstLine) ?? '')?.[1]
  const url = `http://127.0.0.1:${port}/`
  expect((await fetch(url)).headers.get('www-authenticate')).toBe('Bearer')
  const { access_token } = await obtainTokens(server.issuer)
  const answer = await fetch(url, { headers: { authorization: `Bearer ${access_token}` } })
  expect(await answer.json()).toMatchObject({ kind: 'person', scopes: ['openid', 'notes:read'] })
})

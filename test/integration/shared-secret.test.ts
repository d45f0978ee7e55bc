import { createHmac, randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exportConfig } from '../../auth-server/admin/export-config.ts'
import { prepareConfig } from '../../auth-server/config/load.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createSharedSecretVerifier, createVerifier } from '../../resource-server/index.ts'
import { introspect, post } from '../support/endpoints.ts'
import { encode } from '../support/issuer.ts'
import { basic, decodeJwt, obtainTokens, refresh, requestToken } from '../support/flow.ts'
import {
  BASE_CONFIG,
  NOTES,
  SERVICE_SECRET,
  startServer,
  type TestServer,
} from '../support/server.ts'

const OLD = 'https://old.example/'
const OLDER = 'https://older.example/'
const SECRETS = {
  OLD_SECRET: randomBytes(32).toString('base64url'),
  OLDER_SECRET: randomBytes(64).toString('base64url'),
}

/** The service may exchange whatever it is given, of which only the half can be. */
const EXCHANGE: Partial<NonNullable<ConfigInput['clients']>[number]> = {
  grants: ['client_credentials', 'token_exchange'],
  exchange: [{ resource: NOTES, subjects: ['service'], from: [NOTES], mode: ['impersonation'] }],
}

/** Two APIs that can check nothing but a secret. */
function withSharedSecrets(config: ConfigInput): ConfigInput {
  return {
    ...config,
    roles: { ...config.roles, editor: { scopes: ['notes:read', 'old:use', 'older:use'] } },
    resources: [
      ...(config.resources ?? []),
      {
        identifier: OLD,
        audience: 'old.jwtgo.io',
        name: 'An old API',
        algorithm: 'HS256',
        secret: { env: 'OLD_SECRET' },
        issuer: 'jwtgo.io',
        tokenType: 'JWT',
        accessTokenTtlSeconds: 60,
        scopes: { 'old:use': { description: 'Use the old API' } },
        claims: {
          authorized: { value: true },
          client: { from: 'client_name' },
          username: { from: 'username' },
          role: { firstRoleOf: ['admin', 'editor'] },
        },
      },
      {
        identifier: OLDER,
        name: 'An older API',
        algorithm: 'HS512',
        secret: { env: 'OLDER_SECRET' },
        issuer: 'older',
        rolesClaim: true,
        scopes: { 'older:use': { description: 'Use the older API' } },
      },
    ],
    clients: config.clients?.map((client) => ({
      ...client,
      scopes: [...(client.scopes ?? []), 'old:use', 'older:use'],
      ...(client.id === 'service' ? EXCHANGE : {}),
    })),
  }
}

let server: TestServer
beforeAll(async () => {
  server = await startServer(withSharedSecrets, {}, SECRETS)
})
afterAll(() => server[Symbol.asyncDispose]())

async function serviceToken(scope: string): Promise<string> {
  const request = { grant_type: 'client_credentials', scope }
  const headers = { authorization: basic('service', SERVICE_SECRET) }
  const { status, body } = await requestToken(server.issuer, request, headers)
  expect([status, body.error_description]).toEqual([200, undefined])
  return body.access_token
}

function isSignedWith(secret: string, token: string, hash: string): boolean {
  const at = token.lastIndexOf('.')
  const expected = createHmac(hash, secret).update(token.slice(0, at)).digest('base64url')
  return token.slice(at + 1) === expected
}

describe('a resource with a shared secret', () => {
  test('gets tokens that are signed with it, by the name that they agreed on', async () => {
    const token = await serviceToken('old:use')
    const { header, claims } = decodeJwt(token)
    expect(header).toEqual({ alg: 'HS256', typ: 'JWT' })
    expect(claims).toEqual({
      iss: 'jwtgo.io',
      aud: 'old.jwtgo.io',
      sub: 'service',
      client_id: 'service',
      scope: 'old:use',
      authorized: true,
      client: 'service',
      iat: expect.any(Number) as number,
      exp: Number(claims['iat']) + 60,
      jti: expect.any(String) as string,
    })
    expect(isSignedWith(SECRETS.OLD_SECRET, token, 'sha256')).toBe(true)
    await using verifier = createSharedSecretVerifier({
      issuer: 'jwtgo.io',
      audience: 'old.jwtgo.io',
      algorithm: 'HS256',
      secret: SECRETS.OLD_SECRET,
      requiredClaims: ['authorized'],
      subject: { claim: 'client', kind: 'service' },
    })
    expect(await verifier.verify(token)).toMatchObject({ ok: true })
  })

  test('is told who the person is, as far as it asks', async () => {
    const old = await obtainTokens(server.issuer, { scope: 'old:use' })
    const { claims } = decodeJwt(old.access_token)
    expect(claims).toMatchObject({
      authorized: true,
      client: 'The Web App',
      username: 'alice',
      role: 'editor',
    })
    expect(claims['roles']).toBeUndefined()
    const older = await obtainTokens(server.issuer, { scope: 'older:use' })
    const second = decodeJwt(older.access_token)
    expect(second.header).toEqual({ alg: 'HS512', typ: 'at+jwt' })
    expect(second.claims).toMatchObject({ iss: 'older', aud: OLDER, roles: ['editor'] })
    expect(second.claims['username']).toBeUndefined()
    expect(isSignedWith(SECRETS.OLDER_SECRET, older.access_token, 'sha512')).toBe(true)
    const refreshed = await refresh(server.issuer, old.refresh_token)
    expect(decodeJwt(refreshed.body.access_token).claims).toMatchObject({ username: 'alice' })
  })

  test('is refused to a person whose roles do not carry its scopes', async () => {
    await expect(obtainTokens(server.issuer, { scope: 'old:use' }, 'bob')).rejects.toThrow(
      'access_denied',
    )
  })

  test('shares no secret with another: a token for the one is none for the other', async () => {
    const token = await serviceToken('old:use')
    for (const change of [{}, { issuer: 'jwtgo.io', audience: 'old.jwtgo.io' }]) {
      await using verifier = createSharedSecretVerifier({
        issuer: 'older',
        audience: OLDER,
        algorithm: 'HS256',
        secret: SECRETS.OLDER_SECRET,
        ...change,
      })
      expect(await verifier.verify(token)).toMatchObject({ ok: false })
    }
  })
})

describe('the server believes no token that such an API could have made', () => {
  const askUserinfo = async (token: string) => {
    const headers = { authorization: `Bearer ${token}` }
    const answer = await fetch(`${server.issuer}/userinfo`, { headers })
    await answer.body?.cancel()
    return answer.status
  }

  test('at userinfo, although the same person and client would be served with another', async () => {
    const old = await obtainTokens(server.issuer, { scope: 'openid profile old:use' })
    expect(decodeJwt(old.access_token).claims).toMatchObject({
      aud: 'old.jwtgo.io',
      scope: 'old:use',
    })
    expect(old.scope).toBe('old:use')
    expect(await askUserinfo(old.access_token)).toBe(401)
    const notes = await obtainTokens(server.issuer, { scope: 'openid profile notes:read' })
    expect(await askUserinfo(notes.access_token)).toBe(200)
    const forged = sign({
      ...decodeJwt(notes.access_token).claims,
      aud: [OLD, `${server.issuer}/userinfo`],
    })
    expect(await askUserinfo(forged)).toBe(401)
  })

  test('at the exchange of tokens and at introspection, also from who it was issued to', async () => {
    const token = await serviceToken('old:use')
    const asService = { authorization: basic('service', SERVICE_SECRET) }
    const asked = await introspect(server.issuer, token, asService)
    expect([asked.status, asked.body]).toEqual([200, { active: false }])
    const form = {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: token,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      resource: NOTES,
    }
    const exchanged = await post(server.issuer, '/token', form, asService)
    expect([exchanged.status, exchanged.body]).toMatchObject([
      400,
      { error: 'invalid_request', error_description: 'the subject token is not valid' },
    ])
    const other = await serviceToken('notes:read')
    const fine = await post(server.issuer, '/token', { ...form, subject_token: other }, asService)
    expect([fine.status, fine.body['scope']]).toEqual([200, 'notes:read'])
  })

  test('at an API that checks with its keys', async () => {
    await using verifier = createVerifier({ issuer: server.issuer, audience: OLD })
    const { claims } = decodeJwt(await serviceToken('old:use'))
    const forged = sign({ ...claims, iss: server.issuer, aud: OLD })
    expect(await verifier.verify(forged)).toMatchObject({ ok: false })
  })

  function sign(claims: Readonly<Record<string, unknown>>): string {
    const input = `${encode({ alg: 'HS256', typ: 'at+jwt' })}.${encode({ ...claims })}`
    const signature = createHmac('sha256', SECRETS.OLD_SECRET).update(input).digest('base64url')
    return `${input}.${signature}`
  }
})

describe('the secret', () => {
  test('is in no document, key set, export or log', async () => {
    await serviceToken('old:use')
    const paths = ['/.well-known/openid-configuration', '/jwks']
    const documents = await Promise.all(
      paths.map(async (path) => (await fetch(`${server.issuer}${path}`)).text()),
    )
    const loaded = prepareConfig(withSharedSecrets(BASE_CONFIG), { environment: SECRETS })
    const exported = JSON.stringify(exportConfig(loaded))
    expect(exported).toContain('"secret":{"env":"OLD_SECRET"}')
    const seen = [...documents, exported, server.logged()].join('\n')
    for (const secret of Object.values(SECRETS)) {
      expect(seen).not.toContain(secret)
      expect(seen).not.toContain(Buffer.from(secret).toString('base64url'))
    }
  })

  test('is required to start, and no error shows what was found in its place', async () => {
    const short = 'far-too-short'
    const start = startServer(withSharedSecrets, {}, { ...SECRETS, OLD_SECRET: short })
    const error: unknown = await start.catch((reason: unknown) => reason)
    expect(String(error)).toContain('resources[2].secret: the variable OLD_SECRET: a secret for')
    expect(String(error)).not.toContain(short)
  })
})

import { connect } from 'node:tls'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import {
  createAuthority,
  createCertificate,
  describeCertificateKey,
  type Authority,
  type Certificate,
} from '../support/certificates.ts'
import { answerRequest, CIBA_GRANT } from '../support/ciba.ts'
import { approve } from '../support/device.ts'
import { introspect, post, withClients } from '../support/endpoints.ts'
import { authorize, basic, decodeJwt, makePkce, requestToken, signIn } from '../support/flow.ts'
import { createBrowser } from '../support/browser.ts'
import { makeFolder } from '../support/folder.ts'
import { askOverTls, writeMtls, type TlsAsking } from '../support/mtls.ts'
import { createProofClient, makeProof } from '../support/proof.ts'
import { NOTES, REDIRECT, SERVICE_SECRET, startServer, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc8705-mtls.md. */

type Client = NonNullable<ConfigInput['clients']>[number]

const ROBOT_DN = 'CN=robot,O=Example\\, Inc.,C=DE'
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'

const authority = await createAuthority()
const serverCertificate = await createCertificate({ name: 'CN=localhost', usages: ['server'] })
const own = await createCertificate({ name: 'CN=app' })
const others = await createCertificate({ name: 'CN=app' })

const signed = (options: Parameters<typeof createCertificate>[0] & object, signer = authority) =>
  createCertificate({ ...options, signer })
const robot = await signed({ name: ROBOT_DN })
const NAMES: readonly (readonly [id: string, expected: Client['certificate'], names: unknown])[] = [
  ['by-dns', { sanDns: 'robot.example' }, [{ type: 'dns', value: 'Robot.example' }]],
  [
    'by-uri',
    { sanUri: 'spiffe://example/robot' },
    [{ type: 'url', value: 'spiffe://example/robot' }],
  ],
  ['by-ip', { sanIp: '2001:db8::1' }, [{ type: 'ip', value: '2001:db8:0:0:0:0:0:1' }]],
  ['by-email', { sanEmail: 'robot@example.com' }, [{ type: 'email', value: 'robot@example.com' }]],
]

const machine: Partial<Client> = { grants: ['client_credentials'], scopes: ['notes:read'] }
const chained: Partial<Client> = { ...machine, authMethod: 'tls_client_auth' }

function describeClients(mtls: ConfigInput['mtls']) {
  return (config: ConfigInput): ConfigInput => {
    const changed = withClients(
      { ...chained, id: 'robot', certificate: { subjectDn: ROBOT_DN }, certificateBound: true },
      ...NAMES.map(([id, certificate]) => ({ ...chained, id, certificate })),
      {
        id: 'app',
        authMethod: 'self_signed_tls_client_auth',
        jwks: { keys: [describeCertificateKey(own)] },
        certificateBound: true,
        grants: [
          'authorization_code',
          'refresh_token',
          'client_credentials',
          'device_code',
          'ciba',
          'token_exchange',
        ],
        redirectUris: [REDIRECT],
        scopes: ['openid', 'notes:read', 'notes:write'],
        exchange: [
          {
            resource: NOTES,
            subjects: ['person', 'service'],
            from: [NOTES],
            mode: ['impersonation'],
          },
        ],
      },
      {
        id: 'public',
        authMethod: 'none',
        certificateBound: true,
        redirectUris: [REDIRECT],
        scopes: ['openid', 'notes:read'],
      },
      {
        id: 'bank',
        profile: 'fapi2',
        authMethod: 'tls_client_auth',
        certificate: { subjectDn: ROBOT_DN },
        certificateBound: true,
        par: 'required',
        redirectUris: [REDIRECT],
        scopes: ['openid', 'notes:read'],
      },
      {
        ...machine,
        id: 'both',
        secret: { env: 'SERVICE_SECRET' },
        certificateBound: true,
        introspects: [NOTES],
      },
    )(config)
    return { ...changed, mtls }
  }
}

let folder: ReturnType<typeof makeFolder>
let server: TestServer
beforeAll(async () => {
  folder = makeFolder()
  server = await startServer(
    describeClients(writeMtls(folder.path, { server: serverCertificate, authority })),
  )
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

const place = () => server.mtlsUrl.replace('127.0.0.1', 'localhost')
const asked = (path: string, asking: Omit<TlsAsking, 'server'>) =>
  askOverTls(server.mtlsUrl + path, {
    ...asking,
    server: serverCertificate,
    headers: { host: new URL(server.mtlsUrl).host, ...asking.headers },
  })
const askToken = (
  form: Readonly<Record<string, string>>,
  certificate: Certificate | undefined,
  headers: Readonly<Record<string, string>> = {},
) => asked('/token', { form, certificate, headers })
const credentials = (id: string) => ({
  grant_type: 'client_credentials',
  client_id: id,
  scope: 'notes:read',
})

function readCnf(token: unknown): unknown {
  return decodeJwt(String(token)).claims['cnf']
}

const boundTo = ({ thumbprint }: Certificate) => ({ 'x5t#S256': thumbprint })

describe('§2.1 a client with a certificate of an authority', () => {
  test('gets a token by its distinguished name', async () => {
    const { status, body } = await askToken(credentials('robot'), robot)
    expect([status, body['token_type']]).toEqual([200, 'Bearer'])
    expect(readCnf(body['access_token'])).toEqual(boundTo(robot))
  })

  test.each(NAMES)('gets a token %s', async (id, _expected, names) => {
    const certificate = await signed({ name: 'CN=any', names: names as never })
    const { status } = await askToken(credentials(id), certificate)
    expect(status).toBe(200)
    const other = await signed({ name: 'CN=any' })
    expect(await askToken(credentials(id), other)).toMatchObject(INVALID_CLIENT)
  })

  const HOUR = 3_600_000
  const now = systemClock.now()
  test.each<[string, () => Promise<Authority | undefined>]>([
    ['no certificate', async () => undefined],
    ['one of another name', () => signed({ name: 'CN=other,O=Example\\, Inc.,C=DE' })],
    [
      'one with its name in another order',
      () => signed({ name: 'C=DE,O=Example\\, Inc.,CN=robot' }),
    ],
    [
      'one whose name only reads alike',
      () => signed({ name: 'CN=robot,O=Example\\, Inc.\\,C\\=DE' }),
    ],
    ['one with more in its name', () => signed({ name: `OU=guests,${ROBOT_DN}` })],
    ['one that it has signed itself', () => createCertificate({ name: ROBOT_DN })],
    ['one of another authority', async () => signed({ name: ROBOT_DN }, await createAuthority())],
    [
      'one of an authority that only has the same name',
      async () => signed({ name: ROBOT_DN }, await createAuthority(authority.name)),
    ],
    [
      'one that is over',
      () => signed({ name: ROBOT_DN, notAfter: now - HOUR, notBefore: now - 2 * HOUR }),
    ],
    ['one that is to come', () => signed({ name: ROBOT_DN, notBefore: now + HOUR })],
    ['one for servers', () => signed({ name: ROBOT_DN, usages: ['server'] })],
    [
      'one that a client of the authority has signed',
      async () => signed({ name: ROBOT_DN }, await signed({ name: 'CN=client' })),
    ],
  ])('is refused with %s', async (_what, make) => {
    expect(await askToken(credentials('robot'), await make())).toMatchObject(INVALID_CLIENT)
  })

  test('is refused where its name is a wildcard', async () => {
    const certificate = await signed({ names: [{ type: 'dns', value: '*.example' }] })
    expect(await askToken(credentials('by-dns'), certificate)).toMatchObject(INVALID_CLIENT)
  })

  test('cannot be another one with it', async () => {
    const asOther = await askToken(credentials('by-uri'), robot)
    expect(asOther).toMatchObject(INVALID_CLIENT)
  })

  test('is refused where no certificate is asked for', async () => {
    const { status, body } = await post(server.issuer, '/token', credentials('robot'), {})
    expect([status, body['error']]).toEqual([401, 'invalid_client'])
  })
})

const INVALID_CLIENT = { status: 401, body: { error: 'invalid_client' } }

describe('§2.2 a client with a certificate among its keys', () => {
  test('gets a token, whoever has signed it', async () => {
    const { status, body } = await askToken(credentials('app'), own)
    expect(status).toBe(200)
    expect(readCnf(body['access_token'])).toEqual(boundTo(own))
  })

  test('is refused with another one, and with none', async () => {
    expect(await askToken(credentials('app'), others)).toMatchObject(INVALID_CLIENT)
    expect(await askToken(credentials('app'), robot)).toMatchObject(INVALID_CLIENT)
    expect(await askToken(credentials('app'), undefined)).toMatchObject(INVALID_CLIENT)
  })

  test('is refused with a certificate beside a secret', async () => {
    const headers = { authorization: basic('app', SERVICE_SECRET) }
    expect(await askToken({ grant_type: 'client_credentials' }, own, headers)).toMatchObject(
      INVALID_CLIENT,
    )
  })
})

describe('§3 tokens are bound to the certificate', () => {
  const byCode = async (id: string, certificate: Certificate | undefined) => {
    const { code, verifier } = await authorize(server.issuer, { client_id: id })
    return askToken(
      {
        grant_type: 'authorization_code',
        client_id: id,
        code,
        code_verifier: verifier,
        redirect_uri: REDIRECT,
      },
      certificate,
    )
  }
  const refresh = (id: string, token: unknown, certificate: Certificate | undefined) =>
    askToken(
      { grant_type: 'refresh_token', client_id: id, refresh_token: String(token) },
      certificate,
    )

  test('of a code, and of a refresh', async () => {
    const { status, body } = await byCode('app', own)
    expect(status).toBe(200)
    expect(readCnf(body['access_token'])).toEqual(boundTo(own))
    const again = await refresh('app', body['refresh_token'], own)
    expect(again.status).toBe(200)
    expect(readCnf(again.body['access_token'])).toEqual(boundTo(own))
  })

  test('of a device', async () => {
    const started = await asked('/device_authorization', {
      form: { client_id: 'app', scope: 'openid notes:read' },
      certificate: own,
    })
    expect(started.status).toBe(200)
    await approve(server, String(started.body['user_code']))
    const form = { grant_type: DEVICE_CODE, client_id: 'app' }
    const code = { device_code: String(started.body['device_code']) }
    expect(await askToken({ ...form, ...code }, others)).toMatchObject(INVALID_CLIENT)
    const { body } = await askToken({ ...form, ...code }, own)
    expect(readCnf(body['access_token'])).toEqual(boundTo(own))
  })

  test('of CIBA', async () => {
    const started = await asked('/backchannel', {
      form: { client_id: 'app', scope: 'openid notes:read', login_hint: 'alice' },
      certificate: own,
    })
    expect(started.status).toBe(200)
    await answerRequest(server, 'alice')
    const { body } = await askToken(
      {
        grant_type: CIBA_GRANT,
        client_id: 'app',
        auth_req_id: String(started.body['auth_req_id']),
      },
      own,
    )
    expect(readCnf(body['access_token'])).toEqual(boundTo(own))
  })

  test('of an exchange, and the one that is exchanged has to be proven', async () => {
    const { body } = await askToken(credentials('app'), own)
    const form = {
      grant_type: TOKEN_EXCHANGE,
      client_id: 'app',
      subject_token: String(body['access_token']),
      subject_token_type: ACCESS_TOKEN,
      resource: NOTES,
    }
    const exchanged = await askToken(form, own)
    expect(exchanged.status).toBe(200)
    expect(readCnf(exchanged.body['access_token'])).toEqual(boundTo(own))
    const { body: foreign } = await askToken(credentials('robot'), robot)
    const stolen = { ...form, subject_token: String(foreign['access_token']) }
    expect(await askToken(stolen, own)).toMatchObject({ status: 400 })
  })

  test('of a client that proves who it is by a secret', async () => {
    const headers = { authorization: basic('both', SERVICE_SECRET) }
    const form = { grant_type: 'client_credentials', scope: 'notes:read' }
    const { body } = await askToken(form, others, headers)
    expect(readCnf(body['access_token'])).toEqual(boundTo(others))
    const none = await askToken(form, undefined, headers)
    expect([none.status, none.body['error']]).toEqual([400, 'invalid_grant'])
    const elsewhere = await requestToken(server.issuer, form, headers)
    expect([elsewhere.status, elsewhere.body.error]).toEqual([400, 'invalid_grant'])
  })

  test('not of a client that does not want that', async () => {
    const certificate = await signed({ names: [{ type: 'dns', value: 'robot.example' }] })
    const { body } = await askToken(credentials('by-dns'), certificate)
    expect(readCnf(body['access_token'])).toBeUndefined()
  })

  test('§7.1 refresh tokens of a public client are bound as well', async () => {
    const { body } = await byCode('public', others)
    expect(readCnf(body['access_token'])).toEqual(boundTo(others))
    const token = body['refresh_token']
    const stolen = await refresh('public', token, own)
    expect([stolen.status, stolen.body['error']]).toEqual([400, 'invalid_grant'])
    const none = await refresh('public', token, undefined)
    expect([none.status, none.body['error']]).toEqual([400, 'invalid_grant'])
    const again = await refresh('public', token, others)
    expect(again.status).toBe(200)
  })

  test('and are of no use at userinfo with another one', async () => {
    const { body } = await byCode('app', own)
    const headers = { authorization: `Bearer ${String(body['access_token'])}` }
    const answer = await asked('/userinfo', { headers, certificate: own })
    expect([answer.status, typeof answer.body['sub']]).toEqual([200, 'string'])
    for (const certificate of [others, undefined]) {
      expect((await asked('/userinfo', { headers, certificate })).status).toBe(401)
    }
    const plain = await fetch(`${server.issuer}/userinfo`, { headers })
    expect(plain.status).toBe(401)
  })

  test('§3.2 introspection says so', async () => {
    const { body } = await askToken(credentials('robot'), robot)
    const { body: known } = await introspect(server.issuer, String(body['access_token']), {
      authorization: basic('both', SERVICE_SECRET),
    })
    expect(known).toMatchObject({ active: true, token_type: 'Bearer', cnf: boundTo(robot) })
  })

  test('and not to a key as well', async () => {
    const request = { method: 'POST', url: `${server.mtlsUrl}/token`, accessToken: '' }
    const proof = makeProof(await createProofClient(), request, systemClock, {
      claims: { ath: undefined },
    })
    const { status, body } = await askToken(credentials('app'), own, { dpop: proof })
    expect([status, body['error']]).toEqual([400, 'invalid_request'])
  })
})

describe('a client of FAPI 2.0', () => {
  const push = (certificate: Certificate | undefined) => {
    const { verifier, challenge } = makePkce()
    const form = {
      client_id: 'bank',
      response_type: 'code',
      redirect_uri: REDIRECT,
      scope: 'openid notes:read',
      code_challenge: challenge,
      code_challenge_method: 'S256',
    }
    const answered = asked('/request', { form, certificate })
    return { verifier, answered }
  }

  test('proves who it is, and binds its tokens, by its certificate', async () => {
    const { verifier, answered } = push(robot)
    const { status, body } = await answered
    expect(status).toBe(201)
    const browser = createBrowser(server.issuer)
    const query = new URLSearchParams({
      client_id: 'bank',
      request_uri: String(body['request_uri']),
    })
    const start = await browser.get(`${server.issuer}/auth?${query.toString()}`)
    const page = await browser.submit(await signIn(browser, start), '/consent')
    const code = new URL(page.location ?? '').searchParams.get('code') ?? ''
    const form = { grant_type: 'authorization_code', client_id: 'bank', code }
    const rest = { code_verifier: verifier, redirect_uri: REDIRECT }
    expect(await askToken({ ...form, ...rest }, own)).toMatchObject(INVALID_CLIENT)
    const tokens = await askToken({ ...form, ...rest }, robot)
    expect(tokens.status).toBe(200)
    expect(readCnf(tokens.body['access_token'])).toEqual(boundTo(robot))
  })

  test('pushes nothing without it', async () => {
    expect(await push(undefined).answered).toMatchObject(INVALID_CLIENT)
    expect(await push(own).answered).toMatchObject(INVALID_CLIENT)
  })
})

describe('§5 the metadata', () => {
  test('name the place for certificates', async () => {
    const answer = await fetch(`${server.issuer}/.well-known/oauth-authorization-server`)
    const metadata = (await answer.json()) as Record<string, unknown>
    expect(metadata['mtls_endpoint_aliases']).toEqual({
      token_endpoint: `${server.mtlsUrl}/token`,
      pushed_authorization_request_endpoint: `${server.mtlsUrl}/request`,
      introspection_endpoint: `${server.mtlsUrl}/introspect`,
      revocation_endpoint: `${server.mtlsUrl}/revoke`,
      userinfo_endpoint: `${server.mtlsUrl}/userinfo`,
      device_authorization_endpoint: `${server.mtlsUrl}/device_authorization`,
      backchannel_authentication_endpoint: `${server.mtlsUrl}/backchannel`,
    })
    expect(metadata['tls_client_certificate_bound_access_tokens']).toBe(true)
    const methods = metadata['token_endpoint_auth_methods_supported']
    expect(methods).toContain('tls_client_auth')
    expect(methods).toContain('self_signed_tls_client_auth')
  })

  test('are silent where no certificate is looked at', async () => {
    await using other = await startServer()
    const answer = await fetch(`${other.issuer}/.well-known/openid-configuration`)
    const metadata = (await answer.json()) as Record<string, unknown>
    expect(metadata).not.toHaveProperty('mtls_endpoint_aliases')
    expect(metadata).not.toHaveProperty('tls_client_certificate_bound_access_tokens')
    expect(JSON.stringify(metadata)).not.toContain('tls_client_auth')
  })

  test('know no authorities where none are trusted', async () => {
    using files = makeFolder()
    const mtls = writeMtls(files.path, { server: serverCertificate })
    await using other = await startServer((config) => ({ ...config, mtls }))
    const answer = await fetch(`${other.issuer}/.well-known/openid-configuration`)
    const { token_endpoint_auth_methods_supported: methods } = (await answer.json()) as {
      token_endpoint_auth_methods_supported: string[]
    }
    expect(methods).toContain('self_signed_tls_client_auth')
    expect(methods).not.toContain('tls_client_auth')
  })
})

describe('the place for certificates', () => {
  test.each([
    '/auth',
    '/account',
    '/session/end',
    '/.well-known/openid-configuration',
    '/health',
    '/',
  ])('has no %s', async (path) => {
    const { status } = await asked(path, { certificate: own })
    expect(status).toBe(404)
  })

  test('is no other one', async () => {
    const { status } = await asked('/token', {
      form: credentials('app'),
      certificate: own,
      headers: { host: new URL(server.issuer).host },
    })
    expect(status).toBe(421)
    expect(place()).toContain('https://localhost:')
  })

  test('believes no header', async () => {
    const { der, pem } = own
    for (const [name, value] of [
      ['client-cert', `:${der.toString('base64')}:`],
      ['x-ssl-client-cert', encodeURIComponent(pem)],
    ] as const) {
      expect(await askToken(credentials('app'), undefined, { [name]: value })).toMatchObject(
        INVALID_CLIENT,
      )
    }
  })

  test('takes no TLS below 1.2, and resumes nothing', async () => {
    const { hostname, port } = new URL(server.mtlsUrl)
    const options = { host: hostname, port: Number(port), ca: serverCertificate.pem }
    const old = connect({
      ...options,
      servername: 'localhost',
      maxVersion: 'TLSv1.1',
      minVersion: 'TLSv1',
    })
    await expect(once(old, 'secureConnect')).rejects.toThrow(/SSL|TLS|protocol|unsupported/i)
    const sessions: Buffer[] = []
    const first = connect({ ...options, servername: 'localhost', maxVersion: 'TLSv1.2' })
    first.on('session', (session: Buffer) => sessions.push(session))
    await once(first, 'secureConnect')
    const session = first.getSession()
    first.destroy()
    const second = connect({
      ...options,
      servername: 'localhost',
      maxVersion: 'TLSv1.2',
      ...(session && { session }),
    })
    await once(second, 'secureConnect')
    expect(second.isSessionReused()).toBe(false)
    second.destroy()
  })
})

test('who a client is stays so on its connection: no second handshake shows another certificate', async () => {
  const { hostname, port } = new URL(server.mtlsUrl)
  const socket = connect({
    host: hostname,
    port: Number(port),
    servername: 'localhost',
    ca: serverCertificate.pem,
    cert: robot.pem,
    key: robot.key,
    // 1.3 has no such thing.
    maxVersion: 'TLSv1.2',
  })
  await once(socket, 'secureConnect')
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code))
  socket.renegotiate({}, () => resolve('it shook hands again'))
  expect(await promise).toBe('ERR_SSL_NO_RENEGOTIATION')
  socket.destroy()
})

describe('a proxy that is trusted', () => {
  const MTLS = 'https://mtls.example'
  const describeProxy = (more: object = {}): ConfigInput['mtls'] => ({
    origin: MTLS,
    proxy: {
      port: 0,
      certificateHeader: 'X-Client-Cert',
      format: 'escaped-pem',
      verifiedHeader: 'X-Client-Verify',
      ...more,
    },
  })
  const startBehind = (mtls: ConfigInput['mtls'], trustedProxies = ['127.0.0.1']) =>
    startServer((config) => ({ ...describeClients(mtls)(config), trustedProxies }))
  const forwarded = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'mtls.example' }
  const askBehind = (url: string, id: string, headers: Readonly<Record<string, string>>) =>
    post(url, '/token', credentials(id), { ...forwarded, ...headers })

  let behind: TestServer
  beforeAll(async () => {
    behind = await startBehind(describeProxy())
  })
  afterAll(() => behind[Symbol.asyncDispose]())

  test('says what certificate a client has, and whether it was verified', async () => {
    const shown = { 'x-client-cert': encodeURIComponent(robot.pem) }
    const verified = { ...shown, 'x-client-verify': 'SUCCESS' }
    const good = await askBehind(behind.mtlsUrl, 'robot', verified)
    expect(good.status).toBe(200)
    expect(readCnf(good.body['access_token'])).toEqual(boundTo(robot))
    for (const verdict of ['NONE', 'FAILED:unable to get issuer certificate', '', 'success']) {
      const headers = { ...shown, 'x-client-verify': verdict }
      expect(await askBehind(behind.mtlsUrl, 'robot', headers)).toMatchObject(INVALID_CLIENT)
    }
    const ownShown = { 'x-client-cert': encodeURIComponent(own.pem), 'x-client-verify': 'NONE' }
    expect((await askBehind(behind.mtlsUrl, 'app', ownShown)).status).toBe(200)
    expect(await askBehind(behind.mtlsUrl, 'app', {})).toMatchObject(INVALID_CLIENT)
  })

  test('writes it as RFC 9440 does', async () => {
    const format = { certificateHeader: 'Client-Cert', format: 'rfc9440' }
    await using other = await startBehind(describeProxy(format))
    const headers = { 'client-cert': `:${own.der.toString('base64')}:` }
    expect((await askBehind(other.mtlsUrl, 'app', headers)).status).toBe(200)
  })

  test.each([
    ['no certificate', 'nothing'],
    ['two', `${encodeURIComponent(own.pem)}, ${encodeURIComponent(own.pem)}`],
    ['one with another behind it', encodeURIComponent(own.pem + others.pem)],
    ['a key', encodeURIComponent(own.key)],
    ['one that is too large', encodeURIComponent(own.pem).padEnd(12_289, '%')],
    ['a broken escape', '%'],
  ])('that writes %s is told so', async (_what, value) => {
    const answer = await askBehind(behind.mtlsUrl, 'app', { 'x-client-cert': value })
    expect([answer.status, answer.body['error']]).toEqual([400, 'invalid_request'])
    expect(answer.text).not.toContain('BEGIN')
  })

  test('is the only one that is believed', async () => {
    await using other = await startBehind(describeProxy(), ['192.0.2.1'])
    const headers = { 'x-client-cert': encodeURIComponent(own.pem), 'x-client-verify': 'SUCCESS' }
    expect((await askBehind(other.mtlsUrl, 'app', headers)).status).toBe(421)
    const direct = await post(other.url, '/token', credentials('app'), headers)
    expect([direct.status, direct.body['error']]).toEqual([401, 'invalid_client'])
  })

  test('is not believed at the issuer, whatever host its client names', async () => {
    const headers = { 'x-client-cert': encodeURIComponent(own.pem), 'x-client-verify': 'SUCCESS' }
    const answer = await post(behind.url, '/token', credentials('app'), headers)
    expect([answer.status, answer.body['error']]).toEqual([401, 'invalid_client'])
    for (const names of [forwarded, { ...forwarded, host: 'mtls.example' }]) {
      const named = await post(behind.url, '/token', credentials('app'), { ...headers, ...names })
      expect(named.status).toBe(421)
    }
  })
})

test('a client whose tokens have to be bound gets none where no certificate is looked at', async () => {
  await using plain = await startServer()
  await using stores = await openStores(`sqlite:${plain.folder}/portreeve.sqlite`, systemClock)
  const service = await stores.clients.findById('service')
  if (!service) throw new Error('no service')
  await stores.clients.update({ ...service, certificateBound: true })
  const answer = await requestToken(
    plain.issuer,
    { grant_type: 'client_credentials', scope: 'notes:read' },
    { authorization: basic('service', SERVICE_SECRET) },
  )
  expect([answer.status, answer.body.error]).toEqual([400, 'invalid_grant'])
})

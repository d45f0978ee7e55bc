import { exportJWK, generateKeyPair } from 'jose'
import * as oidc from 'openid-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, type Browser } from '../support/browser.ts'
import {
  createCertificate,
  describeCertificateKey,
  type Certificate,
} from '../support/certificates.ts'
import { answerRequest } from '../support/ciba.ts'
import { approve } from '../support/device.ts'
import { withClients } from '../support/endpoints.ts'
import { signIn } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { askOverTls, writeMtls, type TlsAnswer } from '../support/mtls.ts'
import { invite, METADATA, withRegistration } from '../support/registration.ts'
import {
  NOTES,
  REDIRECT,
  SERVICE_SECRET,
  startServer,
  WEB_SECRET,
  type TestServer,
} from '../support/server.ts'

/* The table of the options is in docs/conformance/openid-client.md. */

const serverCertificate = await createCertificate({ name: 'CN=localhost', usages: ['server'] })
const own = await createCertificate({ name: 'CN=app' })
const others = await createCertificate({ name: 'CN=app' })
const signing = await generateKeyPair('ES256', { extractable: true })
const decryption = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true })
const foreign = await generateKeyPair('ECDH-ES', { crv: 'P-256', extractable: true })
const jwks = {
  keys: [
    { ...(await exportJWK(signing.publicKey)), kid: 'sig', alg: 'ES256', use: 'sig' },
    { ...(await exportJWK(decryption.publicKey)), kid: 'enc', use: 'enc' },
  ],
}
const signingKey = { key: signing.privateKey, kid: 'sig' }
const BYE = 'https://app.example/bye'

const app = {
  secret: { env: 'WEB_SECRET' },
  redirectUris: [REDIRECT],
  postLogoutRedirectUris: [BYE],
  scopes: ['openid', 'profile', 'offline_access', 'notes:read'],
  firstParty: true,
}
const encrypted = { algorithm: 'ECDH-ES', content: 'A256GCM' } as const

let folder: ReturnType<typeof makeFolder>
let server: TestServer
beforeAll(async () => {
  const declare = withClients(
    { id: 'app', ...app, grants: ['authorization_code', 'refresh_token', 'device_code'] },
    { id: 'post', ...app, authMethod: 'client_secret_post' },
    { id: 'public', ...app, secret: undefined, authMethod: 'none' } as never,
    { id: 'signer', ...app, secret: undefined, authMethod: 'private_key_jwt', jwks } as never,
    { id: 'bound', ...app, dpop: 'required' },
    { id: 'told', ...app, algorithms: { userinfo: 'RS256' } },
    {
      id: 'sealed',
      ...app,
      jwks,
      encryption: {
        idToken: encrypted,
        userinfo: encrypted,
        response: encrypted,
        introspection: encrypted,
      },
    },
    {
      id: 'bank',
      ...app,
      secret: undefined,
      authMethod: 'private_key_jwt',
      jwks,
      dpop: 'required',
      par: 'required',
      profile: 'fapi2',
      signedRequests: 'required',
      signedResponses: 'required',
      algorithms: { userinfo: 'ES256' },
    } as never,
    {
      id: 'api',
      grants: ['client_credentials', 'token_exchange'],
      secret: { env: 'SERVICE_SECRET' },
      scopes: ['notes:read'],
      introspects: [NOTES],
      exchange: [{ resource: NOTES, subjects: ['person'], from: [NOTES], mode: ['impersonation'] }],
    },
    {
      id: 'certified',
      ...app,
      secret: undefined,
      authMethod: 'self_signed_tls_client_auth',
      jwks: { keys: [describeCertificateKey(own)] },
      certificateBound: true,
    } as never,
    {
      id: 'desk',
      grants: ['ciba'],
      secret: { env: 'SERVICE_SECRET' },
      scopes: ['openid', 'notes:read'],
    },
  )
  folder = makeFolder()
  const mtls = writeMtls(folder.path, { server: serverCertificate })
  server = await startServer((config) => ({ ...withRegistration({})(declare(config)), mtls }))
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

interface Settings {
  readonly metadata?: Partial<oidc.ClientMetadata>
  readonly auth?: oidc.ClientAuth
  readonly execute?: readonly ((config: oidc.Configuration) => void)[]
}

function configure(
  id: string,
  { metadata = {}, auth = oidc.ClientSecretBasic(WEB_SECRET), execute = [] }: Settings = {},
): Promise<oidc.Configuration> {
  return oidc.discovery(new URL(server.issuer), id, metadata, auth, {
    execute: [oidc.allowInsecureRequests, ...execute],
  })
}

/** A client that shows this certificate wherever it calls by TLS. */
async function configureByCertificate(certificate: Certificate): Promise<oidc.Configuration> {
  const metadata = { use_mtls_endpoint_aliases: true }
  const config = await configure('certified', { metadata, auth: oidc.TlsClientAuth() })
  config[oidc.customFetch] = async (url, { method, headers, body }) => {
    const form = body instanceof URLSearchParams ? { form: Object.fromEntries(body) } : {}
    const asking = { certificate, server: serverCertificate, method, headers, ...form }
    const answer = await askOverTls(url, asking)
    return new Response(answer.text, { status: answer.status, headers: headersOf(answer) })
  }
  return config
}

function headersOf({ headers }: TlsAnswer): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) => [[name, String(value)]])
}

const decrypt = (config: oidc.Configuration) =>
  oidc.enableDecryptingResponses(config, ['A256GCM'], { key: decryption.privateKey, kid: 'enc' })

interface Flow {
  readonly parameters?: Record<string, string>
  readonly checks?: oidc.AuthorizationCodeGrantChecks
  readonly options?: oidc.DPoPOptions
  readonly build?: (
    config: oidc.Configuration,
    parameters: Record<string, string>,
    options?: oidc.DPoPOptions,
  ) => URL | Promise<URL>
  readonly browser?: Browser
}

/** The code flow with everything that the library checks of it. */
async function obtain(config: oidc.Configuration, flow: Flow = {}) {
  const { parameters, checks, options, build = oidc.buildAuthorizationUrl } = flow
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
  const [expectedState, expectedNonce] = [oidc.randomState(), oidc.randomNonce()]
  const request = {
    redirect_uri: REDIRECT,
    scope: 'openid profile',
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
    nonce: expectedNonce,
    ...parameters,
  }
  const url = await build(config, request, options)
  const { browser = createBrowser(server.issuer) } = flow
  let page = await browser.get(url.href)
  if (page.text.includes('/sign-in"')) page = await signIn(browser, page)
  if (page.text.includes('/consent"')) page = await browser.submit(page, '/consent')
  if (page.location === undefined) throw new Error(`${page.status}: ${page.text.slice(0, 2000)}`)
  return oidc.authorizationCodeGrant(
    config,
    new URL(page.location),
    { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true, ...checks },
    undefined,
    options,
  )
}

const subjectOf = (tokens: Awaited<ReturnType<typeof obtain>>) => tokens.claims()?.sub ?? ''

async function expectSignedIn(config: oidc.Configuration, flow: Flow = {}) {
  const tokens = await obtain(config, flow)
  expect(tokens.claims()).toMatchObject({ iss: server.issuer })
  return tokens
}

async function createHandle(config: oidc.Configuration): Promise<oidc.DPoPOptions> {
  return { DPoP: oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair('ES256')) }
}

const asApi = { auth: oidc.ClientSecretBasic(SERVICE_SECRET) }

/** Each export of the library, and how it is used here. */
const USES: Readonly<Record<string, () => Promise<unknown>>> = {
  async discovery() {
    const config = await configure('app')
    expect(config.serverMetadata()).toMatchObject({ issuer: server.issuer })
    expect(config.serverMetadata().supportsPKCE()).toBe(true)
    const other = oidc.discovery(new URL('/other', server.issuer), 'app', WEB_SECRET, undefined, {
      execute: [oidc.allowInsecureRequests],
    })
    await expect(other).rejects.toMatchObject({ code: 'OAUTH_RESPONSE_IS_NOT_CONFORM' })
  },
  async Configuration() {
    const metadata = (await configure('app')).serverMetadata()
    const config = new oidc.Configuration(metadata, 'app', WEB_SECRET, oidc.ClientSecretBasic())
    oidc.allowInsecureRequests(config)
    config.timeout = 10
    await expectSignedIn(config)
  },
  async allowInsecureRequests() {
    const refused = oidc.discovery(new URL(server.issuer), 'app', WEB_SECRET)
    await expect(refused).rejects.toThrow('only requests to HTTPS are allowed')
    await configure('app')
  },
  ClientSecretBasic: async () => expectSignedIn(await configure('app')),
  async ClientSecretPost() {
    const auth = oidc.ClientSecretPost(WEB_SECRET)
    await expectSignedIn(await configure('post', { auth }))
    const wrong = await configure('post', { auth: oidc.ClientSecretPost(`${WEB_SECRET}x`) })
    await expect(obtain(wrong)).rejects.toMatchObject({ error: 'invalid_client' })
  },
  None: async () => expectSignedIn(await configure('public', { auth: oidc.None() })),
  async PrivateKeyJwt() {
    await expectSignedIn(await configure('signer', { auth: oidc.PrivateKeyJwt(signingKey) }))
    const other = await generateKeyPair('ES256')
    const auth = oidc.PrivateKeyJwt({ key: other.privateKey, kid: 'sig' })
    const stranger = await configure('signer', { auth })
    await expect(obtain(stranger)).rejects.toMatchObject({ error: 'invalid_client' })
  },
  async TlsClientAuth() {
    const tokens = await expectSignedIn(await configureByCertificate(own))
    expect(tokens.token_type).toBe('bearer')
    const [token, subject] = [tokens.access_token, subjectOf(tokens)]
    const person = await oidc.fetchUserInfo(await configureByCertificate(own), token, subject)
    expect(person.sub).toBe(subject)
    const stolen = oidc.fetchUserInfo(await configureByCertificate(others), token, subject)
    await expect(stolen).rejects.toMatchObject({ status: 401 })
    const stranger = obtain(await configureByCertificate(others))
    await expect(stranger).rejects.toMatchObject({ error: 'invalid_client' })
  },
  async modifyAssertion() {
    const lasting = (seconds: number) =>
      oidc.PrivateKeyJwt(signingKey, {
        [oidc.modifyAssertion]: (_header, payload) => {
          payload['exp'] = Number(payload['iat']) + seconds
        },
      })
    await expectSignedIn(await configure('signer', { auth: lasting(200) }))
    const config = await configure('signer', { auth: lasting(3600) })
    await expect(obtain(config)).rejects.toMatchObject({ error: 'invalid_client' })
  },
  async customFetch() {
    const config = await configure('app')
    const asked: string[] = []
    config[oidc.customFetch] = (url, options) => {
      asked.push(new URL(url).pathname)
      return fetch(url, options as RequestInit)
    }
    await expectSignedIn(config)
    expect(asked).toEqual(['/token'])
  },
  async clockSkew() {
    const metadata = { [oidc.clockSkew]: 4000 }
    await expect(obtain(await configure('app', { metadata }))).rejects.toThrow(
      'JWT timestamp claim',
    )
  },
  async clockTolerance() {
    const metadata = { [oidc.clockSkew]: 4000, [oidc.clockTolerance]: 1000 }
    await expectSignedIn(await configure('app', { metadata }))
  },
  buildAuthorizationUrl: async () => expectSignedIn(await configure('app')),
  calculatePKCECodeChallenge: async () => expectSignedIn(await configure('app')),
  async randomPKCECodeVerifier() {
    const checks = { pkceCodeVerifier: oidc.randomPKCECodeVerifier() }
    const refused = obtain(await configure('app'), { checks })
    await expect(refused).rejects.toMatchObject({ error: 'invalid_grant' })
  },
  async randomState() {
    const refused = obtain(await configure('app'), { checks: { expectedState: 'another' } })
    await expect(refused).rejects.toThrow('invalid response')
  },
  async randomNonce() {
    const refused = obtain(await configure('app'), { checks: { expectedNonce: 'another' } })
    await expect(refused).rejects.toThrow('unexpected JWT claim value')
  },
  async skipStateCheck() {
    const checks = { expectedState: oidc.skipStateCheck } as const
    await expectSignedIn(await configure('app'), { checks })
  },
  async authorizationCodeGrant() {
    const parameters = { max_age: '3000' }
    const { claims } = await expectSignedIn(await configure('app'), {
      parameters,
      checks: { maxAge: 3000 },
    })
    expect(claims()).toHaveProperty('auth_time')
  },
  async buildAuthorizationUrlWithPAR() {
    const build = oidc.buildAuthorizationUrlWithPAR
    await expectSignedIn(await configure('app'), { build })
    const refused = obtain(await configure('app'), {
      build,
      parameters: { redirect_uri: 'https://attacker.example/' },
    })
    await expect(refused).rejects.toMatchObject({ status: 400 })
  },
  async buildAuthorizationUrlWithJAR() {
    const config = await configure('signer', { auth: oidc.PrivateKeyJwt(signingKey) })
    await expectSignedIn(config, {
      build: (_config, parameters) =>
        oidc.buildAuthorizationUrlWithJAR(config, parameters, signingKey),
    })
  },
  async useJwtResponseMode() {
    await expectSignedIn(await configure('app', { execute: [oidc.useJwtResponseMode] }))
  },
  async enableNonRepudiationChecks() {
    const config = await configure('told', {
      metadata: { introspection_signed_response_alg: 'RS256' },
      execute: [oidc.enableNonRepudiationChecks],
    })
    const tokens = await expectSignedIn(config)
    const person = await oidc.fetchUserInfo(config, tokens.access_token, subjectOf(tokens))
    expect(person.name).toBe('Alice Adams')
    expect(await oidc.tokenIntrospection(config, tokens.access_token)).toMatchObject({
      active: true,
    })
  },
  async enableDecryptingResponses() {
    const metadata = { introspection_signed_response_alg: 'RS256' }
    const execute = [oidc.useJwtResponseMode, oidc.enableNonRepudiationChecks]
    const config = await configure('sealed', { metadata, execute: [...execute, decrypt] })
    const tokens = await expectSignedIn(config)
    expect(tokens.id_token?.split('.')).toHaveLength(5)
    const person = await oidc.fetchUserInfo(config, tokens.access_token, subjectOf(tokens))
    expect(person.name).toBe('Alice Adams')
    expect(await oidc.tokenIntrospection(config, tokens.access_token)).toMatchObject({
      active: true,
    })
    const wrong = (other: oidc.Configuration) =>
      oidc.enableDecryptingResponses(other, ['A256GCM'], { key: foreign.privateKey, kid: 'enc' })
    const blind = await configure('sealed', { metadata, execute: [...execute, wrong] })
    await expect(obtain(blind)).rejects.toMatchObject({ code: 'OAUTH_DECRYPTION_FAILED' })
  },
  async getJwksCache() {
    const config = await configure('app', { execute: [oidc.enableNonRepudiationChecks] })
    await expectSignedIn(config)
    expect(oidc.getJwksCache(config)?.jwks.keys.length).toBeGreaterThan(1)
  },
  async setJwksCache() {
    const execute = [oidc.enableNonRepudiationChecks]
    const first = await configure('app', { execute })
    await expectSignedIn(first)
    const cache = oidc.getJwksCache(first)
    if (!cache) throw new Error('there is no cache to go on with')
    const second = await configure('app', { execute })
    oidc.setJwksCache(second, cache)
    const asked: string[] = []
    second[oidc.customFetch] = (url, options) => {
      asked.push(new URL(url).pathname)
      return fetch(url, options as RequestInit)
    }
    await expectSignedIn(second)
    expect(asked).not.toContain('/jwks')
  },
  async refreshTokenGrant() {
    const config = await configure('app')
    const tokens = await obtain(config, { parameters: { scope: 'openid offline_access' } })
    const refreshed = await oidc.refreshTokenGrant(config, tokens.refresh_token ?? '')
    expect(refreshed.claims()?.sub).toBe(subjectOf(tokens))
    const refused = oidc.refreshTokenGrant(config, 'x')
    await expect(refused).rejects.toMatchObject({ error: 'invalid_grant' })
  },
  async clientCredentialsGrant() {
    const config = await configure('api', asApi)
    const form = { scope: 'notes:read', resource: NOTES }
    const { scope } = await oidc.clientCredentialsGrant(config, form)
    expect(scope).toBe('notes:read')
  },
  async genericGrantRequest() {
    const parameters = { scope: 'openid notes:read', resource: NOTES }
    const { access_token } = await obtain(await configure('app'), { parameters })
    const type = 'urn:ietf:params:oauth:grant-type:token-exchange'
    const config = await configure('api', asApi)
    const exchange = (subject_token: string) =>
      oidc.genericGrantRequest(config, type, {
        subject_token,
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        resource: NOTES,
      })
    expect(await exchange(access_token)).toMatchObject({ scope: 'notes:read' })
    await expect(exchange('x')).rejects.toMatchObject({ error: 'invalid_request' })
  },
  async initiateDeviceAuthorization() {
    const asked = await oidc.initiateDeviceAuthorization(await configure('app'), {
      scope: 'openid',
    })
    expect(asked.verification_uri).toBe(`${server.issuer}/device`)
  },
  async pollDeviceAuthorizationGrant() {
    const config = await configure('app')
    const asked = await oidc.initiateDeviceAuthorization(config, { scope: 'openid' })
    await approve(server, asked.user_code)
    const tokens = await oidc.pollDeviceAuthorizationGrant(config, { ...asked, interval: 0 })
    expect(tokens.claims()).toHaveProperty('sub')
  },
  async initiateBackchannelAuthentication() {
    const config = await configure('desk', asApi)
    const ask = (login_hint: string) =>
      oidc.initiateBackchannelAuthentication(config, { scope: 'openid', login_hint })
    expect(await ask('bob')).toHaveProperty('auth_req_id')
    const refused = oidc.initiateBackchannelAuthentication(config, { scope: 'openid' })
    await expect(refused).rejects.toMatchObject({ error: 'invalid_request' })
  },
  async pollBackchannelAuthenticationGrant() {
    const config = await configure('desk', asApi)
    const form = { scope: 'openid notes:read', login_hint: 'alice' }
    const asked = await oidc.initiateBackchannelAuthentication(config, form)
    await answerRequest(server, 'alice')
    const polled = { ...asked, interval: 0 }
    const tokens = await oidc.pollBackchannelAuthenticationGrant(config, polled)
    expect(tokens.claims()).toHaveProperty('sub')
  },
  async randomDPoPKeyPair() {
    const { publicKey } = await oidc.randomDPoPKeyPair('ES256')
    expect(publicKey.algorithm).toMatchObject({ namedCurve: 'P-256' })
  },
  async getDPoPHandle() {
    const config = await configure('bound')
    const options = await createHandle(config)
    const tokens = await expectSignedIn(config, { options })
    expect(tokens.token_type).toBe('dpop')
    const [token, subject] = [tokens.access_token, subjectOf(tokens)]
    expect((await oidc.fetchUserInfo(config, token, subject, options)).sub).toBe(subject)
    await expect(obtain(config)).rejects.toMatchObject({ error: 'invalid_grant' })
    const other = await createHandle(config)
    const stolen = oidc.fetchUserInfo(config, token, subject, other)
    await expect(stolen).rejects.toMatchObject({ status: 401 })
  },
  async fetchUserInfo() {
    const config = await configure('app')
    const { access_token } = await obtain(config)
    const wrong = oidc.fetchUserInfo(config, access_token, 'somebody else')
    await expect(wrong).rejects.toThrow('unexpected JSON attribute value')
  },
  async skipSubjectCheck() {
    const config = await configure('app')
    const { access_token } = await obtain(config)
    const person = await oidc.fetchUserInfo(config, access_token, oidc.skipSubjectCheck)
    expect(person.name).toBe('Alice Adams')
  },
  async fetchProtectedResource() {
    const config = await configure('bound')
    const options = await createHandle(config)
    const { access_token } = await obtain(config, { options })
    const url = new URL('/userinfo', server.issuer)
    const headers = new Headers({ accept: 'application/json' })
    const answer = await oidc.fetchProtectedResource(
      config,
      access_token,
      url,
      'GET',
      undefined,
      headers,
      options,
    )
    expect(answer.status).toBe(200)
  },
  async tokenIntrospection() {
    const config = await configure('app')
    const { access_token } = await obtain(config)
    expect(await oidc.tokenIntrospection(config, access_token)).toMatchObject({ active: true })
    const stranger = await configure('api', asApi)
    expect(await oidc.tokenIntrospection(stranger, access_token)).toEqual({ active: false })
  },
  async tokenRevocation() {
    const config = await configure('app')
    const { access_token } = await obtain(config)
    await oidc.tokenRevocation(config, access_token)
    expect(await oidc.tokenIntrospection(config, access_token)).toEqual({ active: false })
  },
  async dynamicClientRegistration() {
    const { token } = await invite(server)
    const register = (initialAccessToken: string) =>
      oidc.dynamicClientRegistration(new URL(server.issuer), METADATA, undefined, {
        initialAccessToken,
        execute: [oidc.allowInsecureRequests],
      })
    const config = await register(token)
    const secret = config.clientMetadata().client_secret ?? ''
    const { client_id: id } = config.clientMetadata()
    // What it has registered for is the default, Basic; the library's own is to post the secret.
    await expectSignedIn(await configure(id, { auth: oidc.ClientSecretBasic(secret) }))
    await expect(register(token)).rejects.toMatchObject({ status: 401 })
  },
  async buildEndSessionUrl() {
    const config = await configure('app')
    const browser = createBrowser(server.issuer)
    const { id_token = '' } = await obtain(config, { browser })
    const state = oidc.randomState()
    const form = { id_token_hint: id_token, post_logout_redirect_uri: BYE, state }
    const page = await browser.get(oidc.buildEndSessionUrl(config, form).href)
    const { location } = await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
    expect(location).toBe(`${BYE}?state=${state}`)
  },
  async AuthorizationResponseError() {
    const refused = obtain(await configure('app'), { parameters: { prompt: 'none' } })
    await expect(refused).rejects.toBeInstanceOf(oidc.AuthorizationResponseError)
    await expect(refused).rejects.toMatchObject({ error: 'login_required' })
  },
  async ResponseBodyError() {
    const refused = oidc.refreshTokenGrant(await configure('app'), 'x')
    await expect(refused).rejects.toBeInstanceOf(oidc.ResponseBodyError)
  },
  async WWWAuthenticateChallengeError() {
    const refused = oidc.fetchUserInfo(await configure('app'), 'x', 'y')
    await expect(refused).rejects.toBeInstanceOf(oidc.WWWAuthenticateChallengeError)
    await expect(refused).rejects.toMatchObject({ status: 401 })
  },
  async ClientError() {
    const refused = obtain(await configure('app'), { checks: { expectedNonce: 'another' } })
    await expect(refused).rejects.toBeInstanceOf(oidc.ClientError)
  },
}

/** What is not offered, and how the library is refused. */
const REFUSALS: Readonly<Record<string, () => Promise<unknown>>> = {
  async ClientSecretJwt() {
    const config = await configure('app', { auth: oidc.ClientSecretJwt(WEB_SECRET) })
    await expect(obtain(config)).rejects.toMatchObject({ error: 'invalid_client' })
  },
  async useCodeIdTokenResponseType() {
    await refuseFor('code id_token', [oidc.useCodeIdTokenResponseType])
  },
  async enableDetachedSignatureResponseChecks() {
    const execute = [oidc.useCodeIdTokenResponseType, oidc.enableDetachedSignatureResponseChecks]
    await refuseFor('code id_token', execute)
  },
  async useIdTokenResponseType() {
    await refuseFor('id_token', [oidc.useIdTokenResponseType])
  },
  async implicitAuthentication() {
    const config = await configure('app', { execute: [oidc.useIdTokenResponseType] })
    const nonce = oidc.randomNonce()
    const location = await refuseFor('id_token', [oidc.useIdTokenResponseType])
    const refused = oidc.implicitAuthentication(config, new URL(location), nonce)
    await expect(refused).rejects.toMatchObject({ error: 'unsupported_response_type' })
  },
}

async function refuseFor(type: string, execute: NonNullable<Settings['execute']>): Promise<string> {
  const config = await configure('app', { execute })
  const url = oidc.buildAuthorizationUrl(config, {
    redirect_uri: REDIRECT,
    scope: 'openid',
    nonce: oidc.randomNonce(),
  })
  expect(url.searchParams.get('response_type')).toBe(type)
  const { location = '' } = await createBrowser(server.issuer).get(url.href)
  expect(location).toContain('error=unsupported_response_type')
  return location
}

describe('openid-client', () => {
  test('has nothing that is not used or refused here', () => {
    const names = [...Object.keys(USES), ...Object.keys(REFUSALS)]
    expect(new Set(names)).toEqual(new Set(Object.keys(oidc)))
  })

  test.each(Object.entries(USES))('%s does what it is for', async (_name, use) => {
    expect.hasAssertions()
    await use()
  })

  test.each(Object.entries(REFUSALS))('%s is refused', async (_name, use) => {
    expect.hasAssertions()
    await use()
  })

  test('all that FAPI 2.0 wants, at once', async () => {
    const metadata = {
      id_token_signed_response_alg: 'ES256',
      authorization_signed_response_alg: 'ES256',
      userinfo_signed_response_alg: 'ES256',
      introspection_signed_response_alg: 'ES256',
    }
    const config = await configure('bank', {
      metadata,
      auth: oidc.PrivateKeyJwt(signingKey),
      execute: [oidc.useJwtResponseMode, oidc.enableNonRepudiationChecks],
    })
    const options = await createHandle(config)
    const tokens = await expectSignedIn(config, {
      options,
      async build(_config, parameters) {
        const signed = await oidc.buildAuthorizationUrlWithJAR(config, parameters, signingKey)
        return oidc.buildAuthorizationUrlWithPAR(config, signed.searchParams, options)
      },
    })
    expect(tokens.token_type).toBe('dpop')
    const [token, subject] = [tokens.access_token, subjectOf(tokens)]
    const person = await oidc.fetchUserInfo(config, token, subject, options)
    expect(person.name).toBe('Alice Adams')
    expect(await oidc.tokenIntrospection(config, token)).toMatchObject({ active: true })
  })
})

import { randomUUID } from 'node:crypto'
import {
  calculateJwkThumbprint,
  createRemoteJWKSet,
  decodeProtectedHeader,
  jwtVerify,
  SignJWT,
} from 'jose'
import { afterAll, describe, expect, test } from 'vitest'
import { createApiKeyId, generateApiKey, hashApiKey } from '../../auth-server/api-keys/api-key.ts'
import { systemClock } from '../../auth-server/clock.ts'
import {
  CLIENT_ENCRYPTION_ALGORITHMS,
  CONTENT_ENCRYPTIONS,
  ENCRYPTED_KINDS,
} from '../../auth-server/config/built-in.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser } from '../support/browser.ts'
import {
  createAuthority,
  createCertificate,
  describeCertificateKey,
  type Certificate,
} from '../support/certificates.ts'
import { ask, CIBA_GRANT, openRequests } from '../support/ciba.ts'
import { approve, askForCode } from '../support/device.ts'
import { decrypt, makeDecryptionKey, type DecryptionKey } from '../support/encryption.ts'
import { obtainAs, startDocumentHost, withDocuments } from '../support/documents.ts'
import { introspect, post, withClients } from '../support/endpoints.ts'
import {
  authorizationUrl,
  authorize,
  basic,
  decodeJwt,
  makePkce,
  obtainTokens,
  requestToken,
  signIn,
  type AuthorizationRequest,
} from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { startLogoutReceiver } from '../support/logout-receiver.ts'
import { askOverTls, writeMtls } from '../support/mtls.ts'
import {
  BILLING,
  NOTES,
  REDIRECT,
  SERVICE_SECRET,
  startServer,
  WEB_SECRET,
} from '../support/server.ts'
import {
  describeAssertion,
  describeRequestObject,
  makeSigningKey,
  secondsNow,
  signClaims,
} from '../support/signing.ts'

type Asked = 'alice' | 'bob'
type Use = (value: string) => Promise<void>

interface Place {
  /** Default: everything is in a SQLite file. */
  readonly change?: (config: ConfigInput) => ConfigInput
  /** The URL of the database. */
  readonly nameDatabase?: (folder: string) => string
}

/**
 * Walks the metadata (RFC 8414 §2, OpenID Connect Discovery 1.0 §3) and uses each value that they
 * advertise. What nobody here can use fails, and so does what is new and has no entry below.
 */
export async function walkMetadata({
  change = (config) => config,
  nameDatabase = (folder) => `sqlite:${folder}/portreeve.sqlite`,
}: Place = {}): Promise<void> {
  const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']
  const IDP = 'https://idp.example/'
  const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:access_token'
  const asService = { authorization: basic('service', SERVICE_SECRET) }
  const asApi = { authorization: basic('api', SERVICE_SECRET) }

  const keys = new Map(
    await Promise.all(
      ALGORITHMS.map(async (alg) => [alg, await makeSigningKey(alg, alg)] as const),
    ),
  )
  const jwks = { keys: [...keys.values()].map(({ jwk }) => jwk) }
  const ownKey = keyFor('ES256')
  const decryptionKeys = {
    RSA: await makeDecryptionKey('rsa', 'RSA-OAEP-256'),
    ECDH: await makeDecryptionKey('ec', 'ECDH-ES'),
  }
  const logouts = await startLogoutReceiver()
  const folder = makeFolder()
  const authority = await createAuthority()
  const tls = await createCertificate({ name: 'CN=localhost', usages: ['server'] })
  const chained = await createCertificate({ name: 'CN=robot', signer: authority })
  const selfSigned = await createCertificate({ name: 'CN=app' })
  const documents = await startDocumentHost()

  const app = { secret: { env: 'WEB_SECRET' }, redirectUris: [REDIRECT], scopes: ['openid'] }
  const SIGNED = ['RS256', 'ES256'] as const
  // All of them with each other are in test/conformance/encryption.test.ts.
  const ENCRYPTED = [
    ...CLIENT_ENCRYPTION_ALGORITHMS.map(
      (algorithm) => ({ algorithm, content: 'A128GCM' }) as const,
    ),
    ...CONTENT_ENCRYPTIONS.filter((content) => content !== 'A128GCM').map(
      (content) => ({ algorithm: 'ECDH-ES', content }) as const,
    ),
  ]
  const server = await startServer((config) => ({
    ...withClients(
      {
        id: 'web',
        grants: ['authorization_code', 'refresh_token', 'device_code'],
        backchannelLogoutUri: logouts.uri,
        frontchannelLogoutUri: 'https://app.example/bye',
      },
      {
        id: 'api',
        grants: ['client_credentials', 'token_exchange', 'api_key', 'jwt_bearer'],
        secret: { env: 'SERVICE_SECRET' },
        scopes: ['notes:read', 'billing:read', 'revocations:read'],
        introspects: [NOTES],
        assertionIssuers: [IDP],
        defaultResource: NOTES,
        exchange: [
          {
            resource: BILLING,
            scopes: ['billing:read'],
            subjects: ['person'],
            from: [NOTES],
            mode: ['delegation'],
          },
          { resource: NOTES, subjects: ['person'], from: [NOTES], mode: ['impersonation'] },
        ],
      },
      { id: 'post', ...app, authMethod: 'client_secret_post' },
      { id: 'signer', ...app, secret: undefined, authMethod: 'private_key_jwt', jwks } as never,
      { id: 'asker', ...app, jwks },
      { id: 'pairwise', ...app, subjectType: 'pairwise' },
      {
        id: 'robot',
        authMethod: 'tls_client_auth',
        certificate: { subjectDn: 'CN=robot' },
        certificateBound: true,
        grants: ['client_credentials'],
        scopes: ['notes:read'],
      },
      {
        id: 'self-signed',
        authMethod: 'self_signed_tls_client_auth',
        jwks: { keys: [describeCertificateKey(selfSigned)] },
        grants: ['client_credentials'],
        scopes: ['notes:read'],
      },
      {
        id: 'desk',
        secret: { env: 'SERVICE_SECRET' },
        grants: ['ciba'],
        scopes: ['openid', 'notes:read'],
        jwks,
      },
      {
        id: 'called-desk',
        secret: { env: 'SERVICE_SECRET' },
        grants: ['ciba'],
        scopes: ['openid', 'notes:read'],
        ciba: { mode: 'ping', notificationUri: logouts.uri },
      },
      ...SIGNED.map((alg) => ({
        id: `in-${alg}`,
        ...app,
        algorithms: { idToken: alg, userinfo: alg, response: alg, introspection: alg },
      })),
      ...ENCRYPTED.map(({ algorithm, content }) => ({
        id: nameReader(algorithm, content),
        ...app,
        jwks: { keys: Object.values(decryptionKeys).map(({ jwk }) => jwk) },
        encryption: Object.fromEntries(
          ENCRYPTED_KINDS.map((kind) => [kind, { algorithm, content }]),
        ),
      })),
    )(change(withDocuments()(config))),
    mtls: writeMtls(folder.path, { server: tls, authority }),
    trustedIssuers: [{ issuer: IDP, jwks: { keys: [ownKey.jwk] }, scopes: ['notes:read'] }],
  }))
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    await logouts[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
    await documents[Symbol.asyncDispose]()
  })

  const { issuer } = server
  const published = createRemoteJWKSet(new URL(`${issuer}/jwks`))
  const [metadata, other] = await Promise.all(
    ['openid-configuration', 'oauth-authorization-server'].map(async (name) => {
      const response = await fetch(`${issuer}/.well-known/${name}`)
      return (await response.json()) as Record<string, unknown>
    }),
  )

  /** What a client gets that everything is encrypted for, each once for all values. */
  const readers = new Map<string, Promise<DecryptedHeaders>>()

  function readEncrypted(algorithm: string, content: string) {
    const id = nameReader(algorithm, content)
    const known = readers.get(id) ?? obtainEncrypted(id, algorithm)
    readers.set(id, known)
    return known
  }

  async function obtainEncrypted(id: string, algorithm: string): Promise<DecryptedHeaders> {
    const key = algorithm.startsWith('RSA') ? decryptionKeys.RSA : decryptionKeys.ECDH
    const { verifier, challenge } = makePkce()
    const request = { client_id: id, scope: 'openid', response_mode: 'jwt' }
    const browser = createBrowser(issuer)
    const first = await browser.get(authorizationUrl(issuer, challenge, request))
    const { location = '' } = await browser.submit(await signIn(browser, first), '/consent')
    const response = new URL(location).searchParams.get('response') ?? ''
    const authorization = await open(response, key, id)
    const form = { grant_type: 'authorization_code', code_verifier: verifier }
    const as = { authorization: basic(id, WEB_SECRET) }
    const code = String(authorization.payload['code'])
    const { body } = await requestToken(issuer, { ...form, code, redirect_uri: REDIRECT }, as)
    const headers = { authorization: `Bearer ${body.access_token}` }
    const userinfo = await (await fetch(`${issuer}/userinfo`, { headers })).text()
    const accept = 'application/token-introspection+jwt'
    const { text } = await introspect(issuer, body.access_token, { ...as, accept })
    return {
      authorization: authorization.header,
      id_token: (await open(body.id_token, key, id)).header,
      userinfo: (await open(userinfo, key, id)).header,
      introspection: (await open(text, key, id)).header,
    }
  }

  async function open(text: string, key: DecryptionKey, audience: string) {
    const { header, token } = await decrypt(text, key)
    const { payload } = await jwtVerify(token, published, { issuer, audience })
    return { header, payload }
  }

  const ENCRYPTION: Readonly<Record<string, Use>> = Object.fromEntries(
    ['authorization', 'id_token', 'userinfo', 'introspection'].flatMap((kind) => [
      [
        `${kind}_encryption_alg_values_supported`,
        async (alg: string) =>
          expect((await readEncrypted(alg, 'A128GCM'))[kind]).toMatchObject({ alg }),
      ],
      [
        `${kind}_encryption_enc_values_supported`,
        async (enc: string) =>
          expect((await readEncrypted('ECDH-ES', enc))[kind]).toMatchObject({ enc }),
      ],
    ]),
  )

  function keyFor(alg: string) {
    const key = keys.get(alg)
    if (!key) throw new Error(`there is no key here for ${alg}`)
    return key
  }

  /** Tokens of a client with a secret by Basic; the ID token verified. */
  async function obtainBy(clientId: string, request: AuthorizationRequest = {}) {
    const { code, verifier } = await authorize(issuer, {
      client_id: clientId,
      scope: 'openid',
      ...request,
    })
    const form = { grant_type: 'authorization_code', code, code_verifier: verifier }
    const headers = { authorization: basic(clientId, WEB_SECRET) }
    const { body } = await requestToken(issuer, { ...form, redirect_uri: REDIRECT }, headers)
    await jwtVerify(body.id_token, published, { issuer, audience: clientId })
    return body
  }

  async function expectToken(form: Record<string, string>, headers: Record<string, string>) {
    const { status, body } = await requestToken(issuer, form, headers)
    expect([status, body]).toEqual([
      200,
      expect.objectContaining({ access_token: expect.any(String) as unknown }),
    ])
  }

  async function makeApiKey(): Promise<string> {
    await using stores = await openStores(nameDatabase(server.folder), systemClock)
    const alice = await stores.accounts.findByUsername('alice')
    const text = generateApiKey()
    const key = {
      id: createApiKeyId(),
      accountId: alice?.id ?? '',
      name: 'A test',
      resource: NOTES,
      scopes: ['notes:read'],
      hash: hashApiKey(text),
      createdAt: systemClock.now(),
      expiresAt: undefined,
      lastUsedAt: undefined,
      revokedAt: undefined,
    }
    expect(await stores.apiKeys.insert(key, 50)).toBe('added')
    return text
  }

  const GRANTS: Readonly<Record<string, () => Promise<void>>> = {
    authorization_code: async () => void (await obtainTokens(issuer)),
    async refresh_token() {
      const { refresh_token } = await obtainTokens(issuer)
      const form = { grant_type: 'refresh_token', refresh_token }
      await expectToken(form, { authorization: basic('web', WEB_SECRET) })
    },
    client_credentials: () =>
      expectToken({ grant_type: 'client_credentials', scope: 'notes:read' }, asService),
    async 'urn:ietf:params:oauth:grant-type:device_code'() {
      const { body } = await askForCode(issuer)
      await approve(server, body.user_code)
      const grant_type = 'urn:ietf:params:oauth:grant-type:device_code'
      const form = { grant_type, device_code: body.device_code }
      await expectToken(form, { authorization: basic('web', WEB_SECRET) })
    },
    async 'urn:portreeve:params:oauth:grant-type:api-key'() {
      const grant_type = 'urn:portreeve:params:oauth:grant-type:api-key'
      await expectToken({ grant_type, api_key: await makeApiKey() }, asApi)
    },
    async 'urn:ietf:params:oauth:grant-type:token-exchange'() {
      const { access_token } = await obtainTokens(issuer)
      const form = {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: access_token,
        subject_token_type: TOKEN_TYPE,
        resource: NOTES,
      }
      await expectToken(form, asApi)
    },
    'urn:openid:params:grant-type:ciba': () => askElsewhere({}),
    async 'urn:ietf:params:oauth:grant-type:jwt-bearer'() {
      const claims = { ...describeAssertion('alice', issuer), iss: IDP, client_id: 'api' }
      const assertion = await signClaims(claims, ownKey, { typ: 'oauth-id-jag+jwt' })
      const grant_type = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
      await expectToken({ grant_type, assertion }, asApi)
    },
  }

  /** Has somebody asked elsewhere, who approves. Nobody is asked more often than the server lets them be. */
  async function askElsewhere(
    body: Record<string, string>,
    clientId = 'desk',
    who: Asked = 'alice',
  ) {
    const headers = { authorization: basic(clientId, SERVICE_SECRET) }
    const asked = await ask(
      issuer,
      'request' in body ? body : { login_hint: who, ...body },
      headers,
    )
    expect(asked.body).toHaveProperty('auth_req_id')
    const { browser, page } = await openRequests(server, who)
    await browser.submit(page, '/approve')
    await expectToken({ grant_type: CIBA_GRANT, auth_req_id: asked.body.auth_req_id }, headers)
  }

  const DELIVERY_MODES: Readonly<Record<string, () => Promise<void>>> = {
    poll: () => askElsewhere({}),
    async ping() {
      const before = logouts.received.length
      await askElsewhere({ client_notification_token: 'x'.repeat(43) }, 'called-desk')
      await expect.poll(() => logouts.received.length, { timeout: 5000 }).toBeGreaterThan(before)
    },
  }

  async function askElsewhereSigned(alg: string): Promise<void> {
    const who = ['ES512', 'EdDSA'].includes(alg) ? 'alice' : 'bob'
    const parameters = { scope: 'openid notes:read', login_hint: who }
    const claims = describeRequestObject('desk', issuer, parameters)
    await askElsewhere({ request: await signClaims(claims, keyFor(alg)) }, 'desk', who)
  }

  /** Asks by a request of `client_id=asker` whose answer comes back in a redirect. */
  async function askBy(request: AuthorizationRequest): Promise<URL> {
    const browser = createBrowser(issuer)
    const { challenge } = makePkce()
    const url = authorizationUrl(issuer, challenge, { scope: 'openid', ...request })
    const page = await browser.submit(await signIn(browser, await browser.get(url)), '/consent')
    return new URL(page.location ?? page.url)
  }

  const RESPONSE_MODES: Readonly<Record<string, () => Promise<void>>> = {
    query: async () =>
      expect((await askBy({ response_mode: 'query' })).searchParams.get('code')).toBeTruthy(),
    fragment: async () =>
      expect((await askBy({ response_mode: 'fragment' })).hash).toMatch(/[#&]code=/),
    form_post: () => expectFormWith('form_post', 'code'),
    jwt: async () => expectResponse((await askBy({ response_mode: 'jwt' })).searchParams),
    'query.jwt': async () =>
      expectResponse((await askBy({ response_mode: 'query.jwt' })).searchParams),
    'fragment.jwt': async () => {
      const { hash } = await askBy({ response_mode: 'fragment.jwt' })
      await expectResponse(new URLSearchParams(hash.slice(1)))
    },
    'form_post.jwt': () => expectFormWith('form_post.jwt', 'response'),
  }

  async function expectFormWith(mode: string, name: string): Promise<void> {
    const browser = createBrowser(issuer)
    const url = authorizationUrl(issuer, makePkce().challenge, {
      scope: 'openid',
      response_mode: mode,
    })
    const page = await browser.submit(await signIn(browser, await browser.get(url)), '/consent')
    expect(page.text).toContain(`action="${REDIRECT}"`)
    expect(page.text).toContain(`name="${name}"`)
  }

  async function expectResponse(parameters: URLSearchParams): Promise<void> {
    const response = parameters.get('response') ?? ''
    const { payload } = await jwtVerify(response, published, { issuer, audience: 'web' })
    expect(payload).toMatchObject({ code: expect.any(String) as unknown, iss: issuer })
  }

  const AUTH_METHODS: Readonly<Record<string, () => Promise<void>>> = {
    client_secret_basic: () => expectAuthenticated({}, basic('asker', WEB_SECRET)),
    client_secret_post: () => expectAuthenticated({ client_id: 'post', client_secret: WEB_SECRET }),
    private_key_jwt: () => authenticateBy('ES256'),
    tls_client_auth: async () => void (await requestOverTls('robot', chained)),
    self_signed_tls_client_auth: async () => void (await requestOverTls('self-signed', selfSigned)),
    none: async () => {
      const { code, verifier } = await authorize(issuer, {
        client_id: 'spa',
        redirect_uri: 'https://spa.example/',
      })
      const form = { grant_type: 'authorization_code', code, code_verifier: verifier }
      await expectToken({ ...form, client_id: 'spa', redirect_uri: 'https://spa.example/' }, {})
    },
  }

  async function requestOverTls(clientId: string, certificate: Certificate) {
    const url = `${server.mtlsUrl}/token`
    const headers = { host: new URL(url).host }
    const form = { grant_type: 'client_credentials', client_id: clientId, scope: 'notes:read' }
    const answer = await askOverTls(url, { server: tls, certificate, headers, form })
    expect([answer.status, answer.body]).toEqual([
      200,
      expect.objectContaining({ access_token: expect.any(String) as unknown }),
    ])
    return String(answer.body['access_token'])
  }

  /** Asking about a token needs nothing but to prove who asks. */
  async function expectAuthenticated(form: Record<string, string>, authorization?: string) {
    const headers = authorization === undefined ? {} : { authorization }
    const answer = await post(issuer, '/introspect', { token: 'x.y.z', ...form }, headers)
    expect([answer.status, answer.body]).toEqual([200, { active: false }])
  }

  async function authenticateBy(alg: string): Promise<void> {
    const client_assertion = await signClaims(describeAssertion('signer', issuer), keyFor(alg))
    const client_assertion_type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
    await expectAuthenticated({ client_assertion, client_assertion_type })
  }

  async function askByRequestObject(alg: string): Promise<void> {
    const parameters = {
      response_type: 'code',
      redirect_uri: REDIRECT,
      scope: 'openid',
      state: 'signed',
      code_challenge: makePkce().challenge,
      code_challenge_method: 'S256',
    }
    const claims = describeRequestObject('asker', issuer, parameters)
    const request = await signClaims(claims, keyFor(alg), { typ: 'oauth-authz-req+jwt' })
    const browser = createBrowser(issuer)
    const query = new URLSearchParams({ client_id: 'asker', request }).toString()
    const page = await signIn(browser, await browser.get(`${issuer}/auth?${query}`))
    const { location } = await browser.submit(page, '/consent')
    expect(new URL(location ?? '').searchParams.get('state')).toBe('signed')
  }

  const SCOPES: Readonly<Record<string, () => Promise<void>>> = {
    openid: async () => expect(await readUserinfo('openid')).toHaveProperty('sub'),
    profile: async () => expect(await readUserinfo('openid profile')).toHaveProperty('name'),
    email: async () => expect(await readUserinfo('openid email')).toHaveProperty('email'),
    groups: async () => expect(await readUserinfo('openid groups')).toHaveProperty('groups'),
    async offline_access() {
      const request = { scope: 'openid offline_access', prompt: 'consent' }
      expect((await obtainTokens(issuer, request)).scope).toContain('offline_access')
    },
  }

  async function readUserinfo(scope: string): Promise<unknown> {
    const { access_token } = await obtainTokens(issuer, { scope })
    const headers = { authorization: `Bearer ${access_token}` }
    return (await fetch(`${issuer}/userinfo`, { headers })).json()
  }

  /** Claims that a test has seen by now are read once. */
  let everything: Promise<Record<string, unknown>> | undefined
  async function readEverything(): Promise<Record<string, unknown>> {
    await using stores = await openStores(nameDatabase(server.folder), systemClock)
    const alice = await stores.accounts.findByUsername('alice')
    if (!alice) throw new Error('no alice')
    const profile = {
      ...alice.profile,
      givenName: 'Alice',
      familyName: 'Adams',
      picture: 'https://app.example/alice.png',
      locale: 'en',
      emailVerified: true,
    }
    await stores.accounts.update({ ...alice, profile })
    const { access_token, id_token } = await obtainTokens(issuer, {
      scope: 'openid profile email groups',
      acr_values: 'urn:portreeve:acr:password',
      max_age: '600',
    })
    const headers = { authorization: `Bearer ${access_token}` }
    const userinfo = (await (await fetch(`${issuer}/userinfo`, { headers })).json()) as object
    return { ...decodeJwt(id_token).claims, ...userinfo }
  }

  async function findClaim(claim: string): Promise<void> {
    everything ??= readEverything()
    expect(await everything).toHaveProperty(claim)
  }

  async function bindBy(alg: string): Promise<void> {
    const { privateKey, jwk } = keyFor(alg)
    const { kid: _kid, alg: _alg, ...shown } = jwk
    const claims = { htm: 'POST', htu: `${issuer}/token`, jti: randomUUID(), iat: secondsNow() }
    const dpop = await new SignJWT(claims)
      .setProtectedHeader({ alg, typ: 'dpop+jwt', jwk: shown })
      .sign(privateKey)
    const form = { grant_type: 'client_credentials', scope: 'notes:read' }
    const { body } = await requestToken(issuer, form, { ...asService, dpop })
    const jkt = await calculateJwkThumbprint(shown)
    expect(decodeJwt(body.access_token).claims['cnf']).toEqual({ jkt })
  }

  async function signOut(): Promise<string> {
    const { browser } = await obtainTokens(issuer)
    const page = await browser.get(`${issuer}/session/end?client_id=web`)
    return (await browser.submit(page, '/session/end/confirm', { logout: 'yes' })).text
  }

  /** How each value of a member is used. */
  const VALUES: Readonly<Record<string, Use>> = {
    acr_values_supported: async (acr) => {
      const { id_token } = await obtainTokens(issuer, { acr_values: acr })
      expect(decodeJwt(id_token).claims['acr']).toBe(acr)
    },
    claims_supported: findClaim,
    claim_types_supported: async (type) => expect(type).toBe('normal'),
    code_challenge_methods_supported: async (method) => {
      // Every flow here uses it; another one is refused.
      expect(method).toBe('S256')
      const request = { code_challenge: 'x'.repeat(43), code_challenge_method: 'plain' }
      const page = await createBrowser(issuer).get(authorizationUrl(issuer, undefined, request))
      expect(new URL(page.location ?? '').searchParams.get('error')).toBe('invalid_request')
    },
    grant_types_supported: (grant) => use(GRANTS, grant),
    response_modes_supported: (mode) => use(RESPONSE_MODES, mode),
    response_types_supported: async (type) => {
      expect((await askBy({ response_type: type })).searchParams.has(type)).toBe(true)
    },
    scopes_supported: (scope) => use(SCOPES, scope),
    subject_types_supported: async (type) => {
      const asker = type === 'public' ? 'asker' : type
      const [one, two] = [await obtainBy(asker), await obtainBy('in-ES256')]
      const [first, second] = [one, two].map(({ id_token }) => decodeJwt(id_token).claims['sub'])
      expect(first === second).toBe(type === 'public')
    },
    token_endpoint_auth_methods_supported: (method) => use(AUTH_METHODS, method),
    token_endpoint_auth_signing_alg_values_supported: authenticateBy,
    id_token_signing_alg_values_supported: async (alg) => {
      const { id_token } = await obtainBy(`in-${alg}`)
      expect(decodeProtectedHeader(id_token).alg).toBe(alg)
    },
    userinfo_signing_alg_values_supported: async (alg) => {
      const { access_token } = await obtainBy(`in-${alg}`)
      const headers = { authorization: `Bearer ${access_token}` }
      const text = await (await fetch(`${issuer}/userinfo`, { headers })).text()
      const { protectedHeader } = await jwtVerify(text, published, {
        issuer,
        audience: `in-${alg}`,
      })
      expect(protectedHeader.alg).toBe(alg)
    },
    authorization_signing_alg_values_supported: async (alg) => {
      const client_id = `in-${alg}`
      const { searchParams } = await askBy({ client_id, response_mode: 'jwt' })
      const response = searchParams.get('response') ?? ''
      const verified = await jwtVerify(response, published, { issuer, audience: client_id })
      expect(verified.protectedHeader.alg).toBe(alg)
    },
    ...ENCRYPTION,
    request_object_signing_alg_values_supported: askByRequestObject,
    dpop_signing_alg_values_supported: bindBy,
    introspection_signing_alg_values_supported: async (alg) => {
      const accept = 'application/token-introspection+jwt'
      const authorization = basic(`in-${alg}`, WEB_SECRET)
      const { text } = await introspect(issuer, 'x.y.z', { authorization, accept })
      expect(decodeProtectedHeader(text).alg).toBe(alg)
      await jwtVerify(text, published, { issuer, audience: `in-${alg}` })
    },
    backchannel_authentication_endpoint: (url) => expectEndpoint(url, 'POST', [400, 401]),
    backchannel_token_delivery_modes_supported: (mode) => use(DELIVERY_MODES, mode),
    backchannel_authentication_request_signing_alg_values_supported: askElsewhereSigned,
    authorization_endpoint: (url) => expectEndpoint(url, 'GET', [400]),
    token_endpoint: (url) => expectEndpoint(url, 'POST', [400]),
    userinfo_endpoint: (url) => expectEndpoint(url, 'GET', [400, 401]),
    jwks_uri: async (url) => {
      const { keys: found } = (await (await fetch(url)).json()) as { keys: unknown[] }
      expect(found.length).toBeGreaterThan(1)
    },
    end_session_endpoint: (url) => expectEndpoint(url, 'GET', [200]),
    pushed_authorization_request_endpoint: (url) => expectEndpoint(url, 'POST', [400, 401]),
    introspection_endpoint: (url) => expectEndpoint(url, 'POST', [400, 401]),
    revocation_endpoint: (url) => expectEndpoint(url, 'POST', [400, 401]),
    device_authorization_endpoint: (url) => expectEndpoint(url, 'POST', [400, 401]),
    issuer: async (value) => expect(value).toBe(issuer),
  }

  /** What each flag promises. `false` promises that it is refused or passed over. */
  const FLAGS: Readonly<Record<string, (flag: boolean) => Promise<void>>> = {
    async authorization_response_iss_parameter_supported(flag) {
      expect((await askBy({})).searchParams.get('iss')).toBe(flag ? issuer : null)
    },
    async claims_parameter_supported(flag) {
      const claims = JSON.stringify({ id_token: { email: null } })
      const { id_token } = await obtainTokens(issuer, { scope: 'openid', claims })
      expect('email' in decodeJwt(id_token).claims).toBe(flag)
    },
    async backchannel_user_code_parameter_supported(flag) {
      expect(flag).toBe(false)
      const headers = { authorization: basic('desk', SERVICE_SECRET) }
      const { body } = await ask(issuer, { user_code: '1234' }, headers)
      expect(body.error).toBe('invalid_request')
    },
    async request_parameter_supported(flag) {
      expect(flag).toBe(true)
      await askByRequestObject('ES256')
    },
    async request_uri_parameter_supported(flag) {
      expect(flag).toBe(false)
      const request = { request_uri: 'https://app.example/request.jwt' }
      const page = await createBrowser(issuer).get(
        authorizationUrl(issuer, makePkce().challenge, request),
      )
      expect(page.location ?? page.text).toMatch(/invalid_request_uri|request_uri_not_supported/)
    },
    async backchannel_logout_supported(flag) {
      expect(flag).toBe(true)
      const before = logouts.received.length
      await signOut()
      await expect.poll(() => logouts.received.length, { timeout: 5000 }).toBeGreaterThan(before)
    },
    async backchannel_logout_session_supported(flag) {
      expect(flag).toBe(true)
      const before = logouts.received.length
      await signOut()
      await expect.poll(() => logouts.received.length, { timeout: 5000 }).toBeGreaterThan(before)
      expect(decodeJwt(logouts.received.at(-1)?.token ?? '').claims).toHaveProperty('sid')
    },
    async tls_client_certificate_bound_access_tokens(flag) {
      expect(flag).toBe(true)
      const token = await requestOverTls('robot', chained)
      const cnf = { 'x5t#S256': chained.thumbprint }
      expect(decodeJwt(token).claims['cnf']).toEqual(cnf)
    },
    async client_id_metadata_document_supported(flag) {
      expect(flag).toBe(true)
      const url = documents.publish('/app')
      const { access_token } = await obtainAs(issuer, url, { resource: NOTES })
      expect(decodeJwt(access_token).claims).toMatchObject({ client_id: url, aud: NOTES })
    },
    async frontchannel_logout_supported(flag) {
      expect((await signOut()).includes('https://app.example/bye')).toBe(flag)
    },
    async frontchannel_logout_session_supported(flag) {
      expect(/https:\/\/app\.example\/bye\?iss=[^"]+sid=/.test(await signOut())).toBe(flag)
    },
  }

  /** How each member that is an object is used. */
  const OBJECTS: Readonly<
    Record<string, (value: Readonly<Record<string, string>>) => Promise<void>>
  > = {
    async portreeve_revocation_feed({ resource = '', scope = '', ...endpoints }) {
      const form = { grant_type: 'client_credentials', scope, resource }
      const { body } = await requestToken(issuer, form, asApi)
      const authorization = `Bearer ${body.access_token}`
      const headers = { authorization, 'content-type': 'application/json' }
      const send = (url: string | undefined, document?: object) =>
        fetch(url ?? '', {
          headers,
          ...(document && { method: 'POST', body: JSON.stringify(document) }),
        })
      const { stream_endpoint: stream, pages_endpoint: pages } = endpoints
      const { poll_endpoint: poll, applied_endpoint: applied } = endpoints
      const opened = await send(stream)
      expect(opened.headers.get('content-type')).toBe('text/event-stream')
      await opened.body?.cancel()
      const page = await (await send(pages)).text()
      const { payload } = await jwtVerify(page, published, { issuer, audience: resource })
      const polled = await (await send(poll, { returnImmediately: true })).json()
      expect(polled).toHaveProperty('sets')
      const report = await send(applied, { feed: payload['feed'], applied: 0 })
      expect(report.status).toBe(204)
    },
    async mtls_endpoint_aliases(aliases) {
      for (const [name, url] of Object.entries(aliases)) {
        expect(metadata).toHaveProperty(name)
        const method = name === 'userinfo_endpoint' ? 'GET' : 'POST'
        const headers = { host: new URL(url).host }
        const { status } = await askOverTls(url, { server: tls, method, headers })
        expect([400, 401]).toContain(status)
      }
    },
  }

  test('both documents say the same', () => {
    expect(other).toEqual(metadata)
  })

  async function useValue(member: string, value: unknown): Promise<void> {
    const flag = FLAGS[member]
    const way = VALUES[member]
    if (typeof value === 'boolean' && flag) await flag(value)
    else if (typeof value === 'string' && way) await way(value)
    else if (typeof value === 'object' && OBJECTS[member]) {
      await OBJECTS[member](value as Record<string, string>)
    } else throw new Error(`${member} is advertised, and nothing here uses it`)
  }

  const advertised = Object.entries(metadata ?? {}).flatMap(([member, value]) =>
    [value].flat().map((one) => [member, one] as const),
  )

  test.each(advertised)('%s: %s is as it is said', async (member, value) => {
    await expect(useValue(member, value)).resolves.toBeUndefined()
  })

  describe('what is not advertised', () => {
    test('is refused: grants, response types, methods and algorithms', async () => {
      const password = { grant_type: 'password', username: 'alice', password: 'x' }
      expect((await requestToken(issuer, password)).body.error).toBe('unsupported_grant_type')
      for (const response_type of ['token', 'id_token', 'code id_token']) {
        const url = authorizationUrl(issuer, makePkce().challenge, { response_type, nonce: 'n' })
        const { location = '' } = await createBrowser(issuer).get(url)
        expect(location).toContain('error=unsupported_response_type')
      }
    })
  })
}

type DecryptedHeaders = Readonly<Record<string, Awaited<ReturnType<typeof decrypt>>['header']>>

/** The id of a client: no id has a plus. */
function nameReader(algorithm: string, content: string): string {
  return `${algorithm.replace('+', '.')}-${content}`
}

/** An endpoint is there where it says something of the protocol about a request that has nothing. */
async function expectEndpoint(url: string, method: 'GET' | 'POST', statuses: readonly number[]) {
  const response = await fetch(url, { method, redirect: 'manual' })
  expect(statuses).toContain(response.status)
}

async function use(ways: Readonly<Record<string, () => Promise<void>>>, value: string) {
  const way = ways[value]
  if (!way) throw new Error(`${value} is advertised, and nothing here uses it`)
  await way()
}

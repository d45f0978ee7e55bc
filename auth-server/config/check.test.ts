import { expect, test } from 'vitest'
import { checkConfig } from './check.ts'
import { isRefusal, RULES, type RuleId } from './rules.ts'
import { configSchema, type ConfigInput } from './schema.ts'

type Client = NonNullable<ConfigInput['clients']>[number]
type Resource = NonNullable<ConfigInput['resources']>[number]
type User = NonNullable<ConfigInput['users']>[number]

interface Case {
  readonly accepted: readonly ConfigInput[]
  /** Each with the path that the finding must name. */
  readonly refused: readonly (readonly [path: string, config: ConfigInput])[]
}

const notes: Resource = {
  identifier: 'https://notes.example/',
  name: 'Notes',
  scopes: { 'notes:read': { description: 'Read your notes' } },
}
const https: ConfigInput = { issuer: 'https://id.example', trustedProxies: ['127.0.0.1'] }

function withResources(...resources: Partial<Resource>[]): ConfigInput {
  return { resources: resources.map((resource) => ({ ...notes, ...resource })) }
}

const app: Client = { id: 'app', secret: { env: 'S' }, redirectUris: ['https://app.example/cb'] }

type DetailType = NonNullable<Resource['authorizationDetails']>[string]

function withDetails(change: Partial<DetailType>): ConfigInput {
  const payment: DetailType = {
    description: 'Pay a bill',
    scope: 'notes:read',
    members: {
      to: { name: 'To', type: 'text' },
      actions: { name: 'What', type: 'list', values: ['start', 'cancel'] },
    },
  }
  return { resources: [{ ...notes, authorizationDetails: { payment: { ...payment, ...change } } }] }
}

function withClients(...clients: Partial<Client>[]): ConfigInput {
  return { resources: [notes], clients: clients.map((client) => ({ ...app, ...client })) }
}

/** Of nobody. */
const KEY = {
  kty: 'EC',
  crv: 'P-256',
  x: 'wP8Eb5xbTjYLcYFeXzByQqL8Gp_WBKQ1xHA0qKE6OW4',
  y: 'PgcRWi5YC79vml5aG394FdEChzo4T4X8VCW92ABKssM',
}

const IDP = {
  issuer: 'https://idp.example/',
  jwksUri: 'https://idp.example/jwks',
  scopes: ['notes:read'],
}

function withBearer(client: Partial<Client>): ConfigInput {
  const settings: Partial<Client> = {
    grants: ['authorization_code', 'jwt_bearer'],
    assertionIssuers: [IDP.issuer],
  }
  return { ...withClients({ ...settings, ...client }), trustedIssuers: [IDP] }
}

function withCiba(client: Partial<Client>): ConfigInput {
  return withClients({ grants: ['authorization_code', 'ciba'], ...client })
}

function withPing(notificationUri: string): ConfigInput {
  return withCiba({ ciba: { mode: 'ping', notificationUri } })
}

const ECDH = { algorithm: 'ECDH-ES' } as const
const OAEP = { algorithm: 'RSA-OAEP-256' } as const

function withFapi(client: Partial<Client>): ConfigInput {
  return withClients({
    secret: undefined,
    profile: 'fapi2',
    authMethod: 'private_key_jwt',
    jwks: { keys: [KEY] },
    dpop: 'required',
    par: 'required',
    ...client,
  })
}

function withPairwise(client: Partial<Client> = {}): ConfigInput {
  return withClients({ subjectType: 'pairwise', scopes: ['openid', 'email'], ...client })
}

function publicClient(client: Partial<Client>): ConfigInput {
  return withClients({ authMethod: 'none', secret: undefined, ...client })
}

const exchangeRule: NonNullable<Client['exchange']>[number] = {
  resource: notes.identifier,
  subjects: ['person'],
  from: [notes.identifier],
  mode: ['delegation'],
}

function withExchange(rule: Partial<typeof exchangeRule>): ConfigInput {
  return withClients({
    grants: ['authorization_code', 'token_exchange'],
    exchange: [{ ...exchangeRule, ...rule }],
  })
}

function withRedirect(uri: string, client: Partial<Client> = {}): ConfigInput {
  return publicClient({ redirectUris: [uri], ...client })
}

function withUsers(...users: Partial<User>[]): ConfigInput {
  const ann: User = { username: 'ann', password: { env: 'P' } }
  return {
    roles: { reader: { scopes: [] }, everyone: { scopes: [] } },
    users: users.map((user) => ({ ...ann, ...user })),
  }
}

const SHARED: Partial<Resource> = {
  algorithm: 'HS256',
  secret: { env: 'S' },
  issuer: 'jwtgo.io',
  audience: 'billing.jwtgo.io',
}

function withClaims(claims: Resource['claims'], roles: ConfigInput['roles'] = {}): ConfigInput {
  return { roles, ...withResources({ claims }) }
}

type Direct = NonNullable<ConfigInput['directAccess']>

/** On loopback, with a shared secret, a client that may have its tokens, and a user. */
function withDirect(directAccess: Direct, more: ConfigInput = {}): ConfigInput {
  return {
    ...withClients({ scopes: ['notes:read'] }),
    ...withResources(SHARED),
    ...withUsers({}),
    directAccess,
    ...more,
  }
}

const password = { resource: notes.identifier }
const unauthenticated = { resource: notes.identifier, client: 'app' }

function withKey(key: { user?: string } = {}, more: ConfigInput = {}, listen = {}): ConfigInput {
  const demonstrationKeys = [{ secret: { env: 'K' }, user: 'ann', ...key }]
  return withDirect({ listen, apiKey: { ...password, demonstrationKeys } }, more)
}

type Mtls = NonNullable<ConfigInput['mtls']>

const MTLS_ORIGIN = 'https://mtls.example'
const TLS_LISTENER: NonNullable<Mtls['listener']> = {
  certificate: 'server.pem',
  key: { file: 'server.key' },
  authorities: 'authorities.pem',
}

function withMtls(mtls: Mtls): ConfigInput {
  return { mtls: { origin: MTLS_ORIGIN, listener: TLS_LISTENER, ...mtls } }
}

function withProxy(mtls: Mtls): ConfigInput {
  const proxy = { certificateHeader: 'Client-Cert', format: 'rfc9440' } as const
  return { trustedProxies: ['127.0.0.1'], mtls: { origin: MTLS_ORIGIN, proxy, ...mtls } }
}

function withCertificate(client: Partial<Client>): ConfigInput {
  const certificate = { subjectDn: 'CN=robot,O=Example\\, Inc.,C=DE' }
  const robot: Partial<Client> = { secret: undefined, authMethod: 'tls_client_auth', certificate }
  return { ...withMtls({}), ...withClients({ ...robot, ...client }) }
}

const SELF_SIGNED: Partial<Client> = {
  authMethod: 'self_signed_tls_client_auth',
  certificate: undefined,
  jwksUri: 'https://app.example/jwks',
}

const BOUND: Partial<Client> = { dpop: 'allowed', certificateBound: true }

function withRegistration(registration: ConfigInput['registration']): ConfigInput {
  return { ...withResources({}), registration }
}

type Registration = NonNullable<ConfigInput['registration']>
type Stater = NonNullable<Registration['softwareStatements']>['issuers'][number]
const STATER: Stater = { issuer: 'https://stater.example', jwks: { keys: [KEY] } }

function withStatements(issuer: Partial<Stater>, more: Registration = {}): ConfigInput {
  const softwareStatements = { issuers: [{ ...STATER, ...issuer }] }
  return withRegistration({ softwareStatements, ...more })
}

function withDocuments(clientDocuments: ConfigInput['clientDocuments']): ConfigInput {
  return { ...withResources({}), clientDocuments }
}

const native = { applicationType: 'native' } as const
const firstUri = 'clients.0.redirectUris.0'

const CASES: Readonly<Record<RuleId, Case>> = {
  PR101: {
    accepted: [https, { issuer: 'http://localhost:3000' }, { issuer: 'http://[::1]:3000' }],
    refused: [
      ['issuer', { issuer: 'https://id.example/' }],
      ['issuer', { issuer: 'https://id.example/auth' }],
      ['issuer', { issuer: 'https://id.example?x' }],
      ['issuer', { issuer: 'https://id.example#x' }],
      ['issuer', { issuer: 'https://u:p@id.example' }],
      ['issuer', { issuer: 'https://id.example:443' }],
      ['issuer', { issuer: 'id.example' }],
      ['issuer', { issuer: 'ftp://id.example' }],
      ['issuer', { issuer: '' }],
    ],
  },
  PR102: {
    accepted: [https, { issuer: 'http://127.0.0.1:3000' }, { issuer: 'http://127.9.9.9:3000' }],
    refused: [
      ['issuer', { issuer: 'http://id.example' }],
      ['issuer', { issuer: 'http://192.168.1.2:3000' }],
      ['issuer', { issuer: 'http://localhost.example:3000' }],
    ],
  },
  PR103: {
    accepted: [
      { listen: { host: 'localhost' } },
      { listen: { host: '::1' } },
      { ...https, listen: { host: '0.0.0.0' } },
    ],
    refused: [
      ['listen.host', { listen: { host: '0.0.0.0' } }],
      ['listen.host', { listen: { host: '::' } }],
      ['listen.host', { listen: { host: 'box.example' } }],
    ],
  },
  PR104: {
    accepted: [{ trustedProxies: ['10.0.0.1', '10.0.0.0/8', 'fd00::/8', '::1'] }],
    refused: [
      '10.0.0.0/33',
      '10.0.0.0/',
      '10.0.0.0/0',
      '::/0',
      '10.0.0',
      'proxy',
      '1.1.1.1/8/8',
      '',
    ].map((proxy) => ['trustedProxies.0', { trustedProxies: [proxy] }]),
  },
  PR113: {
    accepted: [{ outbound: { networks: ['10.0.0.0/8', 'fd00::/8', '192.168.1.7/32'] } }],
    refused: ['10.0.0.1', '10.0.0.0/33', '0.0.0.0/0', 'intranet', ''].map((network) => [
      'outbound.networks.0',
      { outbound: { networks: [network] } },
    ]),
  },
  PR105: {
    accepted: [
      { database: { url: 'sqlite:/var/lib/p.sqlite' } },
      { database: { url: 'sqlite::memory:' } },
      { database: { url: 'postgres://u:p@localhost/d' } },
      { database: { url: 'postgresql://[::1]:5433/d' } },
      { database: { url: 'postgres:///d?host=/run/postgresql' } },
    ],
    refused: [
      'sqlite:',
      'sqlite:///p',
      'postgres://u:p@h',
      'postgresql:///d',
      'postgres:d',
      'p.sqlite',
      '',
    ].map((url) => ['database.url', { database: { url } }]),
  },
  PR106: {
    accepted: [
      { issuer: 'http://localhost:4000', listen: { port: 4000 } },
      { issuer: 'http://localhost:4000', listen: { port: 0 } },
      { issuer: 'http://localhost:4000', trustedProxies: ['127.0.0.1'] },
    ],
    refused: [['issuer', { issuer: 'http://localhost:4000', listen: { port: 4001 } }]],
  },
  PR107: {
    accepted: [https, {}],
    refused: [['trustedProxies', { issuer: 'https://id.example' }]],
  },
  PR109: {
    accepted: [
      { database: { url: 'postgres://u@127.0.0.1/d' } },
      { database: { url: 'postgres://u@db.example/d?sslmode=verify-full' } },
    ],
    refused: ['', '?sslmode=disable', '?sslmode=require'].map((query) => [
      'database.url',
      { database: { url: `postgres://u@db.example/d${query}` } },
    ]),
  },
  PR108: {
    accepted: [{ tokens: { sessionTtlSeconds: 7_776_000 } }],
    refused: [
      ['tokens.sessionTtlSeconds', { tokens: { sessionTtlSeconds: 7_776_001 } }],
      ['tokens.refreshTokenTtlSeconds', { tokens: { refreshTokenTtlSeconds: 7_776_001 } }],
    ],
  },
  PR110: {
    accepted: [{}, { metrics: {} }, { listen: { port: 0 }, metrics: { port: 0 } }],
    refused: [
      ['metrics.port', { metrics: { port: 3000 } }],
      ['metrics.port', { listen: { port: 9464 }, metrics: { host: '10.0.0.1' } }],
    ],
  },
  PR111: {
    accepted: [
      { redis: { url: 'redis://localhost' } },
      { redis: { url: 'redis://:secret@127.0.0.1:6380/3' } },
      { redis: { url: 'rediss://ann:secret@redis.example' } },
    ],
    refused: ['', 'localhost:6379', 'http://localhost', 'redis:///1', 'redis://h/name'].map(
      (url) => ['redis.url', { redis: { url } }],
    ),
  },
  PR112: {
    accepted: [{ redis: { url: 'rediss://redis.example' } }, { redis: { url: 'redis://[::1]' } }],
    refused: [['redis.url', { redis: { url: 'redis://redis.example' } }]],
  },
  PR114: {
    accepted: [withMtls({}), { ...withProxy({}) }],
    refused: [
      ['mtls', { mtls: { origin: MTLS_ORIGIN } }],
      ['mtls', { ...withProxy({ listener: TLS_LISTENER }) }],
    ],
  },
  PR115: {
    accepted: [withProxy({})],
    refused: [['mtls.proxy', { ...withProxy({}), trustedProxies: [] }]],
  },
  PR116: {
    accepted: [withMtls({ origin: undefined }), withMtls({ origin: 'https://id.example:3443' })],
    refused: [
      ['mtls.origin', withProxy({ origin: undefined })],
      ['mtls.origin', withMtls({ origin: 'http://mtls.example' })],
      ['mtls.origin', withMtls({ origin: 'https://mtls.example/path' })],
      ['mtls.origin', { ...https, ...withMtls({ origin: https.issuer }) }],
    ],
  },
  PR117: {
    accepted: [withMtls({ listener: { ...TLS_LISTENER, port: 0 } })],
    refused: [
      ['mtls.listener.port', withMtls({ listener: { ...TLS_LISTENER, port: 3000 } })],
      [
        'mtls.proxy.port',
        withProxy({ proxy: { port: 3000, certificateHeader: 'Client-Cert', format: 'rfc9440' } }),
      ],
    ],
  },
  PR118: {
    accepted: [withProxy({})],
    refused: ['Authorization', 'host', 'X-Forwarded-For'].map((certificateHeader) => [
      'mtls.proxy.certificateHeader',
      withProxy({ proxy: { certificateHeader, format: 'rfc9440' } }),
    ]),
  },
  PR120: {
    accepted: [{ signIn: { shortestPassword: 1 } }, { ...https, signIn: { shortestPassword: 8 } }],
    refused: [['signIn.shortestPassword', { ...https, signIn: { shortestPassword: 7 } }]],
  },
  PR201: {
    accepted: [withResources({}, { identifier: 'urn:b' })],
    refused: [['resources.1.identifier', withResources({}, { audience: 'other' })]],
  },
  PR202: {
    accepted: [withResources({ audience: 'a' }, { identifier: 'urn:b', audience: 'b' })],
    refused: [
      [
        'resources.1.audience',
        withResources({ audience: 'a' }, { identifier: 'urn:b', audience: 'a' }),
      ],
      [
        'resources.1.audience',
        withResources({}, { identifier: 'urn:b', audience: notes.identifier }),
      ],
      [
        'resources.1.audience',
        withResources({ audience: 'urn:b' }, { identifier: 'urn:b', audience: 'b' }),
      ],
    ],
  },
  PR203: {
    accepted: [withResources({ identifier: 'http://localhost:3000/notes' })],
    refused: [
      ['resources.0.identifier', withResources({ identifier: 'http://localhost:3000' })],
      ['resources.0.audience', withResources({ audience: 'http://localhost:3000/' })],
    ],
  },
  PR204: {
    accepted: [withResources({})],
    refused: [
      ['resources.0.scopes.openid', withResources({ scopes: { openid: { description: 'x' } } })],
      ['resources.0.scopes.groups', withResources({ scopes: { groups: { description: 'x' } } })],
    ],
  },
  PR205: {
    accepted: [{ ...withResources({}), roles: { reader: { scopes: ['notes:read', 'email'] } } }],
    refused: [['roles.reader.scopes.0', { roles: { reader: { scopes: ['notes:read'] } } }]],
  },
  PR206: {
    accepted: [withResources({})],
    refused: [['resources.1.scopes.notes:read', withResources({}, { identifier: 'urn:b' })]],
  },
  PR207: {
    accepted: [withResources({ accessTokenTtlSeconds: 3600 })],
    refused: [
      ['resources.0.accessTokenTtlSeconds', withResources({ accessTokenTtlSeconds: 3601 })],
    ],
  },
  PR210: {
    accepted: [withResources({}), withResources(SHARED)],
    refused: [
      ['resources.0.secret', withResources({ ...SHARED, secret: undefined })],
      ['resources.0.issuer', withResources({ ...SHARED, algorithm: 'HS512', issuer: undefined })],
    ],
  },
  PR211: {
    accepted: [withResources(SHARED)],
    refused: [
      ['resources.0.secret', withResources({ secret: { env: 'S' } })],
      ['resources.0.issuer', withResources({ issuer: 'jwtgo.io' })],
    ],
  },
  PR212: {
    accepted: [withResources({ ...SHARED, issuer: 'http://localhost:4000' })],
    refused: [
      ['resources.0.issuer', withResources({ ...SHARED, issuer: 'http://localhost:3000' })],
      ['resources.0.issuer', withResources({ ...SHARED, issuer: 'http://localhost:3000/' })],
      ['resources.0.issuer', { ...https, ...withResources({ ...SHARED, issuer: https.issuer }) }],
    ],
  },
  PR213: {
    accepted: [withClaims({ username: { from: 'username' }, authorized: { value: true } })],
    refused: ['sub', 'iss', 'aud', 'exp', 'scope', 'roles', 'client_id', 'cnf', 'act', 'sid'].map(
      (claim) => [`resources.0.claims.${claim}`, withClaims({ [claim]: { value: 'x' } })],
    ),
  },
  PR214: {
    accepted: [withClaims({ role: { firstRoleOf: ['admin'] } }, { admin: { scopes: [] } })],
    refused: [
      [
        'resources.0.claims.role.firstRoleOf.1',
        withClaims({ role: { firstRoleOf: ['admin', 'constructor'] } }, { admin: { scopes: [] } }),
      ],
    ],
  },
  PR215: {
    accepted: [withResources({})],
    refused: [['resources.0.algorithm', withResources(SHARED)]],
  },
  PR301: {
    accepted: [withClients({ id: 'a' }, { id: 'A' })],
    refused: [['clients.1.id', withClients({ id: 'a' }, { id: 'a' })]],
  },
  PR302: {
    accepted: [withClients({ id: 'account' })],
    refused: [['clients.0.id', withClients({ id: 'acc_1' })]],
  },
  PR303: {
    accepted: [{ ...withClients({ id: 'app' }), ...withResources({ audience: 'notes' }) }],
    refused: [
      [
        'clients.0.id',
        { ...withClients({ id: 'notes' }), ...withResources({ audience: 'notes' }) },
      ],
    ],
  },
  PR304: {
    accepted: [publicClient({})],
    refused: [['clients.0.secret', withClients({ authMethod: 'none' })]],
  },
  PR305: {
    accepted: [withClients({ grants: ['client_credentials'], scopes: ['notes:read'] })],
    refused: [['clients.0.grants', publicClient({ grants: ['client_credentials'] })]],
  },
  PR306: {
    accepted: [withClients({}), publicClient({})],
    refused: [
      ['clients.0.secret', publicClient({ authMethod: 'client_secret_basic' })],
      ['clients.0.secret', publicClient({ authMethod: 'client_secret_post' })],
    ],
  },
  PR307: {
    accepted: [withClients({ pkce: 'exempt' })],
    refused: [['clients.0.pkce', publicClient({ pkce: 'exempt' })]],
  },
  PR308: {
    accepted: [withClients({}), withClients({ grants: ['client_credentials'], redirectUris: [] })],
    refused: [['clients.0.redirectUris', withClients({ redirectUris: [] })]],
  },
  PR309: {
    accepted: [withClients({ grants: ['authorization_code', 'refresh_token'] })],
    refused: [
      ['clients.0.grants', withClients({ grants: ['client_credentials', 'refresh_token'] })],
    ],
  },
  PR310: {
    accepted: [withRedirect('https://app.example/cb')],
    refused: [
      ...['javascript:alert(1)', 'data:text/html,x', 'vbscript:x', 'file:///etc/passwd'].flatMap(
        (uri) => [
          [firstUri, withRedirect(uri)] as const,
          [firstUri, withRedirect(uri, native)] as const,
        ],
      ),
      [
        'clients.0.postLogoutRedirectUris.0',
        withClients({ postLogoutRedirectUris: ['javascript:alert(1)'] }),
      ],
    ],
  },
  PR311: {
    accepted: [withRedirect('http://localhost:8080/cb'), withRedirect('http://127.0.0.2/cb')],
    refused: [
      [firstUri, withRedirect('http://app.example/cb')],
      [firstUri, withRedirect('http://192.168.1.2/cb', native)],
    ],
  },
  PR312: {
    accepted: [withRedirect('https://app.example/cb')],
    refused: [
      [firstUri, withRedirect('https://*.app.example/cb')],
      [firstUri, withRedirect('https://app.example/*')],
    ],
  },
  PR313: {
    accepted: [withRedirect('https://app.example/@cb')],
    refused: [[firstUri, withRedirect('https://u:p@app.example/cb')]],
  },
  PR314: {
    accepted: [withRedirect('com.example.app:/cb', native)],
    refused: [
      [firstUri, withRedirect('com.example.app:/cb')],
      [firstUri, withRedirect('myapp:/cb', native)],
    ],
  },
  PR315: {
    accepted: [
      withRedirect('http://127.0.0.1/cb', native),
      withRedirect('http://[::1]/cb', native),
      withRedirect('https://app.example/cb', native),
    ],
    refused: [
      [firstUri, withRedirect('https://localhost/cb', native)],
      [firstUri, withRedirect('http://127.0.0.2/cb', native)],
    ],
  },
  PR316: {
    accepted: [withClients({ scopes: ['openid', 'offline_access', 'notes:read'] })],
    refused: [['clients.0.scopes.1', withClients({ scopes: ['openid', 'notes:write'] })]],
  },
  PR317: {
    accepted: [withClients({ scopes: ['openid'], defaultScopes: ['openid'] })],
    refused: [
      ['clients.0.defaultScopes.0', withClients({ scopes: ['openid'], defaultScopes: ['email'] })],
    ],
  },
  PR318: {
    accepted: [withClients({ defaultResource: notes.identifier })],
    refused: [
      ['clients.0.defaultResource', withClients({ defaultResource: 'https://notes.example' })],
    ],
  },
  PR319: {
    accepted: [
      withClients({ grants: ['client_credentials'], scopes: ['notes:read'] }),
      withClients({ grants: ['authorization_code', 'client_credentials'], scopes: ['openid'] }),
    ],
    refused: [
      ['clients.0.scopes', withClients({ grants: ['client_credentials'], scopes: ['openid'] })],
      ['clients.0.scopes', withClients({ grants: ['client_credentials'] })],
      ['clients.0.scopes', withClients({ grants: ['api_key'], scopes: ['openid'] })],
    ],
  },
  PR320: {
    accepted: [withClients({ origins: ['https://app.example', 'http://localhost:5173'] })],
    refused: ['*', 'null', 'https://app.example/', 'http://app.example', 'app.example'].map(
      (origin) => ['clients.0.origins.0', withClients({ origins: [origin] })],
    ),
  },
  PR329: {
    accepted: [withClients({ id: 'portreeve' })],
    refused: [['clients.0.id', withClients({ id: 'portreeve-account' })]],
  },
  PR328: {
    accepted: [
      withClients({ grants: ['client_credentials'], scopes: ['revocations:read'] }),
      publicClient({}),
    ],
    refused: [
      ['clients.0.scopes.0', publicClient({ scopes: ['revocations:read'] })],
      ['clients.0.scopes.0', withClients({ scopes: ['revocations:read'] })],
    ],
  },
  PR330: {
    accepted: [withClients({ introspects: [notes.identifier] }), publicClient({ introspects: [] })],
    refused: [['clients.0.introspects', publicClient({ introspects: [notes.identifier] })]],
  },
  PR331: {
    accepted: [withClients({ introspects: [notes.identifier] })],
    refused: [['clients.0.introspects.0', withClients({ introspects: ['https://x.example/'] })]],
  },
  PR332: {
    accepted: [withExchange({})],
    refused: [
      [
        'clients.0.grants',
        publicClient({
          grants: ['authorization_code', 'token_exchange'],
          exchange: [exchangeRule],
        }),
      ],
    ],
  },
  PR333: {
    accepted: [withExchange({}), withClients({ exchange: [] })],
    refused: [
      ['clients.0.exchange', withClients({ grants: ['authorization_code', 'token_exchange'] })],
      ['clients.0.exchange', withClients({ exchange: [exchangeRule] })],
    ],
  },
  PR334: {
    accepted: [withExchange({ scopes: ['notes:read'] })],
    refused: [
      ['clients.0.exchange.0.resource', withExchange({ resource: 'https://x.example/' })],
      ['clients.0.exchange.0.from.0', withExchange({ from: ['https://x.example/'] })],
      ['clients.0.exchange.0.scopes.0', withExchange({ scopes: ['x'] })],
    ],
  },
  PR335: {
    accepted: [withExchange({})],
    refused: [
      [
        'clients.0.exchange.0.from.0',
        {
          ...withExchange({}),
          resources: [{ ...notes, algorithm: 'HS256', secret: { env: 'S' }, issuer: 'notes' }],
        },
      ],
    ],
  },
  PR336: {
    accepted: [
      withClients({}),
      withClients({ backchannelLogoutUri: 'https://app.example/logout?a=1' }),
      withClients({ backchannelLogoutUri: 'http://127.0.0.1:8080/logout' }),
    ],
    refused: [
      'http://app.example/logout',
      'http://localhost.example/logout',
      'https://u:p@app.example/logout',
      'ftp://127.0.0.1/logout',
      'com.example.app:/logout',
    ].map((uri) => ['clients.0.backchannelLogoutUri', withClients({ backchannelLogoutUri: uri })]),
  },
  PR337: {
    accepted: [
      withClients({ secret: undefined, authMethod: 'private_key_jwt', jwks: { keys: [KEY] } }),
      withClients({
        secret: undefined,
        authMethod: 'private_key_jwt',
        jwksUri: 'https://app.example/jwks',
      }),
      withClients({ jwksUri: 'https://app.example/jwks' }),
    ],
    refused: [
      ['clients.0.jwks', withClients({ secret: undefined, authMethod: 'private_key_jwt' })],
      [
        'clients.0.jwks',
        withClients({
          secret: undefined,
          authMethod: 'private_key_jwt',
          jwks: { keys: [KEY] },
          jwksUri: 'https://app.example/jwks',
        }),
      ],
    ],
  },
  PR338: {
    accepted: [
      withClients({ jwksUri: 'https://app.example/jwks?a=1' }),
      withClients({ jwksUri: 'http://127.0.0.1:8080/jwks' }),
    ],
    refused: [
      'http://app.example/jwks',
      'https://u:p@app.example/jwks',
      'file:///etc/passwd',
      'data:application/json,{}',
    ].flatMap((uri): (readonly [string, ConfigInput])[] => [
      ['clients.0.jwksUri', withClients({ jwksUri: uri })],
      ['trustedIssuers.0.jwksUri', { trustedIssuers: [{ ...IDP, jwksUri: uri }] }],
      [
        'registration.softwareStatements.issuers.0.jwksUri',
        withStatements({ jwks: undefined, jwksUri: uri }),
      ],
    ]),
  },
  PR339: {
    accepted: [
      withClients({ jwks: { keys: [KEY, { ...KEY, kid: 'b', use: 'sig' }] } }),
      withClients({ jwks: { keys: [{ ...KEY, use: 'enc' }] } }),
    ],
    refused: [
      { ...KEY, d: 'AAAA' },
      { kty: 'oct', k: 'AAAA' },
      { kty: 'RSA', n: 'AQAB', e: 'AQAB' },
      { ...KEY, crv: 'secp256k1' },
      { ...KEY, x: 'AAAA' },
      { kty: 'EC' },
    ].flatMap((key): (readonly [string, ConfigInput])[] => [
      ['clients.0.jwks.keys.0', withClients({ jwks: { keys: [key] } })],
      [
        'trustedIssuers.0.jwks.keys.0',
        { trustedIssuers: [{ ...IDP, jwksUri: undefined, jwks: { keys: [key] } }] },
      ],
      [
        'registration.softwareStatements.issuers.0.jwks.keys.0',
        withStatements({ jwks: { keys: [key] } }),
      ],
    ]),
  },
  PR360: {
    accepted: [{ registration: {} }, withRegistration({ scopes: ['openid', 'notes:read'] })],
    refused: [
      ['registration.scopes.1', withRegistration({ scopes: ['openid', 'x'] })],
      ['registration.softwareStatements.issuers.0.scopes.0', withStatements({ scopes: ['x'] })],
    ],
  },
  PR361: {
    accepted: [withRegistration({ redirectHosts: ['app.example', '*.example.org', 'localhost'] })],
    refused: [
      ['registration.redirectHosts.0', withRegistration({ redirectHosts: ['https://x.example'] })],
      ['registration.redirectHosts.0', withRegistration({ redirectHosts: ['*'] })],
      ['registration.redirectHosts.0', withRegistration({ redirectHosts: ['X.example'] })],
      ['registration.redirectHosts.0', withRegistration({ redirectHosts: ['a.*.example'] })],
      ['registration.redirectHosts.0', withRegistration({ redirectHosts: ['x.example:8443'] })],
    ],
  },
  PR362: {
    accepted: [
      withRegistration({ grants: ['authorization_code', 'client_credentials'] }),
      withRegistration({ access: 'open' }),
    ],
    refused: [
      ['registration.grants', withRegistration({ access: 'open', grants: ['client_credentials'] })],
      [
        'registration.grants',
        withStatements({}, { access: 'stated', grants: ['client_credentials'] }),
      ],
    ],
  },
  PR363: {
    accepted: [
      withRegistration({}),
      withStatements({}, { access: 'stated' }),
      withStatements(
        {},
        { access: 'open', softwareStatements: { issuers: [STATER], required: true } },
      ),
    ],
    refused: [
      ['registration.access', withRegistration({ access: 'open' })],
      ['registration.access', withStatements({}, { access: 'open' })],
    ],
  },
  PR381: {
    accepted: [{ clientDocuments: {} }, withDocuments({ scopes: ['openid', 'notes:read'] })],
    refused: [['clientDocuments.scopes.1', withDocuments({ scopes: ['openid', 'x'] })]],
  },
  PR382: {
    accepted: [withDocuments({ hosts: ['app.example', '*.example.org'], redirectHosts: ['x.y'] })],
    refused: [
      ['clientDocuments.hosts.0', withDocuments({ hosts: ['https://x.example'] })],
      ['clientDocuments.hosts.0', withDocuments({ hosts: ['*'] })],
      ['clientDocuments.redirectHosts.0', withDocuments({ redirectHosts: ['x.example:8443'] })],
    ],
  },
  PR383: {
    accepted: [withDocuments({ grants: ['authorization_code'] })],
    refused: [['clientDocuments.grants', withDocuments({ grants: ['refresh_token'] })]],
  },
  PR384: {
    accepted: [withDocuments({ hosts: ['app.example'] })],
    refused: [['clientDocuments.hosts', withDocuments({})]],
  },
  PR370: {
    accepted: [withClients({}), withBearer({})],
    refused: [
      ['clients.0.assertionIssuers', withBearer({ assertionIssuers: [] })],
      ['clients.0.assertionIssuers', withBearer({ grants: ['authorization_code'] })],
    ],
  },
  PR371: {
    accepted: [withBearer({})],
    refused: [['clients.0.grants', withBearer({ authMethod: 'none', secret: undefined })]],
  },
  PR372: {
    accepted: [withBearer({})],
    refused: [
      ['clients.0.assertionIssuers.0', withBearer({ assertionIssuers: ['https://x.example'] })],
    ],
  },
  PR373: {
    accepted: [{ trustedIssuers: [IDP] }, withStatements({})],
    refused: [
      [
        'registration.softwareStatements.issuers.0.jwks',
        withStatements({ jwksUri: 'https://x.example/jwks' }),
      ],
      [
        'registration.softwareStatements.issuers.0.issuer',
        withStatements({ issuer: 'http://localhost:3000' }),
      ],
      ['trustedIssuers.0.jwks', { trustedIssuers: [{ ...IDP, jwksUri: undefined }] }],
      ['trustedIssuers.0.jwks', { trustedIssuers: [{ ...IDP, jwks: { keys: [KEY] } }] }],
      ['trustedIssuers.1.issuer', { trustedIssuers: [IDP, IDP] }],
      [
        'trustedIssuers.0.issuer',
        { trustedIssuers: [{ ...IDP, issuer: 'http://localhost:3000' }] },
      ],
    ],
  },
  PR374: {
    accepted: [withCiba({})],
    refused: [['clients.0.grants', withCiba({ authMethod: 'none', secret: undefined })]],
  },
  PR375: {
    accepted: [withCiba({}), withCiba({ ciba: { mode: 'poll' } })],
    refused: [['clients.0.ciba', withClients({ ciba: { mode: 'poll' } })]],
  },
  PR376: {
    accepted: [withPing('https://app.example/told')],
    refused: [
      ['clients.0.ciba.notificationUri', withCiba({ ciba: { mode: 'ping' } })],
      [
        'clients.0.ciba.notificationUri',
        withCiba({ ciba: { mode: 'poll', notificationUri: 'https://app.example/told' } }),
      ],
    ],
  },
  PR377: {
    accepted: [withPing('https://app.example/told?a=1'), withPing('http://[::1]:8080/told')],
    refused: ['http://app.example/told', 'https://u:p@app.example/told', 'file:///etc/passwd'].map(
      (uri) => ['clients.0.ciba.notificationUri', withPing(uri)],
    ),
  },
  PR353: {
    accepted: [
      withClients({ encryption: { idToken: ECDH }, jwks: { keys: [KEY] } }),
      withClients({ encryption: { userinfo: OAEP }, jwksUri: 'https://app.example/jwks' }),
      withClients({ encryption: {} }),
    ],
    refused: (['idToken', 'userinfo', 'response', 'introspection'] as const).map((kind) => [
      `clients.0.encryption.${kind}`,
      withClients({ encryption: { [kind]: ECDH } }),
    ]),
  },
  PR354: {
    accepted: [
      { ...KEY, use: 'enc', alg: 'ECDH-ES' },
      { kty: 'OKP', crv: 'X25519', x: '3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08' },
    ].map((key) => withClients({ encryption: { idToken: ECDH }, jwks: { keys: [key] } })),
    refused: [
      [ECDH, { ...KEY, use: 'sig' }],
      [ECDH, { ...KEY, alg: 'ES256' }],
      [ECDH, { ...KEY, alg: 'ECDH-ES+A256KW' }],
      [ECDH, { ...KEY, key_ops: ['verify'] }],
      [ECDH, { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' }],
      [OAEP, KEY],
    ].map(([idToken, key]) => [
      'clients.0.encryption.idToken',
      withClients({ encryption: { idToken } as never, jwks: { keys: [key] } as never }),
    ]),
  },
  PR355: {
    accepted: [
      withClients({ encryption: { response: ECDH, introspection: ECDH }, jwks: { keys: [KEY] } }),
    ],
    refused: [
      [
        'clients.0.encryption.response',
        withClients({
          grants: ['device_code'],
          encryption: { response: ECDH },
          jwks: { keys: [KEY] },
        }),
      ],
      [
        'clients.0.encryption.introspection',
        publicClient({ encryption: { introspection: ECDH }, jwks: { keys: [KEY] } }),
      ],
    ],
  },
  PR340: {
    accepted: [
      withClients({ signedRequests: 'required', jwks: { keys: [KEY] } }),
      withClients({ signedRequests: 'required', jwksUri: 'https://app.example/jwks' }),
      withClients({ signedRequests: 'allowed' }),
    ],
    refused: [['clients.0.signedRequests', withClients({ signedRequests: 'required' })]],
  },
  PR345: {
    accepted: [
      withPairwise(),
      withPairwise({ redirectUris: ['https://app.example/a', 'https://app.example:8443/b'] }),
      withPairwise({ redirectUris: ['http://localhost:3010/cb'] }),
      withPairwise({
        redirectUris: ['https://a.example/', 'https://b.example/'],
        sectorIdentifierUri: 'https://sector.example/uris.json',
      }),
      withPairwise({
        applicationType: 'native',
        redirectUris: ['com.example.app:/cb', 'http://127.0.0.1/cb'],
        sectorIdentifierUri: 'https://sector.example/uris.json',
      }),
      withClients({ redirectUris: ['https://a.example/', 'https://b.example/'] }),
    ],
    refused: [
      ['https://a.example/', 'https://b.example/'],
      ['https://app.example/', 'https://app.example.evil.example/'],
    ]
      .map((redirectUris): [string, ConfigInput] => [
        'clients.0.sectorIdentifierUri',
        withPairwise({ redirectUris }),
      ])
      .concat(
        [['com.example.app:/cb'], ['http://127.0.0.1/cb'], ['http://localhost/cb']].map(
          (redirectUris): [string, ConfigInput] => [
            'clients.0.sectorIdentifierUri',
            withPairwise({ applicationType: 'native', redirectUris }),
          ],
        ),
      ),
  },
  PR346: {
    accepted: [
      withPairwise(),
      withPairwise({ grants: ['authorization_code'], profile: undefined }),
      withClients({ subjectType: 'public', scopes: ['openid', 'notes:read'] }),
    ],
    refused: [
      ['clients.0.scopes.1', withPairwise({ scopes: ['openid', 'notes:read'] })],
      ['clients.0.grants.1', withPairwise({ grants: ['authorization_code', 'device_code'] })],
      ['clients.0.grants.1', withPairwise({ grants: ['authorization_code', 'token_exchange'] })],
      ['clients.0.grants.1', withPairwise({ grants: ['authorization_code', 'jwt_bearer'] })],
      ['clients.0.grants.1', withPairwise({ grants: ['authorization_code', 'api_key'] })],
      ['clients.0.grants.1', withPairwise({ grants: ['authorization_code', 'ciba'] })],
      [
        'clients.0.grants.1',
        withPairwise({ grants: ['authorization_code', 'client_credentials'] }),
      ],
      ['clients.0.introspects', withPairwise({ introspects: [notes.identifier] })],
      ['clients.0.defaultResource', withPairwise({ defaultResource: notes.identifier })],
    ],
  },
  PR347: {
    accepted: [withPairwise({ sectorIdentifierUri: 'https://sector.example/uris.json' })],
    refused: ['http://sector.example/', 'https://u:p@sector.example/', 'data:,x'].map((uri) => [
      'clients.0.sectorIdentifierUri',
      withPairwise({ sectorIdentifierUri: uri }),
    ]),
  },
  PR380: {
    accepted: [withClients({ frontchannelLogoutUri: 'https://app.example/bye?a=1' })],
    refused: [
      'https://other.example/bye',
      'https://app.example;sandbox/bye',
      'https://app.example:8443/bye',
      'http://app.example/bye',
      'https://u:p@app.example/bye',
      'javascript:alert(1)',
    ].map((uri) => [
      'clients.0.frontchannelLogoutUri',
      withClients({ frontchannelLogoutUri: uri }),
    ]),
  },
  PR341: {
    accepted: [withDetails({}), withDetails({ members: {} })],
    refused: [
      ['resources.0.authorizationDetails.payment.scope', withDetails({ scope: 'x' })],
      [
        'resources.0.authorizationDetails.payment.members.type',
        withDetails({ members: { type: { name: 'Type', type: 'text' } } }),
      ],
      [
        'resources.0.authorizationDetails.payment.members.to.values',
        withDetails({ members: { to: { name: 'To', type: 'enum' } } }),
      ],
      [
        'resources.0.authorizationDetails.payment.members.to.values',
        withDetails({ members: { to: { name: 'To', type: 'text', values: ['a'] } } }),
      ],
      [
        'resources.0.authorizationDetails.payment.members.actions.type',
        withDetails({ members: { actions: { name: 'What', type: 'text' } } }),
      ],
      [
        'resources.0.authorizationDetails.payment.members.identifier.type',
        withDetails({ members: { identifier: { name: 'Which', type: 'number' } } }),
      ],
      [
        'resources.1.authorizationDetails.payment',
        {
          resources: [
            ...(withDetails({}).resources ?? []),
            {
              identifier: 'https://other.example/',
              name: 'Other',
              scopes: { other: { description: 'Other' } },
              authorizationDetails: {
                payment: { description: 'Pay', scope: 'other', members: {} },
              },
            },
          ],
        },
      ],
    ],
  },
  PR342: {
    accepted: [
      {
        ...withDetails({}),
        clients: [{ ...app, scopes: ['notes:read'], authorizationDetails: ['payment'] }],
      },
    ],
    refused: [
      [
        'clients.0.authorizationDetails.0',
        { ...withDetails({}), clients: [{ ...app, authorizationDetails: ['other'] }] },
      ],
      [
        'clients.0.authorizationDetails.0',
        {
          ...withDetails({}),
          clients: [{ ...app, scopes: [], authorizationDetails: ['payment'] }],
        },
      ],
    ],
  },
  PR343: {
    accepted: [
      withFapi({}),
      withFapi({ signedRequests: 'required', signedResponses: 'required' }),
      withFapi({ algorithms: { idToken: 'ES256', response: 'ES256', userinfo: 'ES256' } }),
      withFapi({ applicationType: 'native', redirectUris: ['http://127.0.0.1/cb'] }),
      { ...withFapi({ ...SELF_SIGNED, ...BOUND, jwks: undefined }), ...withMtls({}) },
      withFapi({ algorithms: { introspection: 'ES256' } }),
      withFapi({ jwks: { keys: [KEY, { ...KEY, use: 'enc', alg: 'ECDH-ES' }] } }),
    ],
    refused: [
      ['clients.0.authMethod', withFapi({ authMethod: 'none' })],
      [
        'clients.0.authMethod',
        withFapi({ authMethod: 'client_secret_basic', secret: { env: 'S' } }),
      ],
      [
        'clients.0.authMethod',
        withFapi({ authMethod: 'client_secret_post', secret: { env: 'S' } }),
      ],
      ['clients.0.dpop', withFapi({ dpop: 'allowed' })],
      ['clients.0.par', withFapi({ par: 'allowed' })],
      ['clients.0.pkce', withFapi({ pkce: 'exempt' })],
      ['clients.0.grants.1', withFapi({ grants: ['authorization_code', 'device_code'] })],
      ['clients.0.grants.1', withFapi({ grants: ['authorization_code', 'api_key'] })],
      ['clients.0.redirectUris.0', withFapi({ redirectUris: ['http://127.0.0.1/cb'] })],
      ['clients.0.algorithms.idToken', withFapi({ algorithms: { idToken: 'RS256' } })],
      ['clients.0.algorithms.userinfo', withFapi({ algorithms: { userinfo: 'RS256' } })],
      ['clients.0.algorithms.response', withFapi({ algorithms: { response: 'RS256' } })],
      ['clients.0.algorithms.introspection', withFapi({ algorithms: { introspection: 'RS256' } })],
      ['clients.0.jwks.keys.0', withFapi({ jwks: { keys: [{ ...KEY, alg: 'RSA1_5' }] } })],
      ['clients.0.jwks.keys.0', withFapi({ jwks: { keys: [{ ...KEY, alg: 'RS256' }] } })],
    ],
  },
  PR344: {
    accepted: [withFapi({ scopes: ['notes:read'] })],
    refused: (['RS256', 'HS256'] as const).map((algorithm) => [
      'clients.0.scopes.0',
      {
        ...withFapi({ scopes: ['notes:read'] }),
        resources: [{ ...notes, algorithm, secret: { env: 'S' }, issuer: 'x' }],
      },
    ]),
  },
  PR390: {
    accepted: [withCertificate({}), withCertificate({ certificate: { sanIp: '2001:db8::1' } })],
    refused: [
      ['clients.0.certificate', withCertificate({ certificate: undefined })],
      ['clients.0.certificate', withCertificate({ authMethod: 'self_signed_tls_client_auth' })],
      ['clients.0.certificate.subjectDn', withCertificate({ certificate: { subjectDn: 'robot' } })],
      ['clients.0.certificate.sanIp', withCertificate({ certificate: { sanIp: '1.2.3' } })],
    ],
  },
  PR391: {
    accepted: [withCertificate({}), withCertificate({ certificateBound: true })],
    refused: [
      ['clients.0.authMethod', { ...withCertificate({}), mtls: undefined }],
      ['clients.0.certificateBound', withClients({ certificateBound: true })],
      [
        'clients.0.authMethod',
        {
          ...withCertificate({}),
          ...withMtls({ listener: { ...TLS_LISTENER, authorities: undefined } }),
        },
      ],
    ],
  },
  PR392: {
    accepted: [withCertificate(SELF_SIGNED)],
    refused: [
      ['clients.0.jwks', withCertificate({ ...SELF_SIGNED, jwksUri: undefined })],
      [
        'clients.0.jwks',
        withCertificate({ ...SELF_SIGNED, jwksUri: undefined, jwks: { keys: [{ kty: 'EC' }] } }),
      ],
    ],
  },
  PR393: {
    accepted: [withCertificate({ certificateBound: true })],
    refused: [
      ['clients.0.certificateBound', withCertificate({ certificateBound: true, dpop: 'required' })],
    ],
  },
  PR394: {
    accepted: [
      withCertificate({ certificate: { subjectDn: 'CN=robot,O=Example,C=DE' } }),
      withCertificate({ certificate: { subjectDn: 'CN=robot' } }),
      withCertificate({ certificate: { subjectDn: 'DC=robot,DC=example' } }),
    ],
    refused: [
      [
        'clients.0.certificate.subjectDn',
        withCertificate({ certificate: { subjectDn: 'C = DE, O = Example, CN = robot' } }),
      ],
    ],
  },
  PR350: {
    accepted: [withClients({})],
    refused: [['clients.0.pkce', withClients({ pkce: 'exempt' })]],
  },
  PR351: {
    accepted: [withClients({ firstParty: true }), withRedirect('http://localhost/cb')],
    refused: [
      ['clients.0.firstParty', withRedirect('http://localhost/cb', { firstParty: true })],
      [
        'clients.0.firstParty',
        withRedirect('com.example.app:/cb', { ...native, firstParty: true }),
      ],
    ],
  },
  PR352: {
    accepted: [publicClient(native), withClients({})],
    refused: [['clients.0.authMethod', withClients(native)]],
  },
  PR401: {
    accepted: [withUsers({}, { username: 'bob' })],
    refused: [['users.1.username', withUsers({ username: 'ann' }, { username: 'ANN' })]],
  },
  PR402: {
    accepted: [withUsers({ roles: ['reader'] })],
    refused: [
      ['users.0.roles.1', withUsers({ roles: ['reader', 'writer'] })],
      ['users.0.roles.0', withUsers({ roles: ['constructor'] })],
    ],
  },
  PR403: {
    accepted: [withUsers({})],
    refused: [['users.0.roles.0', withUsers({ roles: ['everyone'] })]],
  },
  PR404: {
    accepted: [withUsers({ profile: { email: 'a@b.example', emailVerified: true } })],
    refused: [['users.0.profile.emailVerified', withUsers({ profile: { emailVerified: true } })]],
  },
  PR450: {
    accepted: [withUsers({})],
    refused: [['users.0', { users: [{ username: 'ann' }] }]],
  },
  PR501: {
    accepted: [withDirect({ password, apiKey: password, unauthenticated })],
    refused: [
      ['directAccess.password.resource', withDirect({ password: { resource: 'urn:x' } })],
      ['directAccess.apiKey.resource', withDirect({ apiKey: { resource: 'urn:x' } })],
      [
        'directAccess.unauthenticated.resource',
        withDirect({ unauthenticated: { ...unauthenticated, resource: 'urn:x' } }),
      ],
    ],
  },
  PR502: {
    accepted: [
      withDirect({ listen: { host: '::1' }, password }),
      withDirect({ listen: { host: '0.0.0.0' }, password }, https),
      withDirect({ listen: { host: '0.0.0.0' } }),
    ],
    refused: [
      ['directAccess.listen.host', withDirect({ listen: { host: '0.0.0.0' }, password })],
      ['directAccess.listen.host', withDirect({ listen: { host: '::' }, apiKey: password })],
    ],
  },
  PR503: {
    accepted: ['127.0.0.1', '::1', 'localhost'].map((host) =>
      withDirect({ unauthenticated: { ...unauthenticated, listen: { host } } }),
    ),
    refused: [
      ...['0.0.0.0', '::', '192.168.1.2', 'localhost.example'].map(
        (host): readonly [string, ConfigInput] => [
          'directAccess.unauthenticated.listen.host',
          withDirect({ unauthenticated: { ...unauthenticated, listen: { host } } }),
        ],
      ),
      ['directAccess.unauthenticated', withDirect({ unauthenticated }, https)],
    ],
  },
  PR504: {
    accepted: [withDirect({ unauthenticated }), withDirect({ password }, withResources({}))],
    refused: [
      ['directAccess.unauthenticated.resource', withDirect({ unauthenticated }, withResources({}))],
    ],
  },
  PR505: {
    accepted: [
      withDirect({ unauthenticated }),
      withDirect(
        { unauthenticated },
        { ...withClients({}), ...withResources({ ...SHARED, scopes: {} }) },
      ),
    ],
    refused: [
      [
        'directAccess.unauthenticated.client',
        withDirect({ unauthenticated: { ...unauthenticated, client: 'other' } }),
      ],
      [
        'directAccess.unauthenticated.client',
        withDirect({ unauthenticated }, { ...withClients({}), ...withResources(SHARED) }),
      ],
    ],
  },
  PR506: {
    accepted: [
      withDirect({ password, unauthenticated }),
      withDirect({ listen: { port: 0 }, password }, { listen: { port: 0 } }),
      withDirect({ listen: { port: 3000 } }),
    ],
    refused: [
      ['directAccess.listen.port', withDirect({ listen: { port: 3000 }, password })],
      [
        'directAccess.listen.port',
        withDirect({ listen: { port: 9464 }, password }, { metrics: {} }),
      ],
      [
        'directAccess.unauthenticated.listen.port',
        withDirect({
          password,
          unauthenticated: { ...unauthenticated, listen: { port: 8000 } },
        }),
      ],
    ],
  },
  PR507: {
    accepted: [withKey(), withDirect({ apiKey: password }, https)],
    refused: [
      ['directAccess.apiKey.demonstrationKeys', withKey({}, https)],
      ['directAccess.apiKey.demonstrationKeys', withKey({}, {}, { host: '0.0.0.0' })],
    ],
  },
  PR508: {
    accepted: [withKey({ user: 'ANN' })],
    refused: [['directAccess.apiKey.demonstrationKeys.0.user', withKey({ user: 'bob' })]],
  },
  PR509: {
    accepted: [withStatements({}, { access: 'stated' }), withRegistration({})],
    refused: [['registration.softwareStatements', withRegistration({ access: 'stated' })]],
  },
  PR510: {
    accepted: [
      withClients({ links: {} }),
      withClients({ links: { home: 'https://app.example/#about', terms: 'http://[::1]:8080/' } }),
    ],
    refused: ['http://app.example/', 'https://u:p@app.example/', 'https://[x/'].map((uri) => [
      'clients.0.links.policy',
      withClients({ links: { policy: uri } }),
    ]),
  },
  PR511: {
    accepted: [
      withClients({
        secret: undefined,
        authMethod: 'private_key_jwt',
        jwks: { keys: [KEY] },
        algorithms: { assertion: 'ES256' },
      }),
    ],
    refused: [
      ['clients.0.algorithms.assertion', withClients({ algorithms: { assertion: 'ES256' } })],
    ],
  },
  PR550: {
    accepted: [withDirect({ password })],
    refused: [
      [
        'directAccess.password.revealUnknownUsers',
        withDirect({ password: { ...password, revealUnknownUsers: true } }),
      ],
    ],
  },
  PR551: {
    accepted: [withDirect({ password })],
    refused: [['directAccess.unauthenticated', withDirect({ unauthenticated })]],
  },
}

function check(input: ConfigInput) {
  return checkConfig(configSchema.parse(input))
}

const ids = Object.keys(RULES) as RuleId[]

test.each(ids)('%s accepts what it should', (id) => {
  for (const config of CASES[id].accepted) {
    expect(check(config).filter(({ rule }) => rule === id)).toEqual([])
  }
})

test.each(ids)('%s finds what it should, where it is', (id) => {
  expect(CASES[id].refused.length).toBeGreaterThan(0)
  for (const [path, config] of CASES[id].refused) {
    const found = check(config).filter(({ rule }) => rule === id)
    expect(found.map((finding) => finding.path.join('.'))).toEqual([path])
  }
})

test('refuses what is unsafe and warns of what is worth a look', () => {
  const warnings = ids.filter((rule) => !isRefusal({ rule, path: [], message: '' }))
  expect(warnings).toEqual([
    'PR106',
    'PR107',
    'PR108',
    'PR109',
    'PR112',
    'PR206',
    'PR207',
    'PR215',
    'PR363',
    'PR394',
    'PR384',
    'PR350',
    'PR351',
    'PR352',
    'PR450',
    'PR550',
    'PR551',
  ])
})

test('finds nothing in the defaults', () => {
  expect(check({})).toEqual([])
})

test('shows no user name or password of a URL', () => {
  const [finding] = check({ issuer: 'https://ann:hunter2@id.example' })
  expect(finding?.message).toContain('"https://…@id.example"')
  expect(JSON.stringify(check({ database: { url: 'postgres://ann:hunter2@db/x' } }))).not.toContain(
    'hunter2',
  )
})

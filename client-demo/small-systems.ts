import { makeSecret } from './known-secrets.ts'

/**
 * The small systems that Portreeve grew out of, for `run` alone: a login that returns a JWT, services
 * behind a gateway, an API key for a JWT. Each has what its clients of old expect, weak passwords and
 * guessable keys included. **Nothing of this is for `start`**, which people may leave running.
 *
 * @see docs/direct-access.md
 */

/** Each is the identifier of a resource, and the `aud` of its tokens. */
export const HEALTHCHECK = 'https://hello.example/healthcheck'
export const API_V3 = 'https://hello.example/api/v3'
export const GATEWAY = 'https://gateway.example/'
export const ORDERS = 'https://orders.example/'
export const INVOICES = 'https://invoices.example/'
/** As tokens of the gateway of old have them: names, and no URLs. */
export const JWTGO = { issuer: 'jwtgo.io', audience: 'billing.jwtgo.io' }
/** The `iss` of tokens that are signed with a secret: never the server's own. */
export const HELLO_ISSUER = 'hello.example'

export const SHOP_CLIENT = 'shop'
export const GATEWAY_CLIENT = 'gateway'
export const JWTGO_CLIENT = 'krissanawat'
export const BACKUP_CLIENT = 'notes-backup'

export const SMALL_PASSWORDS = { naren: 'NAREN_PASSWORD', carol: 'CAROL_PASSWORD' } as const
export type SmallUsername = keyof typeof SMALL_PASSWORDS

export type SmallSecretName =
  | 'NAREN_PASSWORD'
  | 'CAROL_PASSWORD'
  | 'DORA_PASSWORD'
  | 'SESSION_SECRET'
  | 'API_V3_SECRET'
  | 'SECRET_KEY'
  | 'GATEWAY_SECRET'
  | 'JWTGO_SECRET'
  | 'BACKUP_SECRET'
  | 'DEMONSTRATION_KEY'

export type SmallSecrets = Readonly<Record<SmallSecretName, string>>

export function makeSmallSecrets(): SmallSecrets {
  return {
    // As the first of these systems had it.
    NAREN_PASSWORD: 'passme',
    CAROL_PASSWORD: makeSecret(),
    DORA_PASSWORD: makeSecret(),
    SESSION_SECRET: makeSecret(),
    API_V3_SECRET: makeSecret(),
    SECRET_KEY: makeSecret(),
    GATEWAY_SECRET: makeSecret(),
    JWTGO_SECRET: makeSecret(),
    BACKUP_SECRET: makeSecret(),
    DEMONSTRATION_KEY: 'ABCDE',
  }
}

export const SMALL_ROLES = {
  customer: { scopes: ['orders:use', 'invoices:use'] },
  accountant: { scopes: ['invoices:use'] },
}

const JWTGO_RESOURCE = 'https://billing.jwtgo.example/'
const OF_ORDERS = { 'orders:use': { description: 'Use your orders' } }
const OF_INVOICES = { 'invoices:use': { description: 'Use your invoices' } }
const CALLS = Object.keys({ ...OF_ORDERS, ...OF_INVOICES })

export function describeSmallResources(): unknown[] {
  const shared = { algorithm: 'HS256', tokenType: 'JWT' }
  return [
    {
      ...shared,
      identifier: HEALTHCHECK,
      name: 'The health check',
      secret: { env: 'SESSION_SECRET' },
      issuer: HELLO_ISSUER,
      scopes: {},
      claims: { username: { from: 'username' } },
    },
    {
      ...shared,
      identifier: API_V3,
      name: 'The third API',
      secret: { env: 'API_V3_SECRET' },
      issuer: HELLO_ISSUER,
      accessTokenTtlSeconds: 180,
      scopes: {},
      claims: { user: { from: 'username' }, role: { firstRoleOf: ['admin'] } },
    },
    {
      ...shared,
      identifier: JWTGO_RESOURCE,
      audience: JWTGO.audience,
      name: 'What is behind the gateway of old',
      secret: { env: 'SECRET_KEY' },
      issuer: JWTGO.issuer,
      accessTokenTtlSeconds: 60,
      scopes: { 'jwtgo:call': { description: 'Call the services behind the gateway' } },
      claims: { authorized: { value: true }, client: { from: 'client_name' } },
    },
    { identifier: GATEWAY, name: 'The gateway', scopes: { ...OF_ORDERS, ...OF_INVOICES } },
    { identifier: ORDERS, name: 'Orders', rolesClaim: true, scopes: OF_ORDERS },
    { identifier: INVOICES, name: 'Invoices', rolesClaim: true, scopes: OF_INVOICES },
  ]
}

export function describeSmallClients(): unknown[] {
  return [
    {
      id: SHOP_CLIENT,
      name: 'The shop',
      applicationType: 'native',
      authMethod: 'none',
      redirectUris: ['http://127.0.0.1/callback'],
      scopes: ['openid', ...CALLS],
    },
    {
      id: GATEWAY_CLIENT,
      name: 'The gateway',
      grants: ['token_exchange'],
      secret: { env: 'GATEWAY_SECRET' },
      scopes: CALLS,
      introspects: [GATEWAY],
      exchange: [ORDERS, INVOICES].map((resource) => ({
        resource,
        subjects: ['person'],
        from: [GATEWAY],
        mode: ['delegation'],
      })),
    },
    {
      id: JWTGO_CLIENT,
      name: 'Krissanawat',
      grants: ['client_credentials'],
      secret: { env: 'JWTGO_SECRET' },
      scopes: ['jwtgo:call'],
    },
    {
      id: BACKUP_CLIENT,
      name: 'The backup of notes',
      grants: ['api_key'],
      secret: { env: 'BACKUP_SECRET' },
      scopes: ['notes:read'],
    },
  ]
}

export function describeSmallUsers(): unknown[] {
  return [
    { username: 'naren', password: { env: SMALL_PASSWORDS.naren }, roles: ['customer'] },
    { username: 'carol', password: { env: SMALL_PASSWORDS.carol }, roles: ['accountant'] },
    { username: 'dora', password: { env: 'DORA_PASSWORD' } },
    { username: 'front-team' },
  ]
}

/** On loopback, and on free ports: other programs may have those of old. */
export function describeDirectAccess(): Readonly<Record<string, unknown>> {
  return {
    signIn: { shortestPassword: 6 },
    directAccess: {
      listen: { port: 0 },
      password: { resource: HEALTHCHECK, revealUnknownUsers: true },
      apiKey: {
        resource: API_V3,
        demonstrationKeys: [{ secret: { env: 'DEMONSTRATION_KEY' }, user: 'front-team' }],
      },
      unauthenticated: { listen: { port: 0 }, resource: JWTGO_RESOURCE, client: JWTGO_CLIENT },
    },
  }
}

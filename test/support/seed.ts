import { randomBytes } from 'node:crypto'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { BASE_CONFIG, NOTES } from './server.ts'

/** As clients of old know them; each is the identifier of a resource, and what its tokens are for. */
export const HEALTHCHECK = 'http://127.0.0.1:8000/healthcheck'
export const API_V3 = 'http://127.0.0.1:8000/api/v3'
/** The identifier: the audience is `billing.jwtgo.io`. */
const JWTGO_BILLING = 'https://billing.jwtgo.example/'

/** A name, as in the tokens of old, and not that of the server. */
export const SEED_ISSUER = 'seed.portreeve.example'
/** A gateway that exchanges tokens, and what is behind it. Each has tokens of its own. */
export const GATEWAY = 'https://gateway.example/'
export const ORDERS = 'https://orders.example/'
export const INVOICES = 'https://invoices.example/'
const OF_ORDERS = { 'orders:use': { description: 'Use your orders' } }
const OF_INVOICES = { 'invoices:use': { description: 'Use your invoices' } }
const CALLS = Object.keys({ ...OF_ORDERS, ...OF_INVOICES })
/** What is behind the gateway, for tokens that are checked with the server's keys. */
export const SERVICES = 'https://services.example/'

/** For the environment of the server and of the APIs alike. */
export const SEED_SECRETS = {
  SESSION_SECRET: randomBytes(32).toString('base64url'),
  API_V3_SECRET: randomBytes(32).toString('base64url'),
  SECRET_KEY: randomBytes(32).toString('base64url'),
}

/** Two of them as the first system had them. */
export const SEED_PASSWORDS = {
  naren: 'passme',
  admin: 'password',
  carol: 'carol has a longer one',
}

/** What the server alone is told. */
export const SEED_ENVIRONMENT: Readonly<Record<string, string>> = {
  ...SEED_SECRETS,
  NAREN: SEED_PASSWORDS.naren,
  ADMIN: SEED_PASSWORDS.admin,
  CAROL: SEED_PASSWORDS.carol,
  GATEWAY_SECRET: randomBytes(32).toString('base64url'),
  KRISSANAWAT_SECRET: randomBytes(32).toString('base64url'),
  DEMONSTRATION_KEY: 'ABCDE',
}

/** The configuration of the five seed systems, which is that of the demonstration. */
export const SEED_CONFIG: ConfigInput = {
  ...BASE_CONFIG,
  signIn: { shortestPassword: 6 },
  roles: {
    ...BASE_CONFIG.roles,
    admin: { scopes: ['notes:read', 'notes:write', 'notes:read:all', 'services:use', ...CALLS] },
    customer: { scopes: ['services:use', ...CALLS] },
    accountant: { scopes: ['services:use', 'invoices:use'] },
  },
  resources: [
    ...(BASE_CONFIG.resources ?? []).map((resource) => ({
      ...resource,
      scopes: {
        ...resource.scopes,
        ...(resource.identifier === NOTES ? { 'notes:read:all': { description: 'All' } } : {}),
      },
    })),
    {
      identifier: SERVICES,
      name: 'Orders and invoices',
      rolesClaim: true,
      scopes: { 'services:use': { description: 'Use orders and invoices' } },
    },
    { identifier: GATEWAY, name: 'The gateway', scopes: { ...OF_ORDERS, ...OF_INVOICES } },
    { identifier: ORDERS, name: 'Orders', rolesClaim: true, scopes: OF_ORDERS },
    { identifier: INVOICES, name: 'Invoices', rolesClaim: true, scopes: OF_INVOICES },
    {
      identifier: HEALTHCHECK,
      name: 'The health check',
      algorithm: 'HS256',
      secret: { env: 'SESSION_SECRET' },
      issuer: SEED_ISSUER,
      tokenType: 'JWT',
      scopes: {},
      claims: { username: { from: 'username' } },
    },
    {
      identifier: API_V3,
      name: 'The third API',
      algorithm: 'HS256',
      secret: { env: 'API_V3_SECRET' },
      issuer: SEED_ISSUER,
      tokenType: 'JWT',
      accessTokenTtlSeconds: 180,
      scopes: {},
      claims: { user: { from: 'username' }, role: { firstRoleOf: ['admin'] } },
    },
    {
      identifier: JWTGO_BILLING,
      audience: 'billing.jwtgo.io',
      name: 'Billing',
      algorithm: 'HS256',
      secret: { env: 'SECRET_KEY' },
      issuer: 'jwtgo.io',
      tokenType: 'JWT',
      accessTokenTtlSeconds: 60,
      scopes: { 'jwtgo:call': { description: 'Call the services behind the gateway' } },
      claims: { authorized: { value: true }, client: { from: 'client_name' } },
    },
  ],
  clients: [
    ...(BASE_CONFIG.clients ?? []).map((client) =>
      client.id === 'web'
        ? {
            ...client,
            scopes: [...(client.scopes ?? []), 'notes:read:all', 'services:use', ...CALLS],
          }
        : client,
    ),
    {
      id: 'gateway',
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
      id: 'krissanawat',
      name: 'Krissanawat',
      grants: ['client_credentials'],
      secret: { env: 'KRISSANAWAT_SECRET' },
      scopes: ['jwtgo:call'],
    },
  ],
  users: [
    ...(BASE_CONFIG.users ?? []),
    { username: 'naren', password: { env: 'NAREN' }, roles: ['editor', 'customer'] },
    { username: 'carol', password: { env: 'CAROL' }, roles: ['accountant', 'reader'] },
    { username: 'admin', password: { env: 'ADMIN' }, roles: ['admin'] },
    { username: 'front-team' },
  ],
  directAccess: {
    listen: { port: 0 },
    password: { resource: HEALTHCHECK, revealUnknownUsers: true },
    apiKey: {
      resource: API_V3,
      demonstrationKeys: [{ secret: { env: 'DEMONSTRATION_KEY' }, user: 'front-team' }],
    },
    unauthenticated: { listen: { port: 0 }, resource: JWTGO_BILLING, client: 'krissanawat' },
  },
}

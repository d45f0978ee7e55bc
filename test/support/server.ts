import { afterAll, beforeAll } from 'vitest'
import {
  createAuthServer,
  type AuthServer,
  type AuthServerOverrides,
} from '../../auth-server/server.ts'
import { prepareConfig } from '../../auth-server/config/load.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createLog } from '../../auth-server/log.ts'
import { makeFolder } from './folder.ts'

export const PASSWORDS = {
  alice: 'alice has a password',
  bob: 'bob has one as well',
  carol: 'carol',
}
export const SERVICE_SECRET = 'a-service-secret-of-some-length'
export const WEB_SECRET = 'a-web-client-secret-of-some-length'
export const NOTES = 'https://notes.example/'
export const BILLING = 'https://billing.example/'
export const REDIRECT = 'https://app.example/callback'

/** People, clients and resources that most tests can live with. */
export const BASE_CONFIG: ConfigInput = {
  issuer: 'http://127.0.0.1:0',
  listen: { host: '127.0.0.1', port: 0 },
  log: { level: 'info' },
  roles: {
    reader: { scopes: ['notes:read'] },
    editor: { scopes: ['notes:read', 'notes:write'] },
    admin: { scopes: ['notes:read', 'notes:write', 'billing:read'] },
  },
  resources: [
    {
      identifier: NOTES,
      name: 'Notes',
      rolesClaim: true,
      scopes: {
        'notes:read': { description: 'Read your notes' },
        'notes:write': { description: 'Change your notes' },
      },
    },
    {
      identifier: BILLING,
      name: 'Billing',
      scopes: { 'billing:read': { description: 'Read your bills' } },
    },
  ],
  clients: [
    {
      id: 'web',
      name: 'The Web App',
      secret: { env: 'WEB_SECRET' },
      redirectUris: [REDIRECT],
      postLogoutRedirectUris: ['https://app.example/bye'],
      scopes: [
        'openid',
        'profile',
        'email',
        'groups',
        'offline_access',
        'notes:read',
        'notes:write',
        'billing:read',
      ],
    },
    {
      id: 'spa',
      name: 'The Browser App',
      authMethod: 'none',
      redirectUris: ['https://spa.example/'],
      origins: ['https://spa.example'],
      scopes: ['openid', 'notes:read'],
    },
    {
      id: 'service',
      grants: ['client_credentials'],
      secret: { env: 'SERVICE_SECRET' },
      scopes: ['notes:read'],
    },
  ],
  users: [
    {
      username: 'alice',
      password: { env: 'ALICE' },
      roles: ['editor'],
      groups: ['staff'],
      profile: { name: 'Alice Adams', email: 'alice@example.com' },
    },
    { username: 'bob', password: { env: 'BOB' }, roles: ['reader'] },
    { username: 'nobody', password: { env: 'BOB' } },
  ],
}

/** What the secrets of `BASE_CONFIG` are read from. */
export const ENVIRONMENT = {
  ALICE: PASSWORDS.alice,
  BOB: PASSWORDS.bob,
  WEB_SECRET,
  SERVICE_SECRET,
}

export interface TestServer extends AsyncDisposable {
  readonly issuer: string
  /** Where it listens: another one than the issuer behind a proxy. */
  readonly url: string
  /** Where tokens are given without OAuth. Empty where the configuration does not want that. */
  readonly directUrl: string
  readonly unauthenticatedUrl: string
  /** Where clients show certificates. Empty where the configuration wants none. */
  readonly mtlsUrl: string
  /** Empty where the configuration wants no metrics. */
  readonly metricsUrl: string
  readonly folder: string
  /** Everything that was logged so far. */
  readonly logged: () => string
  /** A second server on the same database and key, with other secrets or another configuration. */
  readonly startAnother: (
    environment?: Readonly<Record<string, string>>,
    changeAgain?: (config: ConfigInput) => ConfigInput,
  ) => Promise<AuthServer>
  /** Ends the server. Its folder stays, for another one. */
  readonly stop: () => Promise<void>
}

function keep(config: ConfigInput): ConfigInput {
  return config
}

/**
 * A real server on a free port, with a database and a key file of its own. `secrets`: variables beside
 * those that `BASE_CONFIG` needs.
 */
export async function startServer(
  change: (config: ConfigInput) => ConfigInput = keep,
  overrides: AuthServerOverrides = {},
  secrets: Readonly<Record<string, string>> = {},
): Promise<TestServer> {
  await using cleanUp = new AsyncDisposableStack()
  const folder = cleanUp.use(makeFolder())
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const start: TestServer['startAnother'] = async (environment = {}, changeAgain = keep) => {
    const loaded = prepareConfig(changeAgain(change(BASE_CONFIG)), {
      folder: folder.path,
      environment: { ...ENVIRONMENT, ...secrets, ...environment },
    })
    return createAuthServer(loaded, { log, ...overrides })
  }
  const server = cleanUp.use(await start())
  const running = cleanUp.move()
  return {
    issuer: server.issuer,
    url: server.url,
    mtlsUrl: server.mtlsUrl ?? '',
    metricsUrl: server.metricsUrl ?? '',
    directUrl: server.directUrls.secrets ?? '',
    unauthenticatedUrl: server.directUrls.unauthenticated ?? '',
    folder: folder.path,
    logged: () => lines.join(''),
    startAnother: start,
    stop: async () => server[Symbol.asyncDispose](),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

/**
 * One server for all tests of a file that leave its configuration and its people alone. Call it at the
 * top of the file; the function it answers is for use inside of tests.
 */
export function shareServer(...how: Parameters<typeof startServer>): () => TestServer {
  let shared: TestServer | undefined
  beforeAll(async () => {
    shared = await startServer(...how)
  })
  afterAll(async () => {
    await shared?.[Symbol.asyncDispose]()
  })
  return () => {
    if (!shared) throw new Error('the shared server is there inside of tests only')
    return shared
  }
}

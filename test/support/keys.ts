import { createKeyOperations, type KeyOperations } from '../../auth-server/admin/keys.ts'
import { systemClock } from '../../auth-server/clock.ts'
import { prepareConfig, type LoadedConfig } from '../../auth-server/config/load.ts'
import type { ConfigInput, SigningAlgorithm } from '../../auth-server/config/schema.ts'
import { createEvents } from '../../auth-server/events.ts'
import { createLog } from '../../auth-server/log.ts'
import { createAuthServer, type AuthServer } from '../../auth-server/server.ts'
import { openStores, type Stores } from '../../auth-server/storage/stores.ts'
import { createTestClock } from './clock.ts'
import { basic, requestToken, type TokenAnswer } from './flow.ts'
import { makeFolder } from './folder.ts'
import { BASE_CONFIG, ENVIRONMENT, NOTES, SERVICE_SECRET } from './server.ts'

/** One resource for each algorithm beside the notes, which are ES256. */
export const RESOURCES: Readonly<Record<SigningAlgorithm, string>> = {
  ES256: NOTES,
  RS256: 'https://rs256.example/',
  PS256: 'https://ps256.example/',
  EdDSA: 'https://eddsa.example/',
}

const ALGORITHMS = Object.keys(RESOURCES) as SigningAlgorithm[]

/** `BASE_CONFIG` with all algorithms: the service may ask for a token of each. */
function withAlgorithms(config: ConfigInput): ConfigInput {
  const others = ALGORITHMS.filter((algorithm) => algorithm !== 'ES256')
  return {
    ...config,
    resources: [
      ...(config.resources ?? []),
      ...others.map((algorithm) => ({
        identifier: RESOURCES[algorithm],
        name: algorithm,
        algorithm,
        scopes: { [`${algorithm}:read`]: { description: 'Read' } },
      })),
    ],
    clients: config.clients?.map((client) =>
      client.id === 'service'
        ? {
            ...client,
            scopes: [...(client.scopes ?? []), ...others.map((algorithm) => `${algorithm}:read`)],
          }
        : client,
    ),
  }
}

export interface PublishedKey {
  readonly kid: string
  readonly alg: SigningAlgorithm
}

export interface KeyWorld extends AsyncDisposable {
  readonly clock: ReturnType<typeof createTestClock>
  readonly folder: string
  /** What an operator does, on a connection of their own as the command line has it. */
  readonly operator: KeyOperations
  /** The same for a configuration that was changed. */
  operate(change: (config: ConfigInput) => ConfigInput): KeyOperations
  readonly stores: Stores
  readonly logged: () => string
  /** Starts a server on the same database. It ends with the world unless it is disposed of before. */
  start(change?: (config: ConfigInput) => ConfigInput): Promise<AuthServer>
}

export interface KeyWorldOptions {
  /** Secrets beside those of `BASE_CONFIG`. */
  readonly environment?: Readonly<Record<string, string>>
  /** Default: one that stands still until it is turned. */
  readonly clock?: KeyWorld['clock']
}

/** A clock that goes on by itself, and can be turned forward. */
export function createRunningClock(): KeyWorld['clock'] {
  let turned = 0
  return {
    now: () => systemClock.now() + turned,
    advance(milliseconds) {
      turned += milliseconds
    },
  }
}

/** A database, a clock that can be turned, and as many servers as a test wants. */
export async function createKeyWorld(
  change: (config: ConfigInput) => ConfigInput = (config) => config,
  // The engine reads the time of the system, which this clock must not be behind.
  { environment, clock = createTestClock(systemClock.now()) }: KeyWorldOptions = {},
): Promise<KeyWorld> {
  await using cleanUp = new AsyncDisposableStack()
  const folder = cleanUp.use(makeFolder())
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const prepare = (again: (config: ConfigInput) => ConfigInput = (config) => config) =>
    prepareConfig(again(change(withAlgorithms(BASE_CONFIG))), {
      folder: folder.path,
      environment: { ...ENVIRONMENT, ...environment },
    })
  const stores = cleanUp.use(await openStores(prepare().config.database.url, clock))
  const operate = (loaded: LoadedConfig) =>
    createKeyOperations({ keys: stores.keys, clock, events: createEvents(log) }, loaded)
  const running = cleanUp.move()
  return {
    clock,
    folder: folder.path,
    operator: operate(prepare()),
    operate: (again) => operate(prepare(again)),
    stores,
    logged: () => lines.join(''),
    async start(again) {
      return running.use(await createAuthServer(prepare(again), { clock, log }))
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

export async function fetchKeys({ issuer }: Pick<AuthServer, 'issuer'>): Promise<PublishedKey[]> {
  const { keys } = (await (await fetch(`${issuer}/jwks`)).json()) as { keys: PublishedKey[] }
  return keys
}

export async function fetchKeyIds(server: Pick<AuthServer, 'issuer'>): Promise<string[]> {
  return (await fetchKeys(server)).map(({ kid }) => kid)
}

/** Asks for a token of the service that is signed with this algorithm. */
export function askForServiceToken(
  { issuer }: Pick<AuthServer, 'issuer'>,
  algorithm: SigningAlgorithm,
): Promise<TokenAnswer> {
  return requestToken(
    issuer,
    {
      grant_type: 'client_credentials',
      scope: algorithm === 'ES256' ? 'notes:read' : `${algorithm}:read`,
    },
    { authorization: basic('service', SERVICE_SECRET) },
  )
}

/** The same for whoever needs the token. */
export async function requestServiceToken(
  server: Pick<AuthServer, 'issuer'>,
  algorithm: SigningAlgorithm,
): Promise<string> {
  const { status, body } = await askForServiceToken(server, algorithm)
  if (status !== 200) throw new Error(`token endpoint: ${status} ${JSON.stringify(body)}`)
  return body.access_token
}

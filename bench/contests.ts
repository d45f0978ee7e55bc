import type { Stores } from '../auth-server/storage/stores.ts'
import { account, client, key } from '../test/storage/records.ts'
import { createRows } from '../test/storage/world.ts'
import type { Token } from './statements.ts'

/** One operation of a port, as a server asks for it. */
export interface Contest {
  readonly port: string
  readonly name: string
  /** Whether a ratio over the bound is a failure: writes, and the reads of a token request. */
  readonly isBound: boolean
  /** The columns whose JSON the store reads, in each row. */
  readonly json?: readonly string[]
  /** The place in a log that the first run takes; every other run takes another. */
  readonly place?: number
  /** What has to be there for the first of a worker's runs. */
  readonly before?: (stores: Stores, token: Token) => Promise<unknown>
  readonly run: (stores: Stores, token: Token) => Promise<unknown>
}

const HOUR = 3_600_000
export const clock = { now: () => 1_750_000_000_000 }
const { put, insert, grant, session } = createRows(clock)

/** As long as those of the engine are. */
const payload = (token: Token) => ({
  iat: 1_750_000_000,
  exp: 1_750_003_600,
  accountId: 'acc_0123456789abcdefghij',
  authTime: 1_750_000_000,
  claims: { id_token: { auth_time: { essential: true } } },
  clientId: 'client-7',
  grantId: `grant of ${token.worker}`,
  gty: 'authorization_code',
  kind: 'RefreshToken',
  resource: 'https://notes.example/',
  rotations: 3,
  scope: 'openid profile email offline_access notes:read notes:write',
  sessionUid: `session of ${token.worker}`,
})

const refreshToken = (token: Token, id: string) =>
  put('RefreshToken', id, {
    payload: payload(token),
    grantId: `grant of ${token.worker}`,
    accountId: 'acc_0123456789abcdefghij',
    clientId: 'client-7',
  })

const entry = {
  reason: 'grant_revoked',
  revokedAt: clock.now(),
  expiresAt: clock.now() + HOUR,
} as const

const auditEntry = (sequence: number, requestId: string) => ({
  sequence,
  at: clock.now(),
  event: 'signed_in',
  by: 'user' as const,
  accountId: 'acc-7',
  clientId: 'client-7',
  requestId,
  facts: '{}',
  previous: 'hash',
  hash: 'hash',
})

const ROWS = 500

/** What the reads find. */
export async function populate(stores: Stores): Promise<void> {
  const token = { worker: 'nobody', id: '', next: '' }
  const rows = Array.from({ length: ROWS }, (_, index) =>
    put('AccessToken', `row ${index}`, { payload: payload(token) }),
  )
  const interaction = put('Interaction', 'interaction', { payload: payload(token) })
  await stores.models.apply([...rows, interaction, session('session', 'client-7', { uid: 'uid' })])
  for (let index = 0; index < 20; index += 1) {
    await stores.clients.insert(client({ id: `client-${index}` }))
    const profile = { name: 'Alice Adams', email: 'alice@example.com' }
    await stores.accounts.insert(
      account({ id: `acc-${index}`, username: `user-${index}`, roles: ['editor'], profile }),
    )
  }
  await stores.keys.insertIfNone([key('es', 'ES256'), key('rs', 'RS256'), key('ed', 'EdDSA')])
  const revoked = Array.from({ length: ROWS }, (_, index) => `token ${index}`)
  await stores.revocations.append(
    revoked.map((subject) => ({ ...entry, kind: 'token', subject }) as const),
  )
  await stores.audit.append(async () =>
    Array.from({ length: ROWS }, (_, index) => auditEntry(index + 1, 'request')),
  )
}

/** What Redis holds alone. */
export const REDIS_CONTESTS: readonly Contest[] = [
  {
    port: 'models',
    name: 'find an interaction',
    isBound: true,
    json: ['value'],
    run: ({ models }) => models.find('Interaction', 'interaction'),
  },
  {
    port: 'models',
    name: 'apply: put an interaction',
    isBound: true,
    run: ({ models }, token) =>
      models.apply([put('Interaction', token.id, { payload: payload(token) })]),
  },
  {
    port: 'models',
    name: 'apply: insert a replay record',
    isBound: true,
    run: ({ models }, token) => models.apply([insert('ReplayDetection', token.id)]),
  },
]

export const CONTESTS: readonly Contest[] = [
  {
    port: 'models',
    name: 'find',
    isBound: true,
    json: ['payload'],
    run: ({ models }) => models.find('AccessToken', 'row 250'),
  },
  {
    port: 'models',
    name: 'findByUid',
    isBound: true,
    json: ['payload'],
    run: ({ models }) => models.findByUid('Session', 'uid'),
  },
  {
    port: 'models',
    name: 'apply: put an interaction',
    isBound: true,
    run: ({ models }, token) =>
      models.apply([put('Interaction', token.id, { payload: payload(token) })]),
  },
  {
    port: 'models',
    name: 'apply: insert a replay record',
    isBound: true,
    run: ({ models }, token) => models.apply([insert('ReplayDetection', token.id)]),
  },
  {
    port: 'models',
    name: 'apply: put a session',
    isBound: true,
    run: ({ models }, token) =>
      models.apply([session(token.worker, 'client-7', { uid: token.worker })]),
  },
  {
    port: 'models',
    name: 'apply: refresh',
    isBound: true,
    before: async ({ models }, token) => {
      await models.apply([grant(`grant of ${token.worker}`), refreshToken(token, token.id)])
    },
    run: ({ models }, token) =>
      models.apply([
        {
          kind: 'consume',
          model: 'RefreshToken',
          key: token.id,
          retry: { successorKey: token.next, windowMilliseconds: 30_000 },
        },
        refreshToken(token, token.next),
      ]),
  },
  {
    port: 'clients',
    name: 'findById',
    isBound: true,
    json: ['settings'],
    run: ({ clients }) => clients.findById('client-7'),
  },
  {
    port: 'clients',
    name: 'update',
    isBound: true,
    run: ({ clients }, token) => clients.update(client({ id: 'client-9', name: token.id })),
  },
  {
    port: 'accounts',
    name: 'findById',
    isBound: true,
    json: ['roles', 'groups', 'profile'],
    run: ({ accounts }) => accounts.findById('acc-7'),
  },
  {
    port: 'accounts',
    name: 'insert',
    isBound: true,
    run: ({ accounts }, token) => accounts.insert(account({ id: token.id, username: token.id })),
  },
  {
    port: 'keys',
    name: 'list',
    isBound: true,
    json: ['public_jwk'],
    run: ({ keys }) => keys.list(),
  },
  {
    port: 'revocations',
    name: 'isRevoked',
    isBound: false,
    run: ({ revocations }) => revocations.isRevoked('token', 'token 250'),
  },
  {
    port: 'revocations',
    name: 'list 100',
    isBound: false,
    run: ({ revocations }) => revocations.list(100, 100),
  },
  {
    port: 'revocations',
    name: 'append',
    isBound: true,
    place: ROWS + 1,
    run: ({ revocations }, { id }) =>
      revocations.append([{ ...entry, kind: 'token', subject: id }]),
  },
  {
    port: 'audit',
    name: 'append',
    isBound: true,
    place: ROWS + 1,
    run: ({ audit }, { id }) =>
      audit.append(async (head) => [auditEntry((head?.sequence ?? 0) + 1, id)]),
  },
]

import { describe, expect, test } from 'vitest'
import type { EndedKind } from '../../auth-server/revocation/access.ts'
import { account, apiKey, client } from './records.ts'
import { consume, createRows, hanging, readLog, type WithWorld, type World } from './world.ts'

/** Two people with all that can hang on them. */
async function fill({ stores, clock }: World): Promise<void> {
  const rows = createRows(clock)
  await stores.clients.insert(client({ id: 'client of alice' }))
  for (const id of ['alice', 'bob']) {
    await stores.accounts.insert(account({ id, username: id }))
    await stores.models.apply(hanging(rows, id))
    const key = apiKey({ id: `key of ${id}`, hash: id, accountId: id })
    expect(await stores.apiKeys.insert(key, 9)).toBe('added')
  }
  clock.advance(1000)
}

/** What is left of a person: their models and API keys. */
async function listLeft({ stores, clock }: World, id: string): Promise<string[]> {
  const found = await Promise.all(
    hanging(createRows(clock), id).map(async ({ model, key }) =>
      (await stores.models.find(model, key)) ? model : [],
    ),
  )
  const keys = await stores.apiKeys.listByAccount(id)
  const active = keys.filter(({ revokedAt }) => revokedAt === undefined).map(() => 'API key')
  return [...found.flat(), ...active].toSorted()
}

export function testAccess(withWorld: WithWorld): void {
  describe('what takes access away', () => {
    test.each([
      ['user', 'alice', { sessions: 1, grants: 1, apiKeys: 1 }],
      ['client', 'client of alice', { sessions: 0, grants: 1, apiKeys: 0 }],
      ['grant', 'grant of alice', { sessions: 0, grants: 1, apiKeys: 0 }],
      ['grant', 'key of alice', { sessions: 0, grants: 0, apiKeys: 1 }],
      [
        'session',
        'sid of client of alice',
        {
          sessions: 1,
          grants: 0,
          apiKeys: 0,
          parts: [{ clientId: 'client of alice', accountId: 'alice' }],
        },
      ],
      ['session', 'sid of nobody', { sessions: 0, grants: 0, apiKeys: 0, parts: [] }],
      ['token', 'a jti', { sessions: 0, grants: 0, apiKeys: 0 }],
      ['all', '', { sessions: 2, grants: 2, apiKeys: 2 }],
    ] as const)('ends a %s, %j, and says what went', (kind, subject, counts) =>
      withWorld(async (world) => {
        const { stores, other, clock } = world
        await fill(world)
        const everything = await listLeft(world, 'bob')
        const ended = await other.access.end(kind, subject)
        const log = await readLog(stores)
        const places = { place: log.length, firstPlace: 1 }
        expect(ended).toEqual({ ...counts, ...places, revokedAt: clock.now() })
        expect(log.at(-1)).toMatchObject({ kind, subject, reason: 'operator' })
        expect(await listLeft(world, 'alice')).toEqual(EXPECTED_LEFT[kind](subject, everything))
        expect(await listLeft(world, 'bob')).toEqual(kind === 'all' ? [] : everything)
        const again = await other.access.end(kind, subject)
        expect(again).toMatchObject({ sessions: 0, grants: 0, apiKeys: 0, firstPlace: again.place })
      }),
    )

    test('leaves the account as it is, but for the time of what it may go on with', () =>
      withWorld(async (world) => {
        await fill(world)
        const before = await world.stores.accounts.findById('alice')
        const { revokedAt } = await world.other.access.end('user', 'alice')
        expect(await world.stores.accounts.findById('alice')).toEqual({
          ...before,
          accessEndedAt: revokedAt,
        })
        expect((await world.stores.accounts.findById('bob'))?.accessEndedAt).toBeUndefined()
      }))

    test('finds the grant that a token hangs on, also one that was used', () =>
      withWorld(async (world) => {
        await fill(world)
        const { stores, other } = world
        await stores.models.apply([consume('RefreshToken', 'token of alice')])
        const keys = ['nothing', 'token of alice']
        expect(await other.access.findGrant(keys)).toBe('grant of alice')
        expect(
          await other.access.findGrant(['device of alice', 'session of alice']),
        ).toBeUndefined()
        await stores.access.end('grant', 'grant of alice')
        expect(await other.access.findGrant(keys)).toBeUndefined()
      }))

    test.each(['user', 'all'] as const)(
      'lets no request that has begun bring a session back after the end of %s',
      (kind) =>
        withWorld(async (world) => {
          const { stores, other, clock } = world
          await fill(world)
          const { session } = createRows(clock)
          await other.access.end(kind, kind === 'user' ? 'alice' : '')
          await stores.models.apply([session('session of alice', 'new app', { uid: 'alice' })])
          await stores.models.apply([session('another key', 'new app', { uid: 'alice' })])
          expect(await stores.models.findByUid('Session', 'alice')).toBeUndefined()
          // Nor is a code good that was made in it.
          expect(await stores.revocations.isRevoked('session', 'sid of new app')).toBe(true)
        }),
    )

    test('tells the clients that want to know, once', () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        const backchannelLogoutUri = 'https://app.example/logout'
        await stores.clients.insert(client({ id: 'told', backchannelLogoutUri }))
        const { session } = createRows(clock)
        await stores.models.apply([session('s', 'told'), session('t', 'silent')])
        await stores.access.end('all', '')
        await stores.access.end('session', 'sid of told')
        const due = await stores.logouts.listDue('told', clock.now(), 10)
        expect(due.map(({ sid }) => sid)).toEqual(['sid of told'])
      }))

    test('ends everything of thousands with one entry', { timeout: 180_000 }, () =>
      withWorld(async (world) => {
        const { stores, clock } = world
        const { grant, session } = createRows(clock)
        const count = 5500
        for (let first = 0; first < count; first += 500) {
          await stores.models.apply(
            Array.from({ length: 500 }, (_, index) => `${first + index}`).flatMap((id) => [
              grant(id, { accountId: id }),
              session(`s${id}`, 'web', { uid: `u${id}`, accountId: id }),
            ]),
          )
        }
        const ended = await stores.access.end('all', '')
        expect(ended).toMatchObject({ place: 1, sessions: count, grants: count })
        expect(await readLog(stores)).toHaveLength(1)
        expect(await stores.models.find('Grant', `${count - 1}`)).toBeUndefined()
      }),
    )

    test('keeps what was used once, and people who are just signing in', () =>
      withWorld(async ({ stores, clock }) => {
        const { insert, put } = createRows(clock)
        await stores.models.apply([insert('ReplayDetection', 'proof'), put('Interaction', 'i')])
        await stores.access.end('all', '')
        expect(await stores.models.find('Interaction', 'i')).toBeDefined()
        const again = await stores.models.apply([insert('ReplayDetection', 'proof')])
        expect(again).toMatchObject({ outcome: 'lost' })
      }))

    test('refuses a name that cannot be kept', () =>
      withWorld(async ({ stores }) => {
        const refused = { code: 'invalid_input' }
        await expect(stores.access.end('token', 'a\0b')).rejects.toMatchObject(refused)
        expect(await readLog(stores)).toEqual([])
      }))
  })
}

type Left = (subject: string, everything: readonly string[]) => readonly string[]

const ofGrant = (one: string) => ['Grant', 'RefreshToken', 'AccessToken'].includes(one)
const EXPECTED_LEFT: Record<EndedKind, Left> = {
  token: (_subject, everything) => everything,
  grant: (subject, everything) =>
    everything.filter((one) => (subject.startsWith('key') ? one !== 'API key' : !ofGrant(one))),
  session: (_subject, everything) => everything,
  user: () => [],
  client: (_subject, everything) => everything.filter((one) => !ofGrant(one)),
  all: () => [],
}

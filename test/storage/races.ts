import { describe, expect, test } from 'vitest'
import { startProgram, type Program } from '../support/program.ts'
import {
  atOnce,
  consume,
  createRows,
  readLog,
  revoke,
  type WithWorld,
  type World,
} from './world.ts'
import { account, client, key } from './records.ts'
import { CREDENTIALS, PER_ROUND, ROUNDS, type RaceResult } from './race.ts'

export function testRaces(withWorld: WithWorld): void {
  describe('fifty at once on two connections', () => {
    test.each(CREDENTIALS)('use one %s once, and the family is revoked', (model) =>
      withWorld(async (world) => {
        const { put, grant } = createRows(world.clock)
        const { models, revocations } = world.stores
        await models.apply([grant('g'), put(model, 'credential', { grantId: 'g' })])
        await models.apply([grant('h'), put(model, 'other', { grantId: 'h' })])
        const results = await atOnce(world, 50, (stores, index) =>
          stores.models.apply([
            put('RefreshToken', `token-${index}`, { grantId: 'g' }),
            consume(model, 'credential'),
          ]),
        )
        const winner = results.findIndex(({ outcome }) => outcome === 'applied')
        expect(results.filter(({ outcome }) => outcome === 'applied')).toHaveLength(1)
        expect(
          results.filter((one) => one.outcome === 'lost' && one.grantId === 'g').length,
        ).toBeGreaterThan(0)
        expect(await models.find('RefreshToken', `token-${winner}`)).toBeUndefined()
        expect(await models.find('Grant', 'g')).toBeUndefined()
        expect(await models.find(model, 'other')).toMatchObject({ consumedAt: undefined })
        expect(await revocations.list(0, 10)).toMatchObject([
          { sequence: 1, kind: 'grant', subject: 'g', reason: 'credential_reused' },
        ])
      }),
    )

    test('use once what hangs on no grant, and it stays used', () =>
      withWorld(async (world) => {
        const { put } = createRows(world.clock)
        const { models } = world.stores
        await models.apply([put('PushedAuthorizationRequest', 'request')])
        const results = await atOnce(world, 50, (stores) =>
          stores.models.apply([consume('PushedAuthorizationRequest', 'request')]),
        )
        expect(results.filter(({ outcome }) => outcome === 'applied')).toHaveLength(1)
        const row = await models.find('PushedAuthorizationRequest', 'request')
        expect(row).toMatchObject({ consumedAt: world.clock.now() })
      }))

    test('write a replay record once', () =>
      withWorld(async (world) => {
        const { insert } = createRows(world.clock)
        const results = await atOnce(world, 50, ({ models }, index) =>
          models.apply([insert('ReplayDetection', 'proof', { payload: { index } })]),
        )
        const winner = results.findIndex(({ outcome }) => outcome === 'applied')
        expect(results.filter(({ outcome }) => outcome === 'applied')).toHaveLength(1)
        const row = await world.stores.models.find('ReplayDetection', 'proof')
        expect(row?.payload).toEqual({ index: winner })
      }))

    test('refresh, and all come to the one successor while it is unused', () =>
      withWorld(async (world) => {
        const { put } = createRows(world.clock)
        const { models } = world.stores
        const retry = { successorKey: 'new', windowMilliseconds: 30_000 }
        const refresh = (iat: number) => [
          { kind: 'consume', model: 'RefreshToken', key: 'old', retry } as const,
          put('RefreshToken', 'new', { grantId: 'g', payload: { iat } }),
        ]
        await models.apply([put('RefreshToken', 'old', { grantId: 'g' })])
        const results = await atOnce(world, 50, (stores, index) =>
          stores.models.apply(refresh(index)),
        )
        expect(results.every(({ outcome }) => outcome === 'applied')).toBe(true)
        const first = await models.find('RefreshToken', 'new')
        await models.apply(refresh(99))
        expect(await models.find('RefreshToken', 'new')).toEqual(first)
      }))

    test('make each username, client id and set of keys once', () =>
      withWorld(async (world) => {
        const accounts = await atOnce(world, 50, (stores, index) =>
          stores.accounts.insert(account({ id: `acc_${index}`, username: 'alice' })),
        )
        expect(accounts.filter(Boolean)).toHaveLength(1)
        const clients = await atOnce(world, 50, (stores, index) =>
          stores.clients.insert(client({ id: 'web', name: `${index}` })),
        )
        expect(clients.filter(Boolean)).toHaveLength(1)
        const stored = await world.other.clients.findById('web')
        expect(stored?.name).toBe(`${clients.indexOf(true)}`)
        await atOnce(world, 20, (stores, index) =>
          stores.keys.insertIfNone([key(`es-${index}`, 'ES256'), key(`rs-${index}`, 'RS256')]),
        )
        const keys = await world.stores.keys.list()
        expect(keys.map(({ algorithm }) => algorithm).toSorted()).toEqual(['ES256', 'RS256'])
        expect(new Set(keys.map(({ kid }) => kid.slice(3))).size).toBe(1)
      }))
  })

  describe('a grant that is revoked while the winner of a race still writes', () => {
    test('leaves no row of it', () =>
      withWorld(async (world) => {
        const { put, grant } = createRows(world.clock)
        for (let round = 0; round < 25; round += 1) {
          const grantId = `g${round}`
          const tokens = Array.from({ length: 20 }, (_, index) => `${grantId} token ${index}`)
          await world.stores.models.apply([
            grant(grantId),
            put('AuthorizationCode', grantId, { grantId }),
          ])
          const win = () =>
            world.stores.models.apply([
              consume('AuthorizationCode', grantId),
              ...tokens.map((token) => put('RefreshToken', token, { grantId })),
            ])
          const lose = () =>
            round % 2 === 0
              ? world.other.models.apply([revoke(grantId)])
              : world.other.models.apply([consume('AuthorizationCode', grantId), revoke('x')])
          await Promise.all(round % 3 === 0 ? [lose(), win()] : [win(), lose()])
          const isRevoked = await world.other.revocations.isRevoked('grant', grantId)
          const found = await Promise.all(
            [...tokens.map((token) => ['RefreshToken', token]), ['Grant', grantId]].map(
              ([model = '', name = '']) => world.other.models.find(model, name),
            ),
          )
          expect(isRevoked).toBe(true)
          expect(found.filter((row) => row !== undefined)).toEqual([])
        }
      }))
  })

  describe('two processes', () => {
    test('use each credential once, write each replay record once, and keep one log', () =>
      withWorld(async (world) => {
        await prepareRace(world)
        await using one = startRacer(world, 'one')
        await using two = startRacer(world, 'two')
        await Promise.all([one.firstLine, two.firstLine])
        for (const program of [one, two]) program.signal('SIGUSR2')
        const results = [await readResult(one), await readResult(two)]
        for (const model of CREDENTIALS) {
          for (let round = 0; round < ROUNDS; round += 1) {
            const name = `${model} ${round}`
            const wins = results.flatMap(({ consumed }) => consumed.filter((won) => won === name))
            expect([name, wins.length]).toEqual([name, 1])
            await expectNothingOf(world, name)
          }
        }
        const proofs = results.flatMap(({ inserted }) => inserted)
        expect(new Set(proofs).size).toBe(proofs.length)
        expect(proofs).toHaveLength(ROUNDS)
        const log = await readLog(world.stores)
        expect(log.map(({ sequence }) => sequence)).toEqual(log.map((_, index) => index + 1))
        expect(log).toHaveLength(CREDENTIALS.length * ROUNDS + 2 * ROUNDS)
      }))
  })
}

async function prepareRace({ stores, clock }: World): Promise<void> {
  const { put, grant } = createRows(clock)
  for (const model of CREDENTIALS) {
    for (let round = 0; round < ROUNDS; round += 1) {
      const grantId = `${model} ${round}`
      await stores.models.apply([grant(grantId), put(model, grantId, { grantId })])
    }
  }
}

function startRacer({ url, redis }: World, name: string): Program {
  const args = [name, url, ...(redis === undefined ? [] : [redis])]
  return startProgram('test/storage/racer.ts', args)
}

async function readResult(program: Program): Promise<RaceResult> {
  const { code, stdout, stderr } = await program.ended
  expect([code, stderr]).toEqual([0, ''])
  return JSON.parse(stdout.split('\n')[1] ?? '') as RaceResult
}

/** The winner of every race has written a token; the loser has taken the family with it. */
async function expectNothingOf({ stores }: World, grantId: string): Promise<void> {
  for (const name of ['one', 'two']) {
    for (let index = 0; index < PER_ROUND; index += 1) {
      const token = await stores.models.find('RefreshToken', `${grantId} ${name} ${index}`)
      expect([grantId, token]).toEqual([grantId, undefined])
    }
  }
  expect(await stores.models.find('Grant', grantId)).toBeUndefined()
}

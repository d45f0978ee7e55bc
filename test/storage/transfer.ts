import { describe, expect, test } from 'vitest'
import type { Account } from '../../auth-server/accounts/account.ts'
import type { Changes } from '../../auth-server/admin/import-plan.ts'
import { account, apiKey, client } from './records.ts'
import { atOnce, createRows, type WithWorld } from './world.ts'

const NOTHING: Changes = {
  newAccounts: [],
  accounts: [],
  newClients: [],
  clients: [],
  newApiKeys: [],
}
const ben = account({ id: 'ben', username: 'ben' })

/** An update that takes away what the person was given until now. */
const ending = (one: Account) => ({ account: { ...one, roles: ['less'] }, endsAccess: true })

export function testTransfer(withWorld: WithWorld): void {
  describe('an import', () => {
    test('makes every change that was decided on what is there', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { session } = createRows(clock)
        await stores.accounts.insert(account())
        await stores.clients.insert(client())
        await stores.apiKeys.insert(apiKey(), 10)
        await stores.models.apply([session('s', 'web')])
        const brought = apiKey({ id: 'key_2', hash: 'h2', accountId: 'ben', createdAt: 5 })
        const decided = await other.transfer.change((present) => {
          expect(present).toEqual({
            accounts: [account()],
            clients: [client()],
            apiKeys: [apiKey()],
          })
          return {
            newAccounts: [ben],
            accounts: [ending(account())],
            newClients: [client({ id: 'spa' })],
            clients: [client({ name: 'New' })],
            newApiKeys: [brought],
          }
        })
        expect(decided.newAccounts).toEqual([ben])
        expect(await stores.accounts.list()).toEqual([
          account({ roles: ['less'], accessEndedAt: clock.now() }),
          ben,
        ])
        expect(await stores.clients.list()).toEqual([
          client({ id: 'spa' }),
          client({ name: 'New' }),
        ])
        expect(await stores.models.find('Session', 's')).toBeUndefined()
        expect(await stores.revocations.isRevoked('user', 'alice')).toBe(true)
        expect(await stores.apiKeys.list()).toEqual([apiKey({ revokedAt: clock.now() }), brought])
      }))

    test.each<[string, Changes]>([
      ['a name that is taken', { ...NOTHING, newAccounts: [ben, account({ id: 'other' })] }],
      ['an id that is taken', { ...NOTHING, newAccounts: [ben, account({ username: 'other' })] }],
      [
        'a client that is there',
        { ...NOTHING, newAccounts: [ben], newClients: [client({ id: 'spa' }), client()] },
      ],
      [
        'a client that is gone',
        { ...NOTHING, newAccounts: [ben], clients: [client({ id: 'gone' })] },
      ],
      [
        'a user who is gone',
        {
          ...NOTHING,
          newAccounts: [ben],
          accounts: [ending(account()), ending(account({ id: 'gone' }))],
        },
      ],
      [
        'an API key of nobody',
        { ...NOTHING, newAccounts: [ben], newApiKeys: [apiKey({ accountId: 'gone' })] },
      ],
      [
        'an API key of a user who is disabled',
        {
          ...NOTHING,
          accounts: [{ account: account({ disabled: true }), endsAccess: false }],
          newApiKeys: [apiKey()],
        },
      ],
      [
        'an API key that is there',
        { ...NOTHING, newAccounts: [ben], newApiKeys: [apiKey(), apiKey({ id: 'key_2' })] },
      ],
    ])('makes none of them because of %s', (_what, changes) =>
      withWorld(async ({ stores, other, clock }) => {
        const { session } = createRows(clock)
        await stores.accounts.insert(account())
        await stores.clients.insert(client())
        await stores.models.apply([session('s', 'web')])
        await expect(other.transfer.change(() => changes)).rejects.toMatchObject({
          code: 'conflict',
        })
        expect(await stores.accounts.list()).toEqual([account()])
        expect(await stores.clients.list()).toEqual([client()])
        expect(await stores.apiKeys.list()).toEqual([])
        expect(await stores.models.find('Session', 's')).toMatchObject({ key: 's' })
        expect(await stores.revocations.isRevoked('user', 'alice')).toBe(false)
      }),
    )

    test('makes none of them where the decision is to refuse', () =>
      withWorld(async ({ stores }) => {
        const reason = new Error('no')
        const refuse = () => {
          throw reason
        }
        await expect(stores.transfer.change(refuse)).rejects.toBe(reason)
        expect(await stores.accounts.list()).toEqual([])
      }))

    test('and whoever ends access meanwhile do not wait for each other in a circle', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { session } = createRows(clock)
        await stores.accounts.insert(account())
        await stores.accounts.insert(ben)
        const conflicts: unknown[] = []
        for (let round = 0; round < 25; round += 1) {
          await stores.models.apply([session(`s${round}`, 'web', { uid: `u${round}` })])
          const id = `web ${round}`
          await stores.clients.insert(client({ id }))
          // Rows first and the models later; the others go the other way round.
          const change = other.transfer.change(({ accounts, clients }) => ({
            ...NOTHING,
            accounts: accounts.map((one) => ({
              account: { ...one, updatedAt: round },
              endsAccess: one.id === 'ben',
            })),
            clients: clients.filter((one) => one.id === id),
          }))
          const ends = [
            stores.accounts.updateAndEndAccess(account({ updatedAt: 100 + round })),
            stores.clients.remove(id),
          ]
          const [imported, ...rest] = await Promise.allSettled([change, ...ends])
          expect(rest.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
          if (imported?.status === 'rejected') conflicts.push(imported.reason)
        }
        expect(conflicts.map((error) => (error as { code?: string }).code)).toEqual(
          conflicts.map(() => 'conflict'),
        )
      }))

    test('does not undo that somebody was disabled after it was decided', () =>
      withWorld(async ({ stores, other }) => {
        await stores.accounts.insert(account())
        await stores.clients.insert(client())
        const refusals: unknown[] = []
        for (let round = 0; round < 25; round += 1) {
          const enabled = account({ updatedAt: round })
          await stores.accounts.update(enabled)
          await stores.clients.update(client())
          const disabled = account({ disabled: true, updatedAt: 100 + round })
          let meanwhile: Promise<unknown> = Promise.resolve()
          const change = other.transfer.change(({ accounts, clients }) => {
            meanwhile = Promise.all([
              stores.accounts.updateAndEndAccess(disabled),
              stores.clients.update(client({ disabled: true })),
            ])
            return {
              ...NOTHING,
              newClients: [client({ id: `more ${round}` })],
              accounts: accounts.map((one) => ({
                account: { ...one, groups: ['brought'] },
                endsAccess: false,
              })),
              clients: clients.map((one) => ({ ...one, name: 'Brought' })),
            }
          })
          const [imported] = await Promise.allSettled([change])
          await meanwhile
          if (imported.status === 'rejected') refusals.push(imported.reason)
          expect((await stores.accounts.list())[0]?.disabled).toBe(true)
          expect((await stores.clients.findById('web'))?.disabled).toBe(true)
        }
        for (const refusal of refusals) expect(refusal).toMatchObject({ code: 'conflict' })
      }))

    test('of one user by twenty at once is made once', () =>
      withWorld(async (world) => {
        const made = await atOnce(world, 20, async ({ transfer }, index) => {
          const newAccounts = [
            account({ id: `id ${index}` }),
            account({ id: `b ${index}`, username: `b ${index}` }),
          ]
          return transfer
            .change(() => ({ ...NOTHING, newAccounts }))
            .then(
              () => 'made',
              (error: { code?: string }) => error.code,
            )
        })
        expect(made.map(String).toSorted()).toEqual([...Array<string>(19).fill('conflict'), 'made'])
        expect(await world.stores.accounts.list()).toHaveLength(2)
      }))
  })
}

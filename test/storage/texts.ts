import { describe, expect, test } from 'vitest'
import { account, client } from './records.ts'
import { createRows, type WithWorld } from './world.ts'

const TEXTS = [
  ["quotes'); drop table engine_model; --", "x'); drop table engine_model; --"],
  ['a comment', "admin'/* */ or 1=1 --"],
  ['placeholders', '$1 ? :name @p %s %_\\'],
  ['double quotes', '"model" = "model"'],
  ['emptiness', ''],
  ['spaces and lines', ' \t\r\n '],
  ['other scripts', 'Ω עברית 日本語 🦉👩‍👩‍👧'],
  ['composed letters', 'é'],
  ['decomposed letters', 'e\u0301'],
  ['the ends of the planes', '\u0001\u007f\ufffd\uffff\u{10ffff}'],
  ['names of JavaScript', '__proto__'],
] as const

export function testTexts(withWorld: WithWorld): void {
  describe('texts', () => {
    test('are kept letter by letter, whatever they look like', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put } = createRows(clock)
        for (const [, text] of TEXTS) {
          const names = { uid: text, userCode: text, accountId: text, clientId: text }
          const payload = { text, list: [text] }
          await stores.models.apply([put('Interaction', text, { payload })])
          await stores.models.apply([put('DeviceCode', text, { ...names, payload })])
          await stores.accounts.insert(account({ id: text, username: text, roles: [text] }))
          await stores.clients.insert(client({ id: text, name: text }))
        }
        for (const [, text] of TEXTS) {
          const row = { key: text, payload: { text, list: [text] } }
          expect(await other.models.find('Interaction', text)).toMatchObject(row)
          expect(await other.models.findByUid('DeviceCode', text)).toMatchObject(row)
          expect(await other.models.findByUserCode('DeviceCode', text)).toMatchObject(row)
          expect(await other.accounts.findByUsername(text)).toMatchObject({ id: text })
          expect(await other.clients.findById(text)).toMatchObject({ id: text, name: text })
          expect(await other.models.find(text, text)).toBeUndefined()
        }
        expect(await other.accounts.list()).toHaveLength(TEXTS.length)
      }))

    test('may hold anything inside of a payload', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put } = createRows(clock)
        const payload = { 'a\0b': 'c\0d', lone: '\ud800', number: 1e21, no: null }
        await stores.models.apply([put('Interaction', 'i', { payload })])
        expect(await other.models.find('Interaction', 'i')).toMatchObject({ payload })
      }))

    test('of megabytes are kept', () =>
      withWorld(async ({ stores, other, clock }) => {
        const { put } = createRows(clock)
        const payload = { text: 'ü🦉'.repeat(1_000_000) }
        await stores.models.apply([put('Interaction', 'i', { payload })])
        expect((await other.models.find('Interaction', 'i'))?.payload).toEqual(payload)
      }))

    const unstorable = [
      ['U+0000', 'a\0b'],
      ['half a surrogate pair', 'a\ud800b'],
    ] as const

    test.each(unstorable)('with %s name nothing', (_what, text) =>
      withWorld(async ({ stores: { accounts, clients, models, revocations } }) => {
        await clients.insert(client({ id: 'a\ufffdb' }))
        expect(await clients.findById(text)).toBeUndefined()
        expect(await accounts.findById(text)).toBeUndefined()
        expect(await accounts.findByUsername(text)).toBeUndefined()
        expect(await models.find('Session', text)).toBeUndefined()
        expect(await models.findByUid('Session', text)).toBeUndefined()
        expect(await models.findByUserCode('DeviceCode', text)).toBeUndefined()
        expect(await revocations.isRevoked('token', text)).toBe(false)
      }),
    )

    test.each(unstorable)('with %s are refused, and change nothing', (_what, text) =>
      withWorld(async ({ stores, clock }) => {
        const { put } = createRows(clock)
        const refused = { code: 'invalid_input' }
        const entry = { kind: 'token', subject: text, reason: 'signed_out' } as const
        const changes = [
          () => stores.models.apply([put('Interaction', text)]),
          () => stores.models.apply([put('Interaction', 'i', { uid: text })]),
          () => stores.models.apply([{ kind: 'consume', model: 'RefreshToken', key: text }]),
          () => stores.accounts.insert(account({ username: text })),
          () => stores.clients.insert(client({ id: text })),
          () => stores.revocations.append([{ ...entry, expiresAt: 2 }]),
        ]
        for (const change of changes) await expect(change()).rejects.toMatchObject(refused)
        expect(await stores.models.find('Interaction', 'i')).toBeUndefined()
        expect(await stores.accounts.list()).toEqual([])
        expect(await stores.clients.list()).toEqual([])
        expect(await stores.revocations.list(0, 10)).toEqual([])
      }),
    )
  })
}

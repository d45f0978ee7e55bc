import { expect, test } from 'vitest'
import { createEvents } from '../events.ts'
import { createLog } from '../log.ts'
import { openStores } from '../storage/stores.ts'
import { createGuessThrottle } from '../throttle.ts'
import { createPasswordHasher, type PasswordHasher } from './password.ts'
import { createSignIn } from './sign-in.ts'

const MANY = { attempts: 1000, windowSeconds: 60 }
const PASSWORD = 'a password of alice'

async function start(options = { concurrency: 2, queue: 16 }, accessEndedAt?: number) {
  await using cleanUp = new AsyncDisposableStack()
  const { accounts } = cleanUp.use(await openStores('sqlite::memory:', { now: () => 0 }))
  const real = createPasswordHasher(options)
  let hashes = 0
  const counting: PasswordHasher = {
    ...real,
    verify: (password, phc) => ((hashes += 1), real.verify(password, phc)),
    pretend: (password) => ((hashes += 1), real.pretend(password)),
  }
  const lines: string[] = []
  const signIn = createSignIn({
    accounts,
    hasher: counting,
    throttle: createGuessThrottle({ perAccount: MANY, perAddress: MANY, overall: MANY }),
    readTime: async () => 5000,
    events: createEvents(createLog('info', { write: (line) => void lines.push(line) })),
  })
  const add = async (username: string, more: { disabled?: boolean; password?: string } = {}) =>
    accounts.insert({
      id: `acc_${username}`,
      username,
      passwordHash: more.password === undefined ? undefined : await real.hash(more.password),
      roles: [],
      groups: [],
      profile: {},
      disabled: more.disabled === true,
      accessEndedAt,
      owner: 'operator',
      createdAt: 0,
      updatedAt: 0,
    })
  await add('alice', { password: PASSWORD })
  await add('disabled', { password: PASSWORD, disabled: true })
  await add('passkey')
  const running = cleanUp.move()
  return {
    try: (username: string, password: string) =>
      signIn({ username, password, address: '192.0.2.1' }),
    hashes: () => hashes,
    logged: () => lines.join(''),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

test('signs a person in however the name is written', async () => {
  await using it = await start()
  for (const name of ['alice', ' Alice ', 'ALICE', 'ａｌｉｃｅ']) {
    expect(await it.try(name, PASSWORD)).toMatchObject({
      ok: true,
      value: { account: { id: 'acc_alice' }, at: 5000 },
    })
  }
})

test.each([
  ['long ago', 1000, 5000],
  ['within this second', 5000, 6000],
  ['after it began, and before the account was read', 5001, 6000],
  ['twice within this second', 6000, 7000],
])('dates a sign-in after access was ended %s', async (_case, endedAt, at) => {
  await using it = await start(undefined, endedAt)
  expect(await it.try('alice', PASSWORD)).toMatchObject({ ok: true, value: { at } })
})

test.each([
  ['a wrong password', 'alice', 'something else'],
  ['no password', 'alice', ''],
  ['an unknown name', 'stranger', PASSWORD],
  ['no name', '', PASSWORD],
  ['a disabled account', 'disabled', PASSWORD],
  ['an account without a password', 'passkey', ''],
])('refuses %s in one and the same way, after one hash', async (_case, username, password) => {
  await using it = await start()
  expect(await it.try(username, password)).toMatchObject({
    ok: false,
    reason: { kind: 'credentials' },
  })
  expect(it.hashes()).toBe(1)
  expect(it.logged()).not.toContain('stranger')
  expect(it.logged()).not.toContain(PASSWORD)
})

test('tells the endpoint that has to know whether there is such a user', async () => {
  await using it = await start()
  const isUnknown = async (username: string) => {
    const answer = await it.try(username, 'something else')
    return answer.ok || answer.reason.kind !== 'credentials' || answer.reason.isUnknownUser
  }
  expect(await isUnknown('stranger')).toBe(true)
  for (const name of ['alice', 'disabled', 'passkey']) expect(await isUnknown(name)).toBe(false)
})

test('hashes so many at once and no more, and counts nothing against those it turned away', async () => {
  await using it = await start({ concurrency: 1, queue: 2 })
  const answers = await Promise.all(Array.from({ length: 10 }, () => it.try('alice', PASSWORD)))
  const outcomes = answers.map((answer) => (answer.ok ? 'in' : answer.reason.kind))
  expect(outcomes.filter((outcome) => outcome === 'in')).toHaveLength(3)
  expect(outcomes.filter((outcome) => outcome === 'busy')).toHaveLength(7)
  expect(await it.try('alice', PASSWORD)).toMatchObject({ ok: true })
})

import { expect, test } from 'vitest'
import { createPasswordHasher } from '../accounts/password.ts'
import { verifyClientSecret } from '../clients/secret.ts'
import { DIRECT_ACCESS_CLIENT } from '../config/built-in.ts'
import { prepareConfig } from '../config/load.ts'
import type { ConfigInput } from '../config/schema.ts'
import { createEvents } from '../events.ts'
import { createLog } from '../log.ts'
import { openStores } from '../storage/stores.ts'
import { createOperations } from './operations.ts'
import { reconcile } from './reconcile.ts'

const RESOURCE = {
  identifier: 'https://notes.example/',
  audience: 'notes',
  name: 'Notes',
  scopes: { 'notes:read': { description: 'Read your notes' } },
}

const CONFIG: ConfigInput = {
  roles: { reader: { scopes: ['notes:read'] } },
  resources: [RESOURCE],
  clients: [{ id: 'declared', authMethod: 'none', redirectUris: ['https://app.example/cb'] }],
  users: [{ username: 'declared', password: { env: 'PASSWORD' } }],
}

const WEB = { id: 'web', redirectUris: ['https://app.example/cb'], scopes: ['notes:read'] }

async function start(input: ConfigInput = CONFIG) {
  await using cleanUp = new AsyncDisposableStack()
  let now = 1_767_225_600_000
  const clock = { now: () => now }
  const stores = cleanUp.use(await openStores('sqlite::memory:', clock))
  const hasher = createPasswordHasher({ concurrency: 2, queue: 8 })
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const collaborators = { ...stores, hasher, clock, events: createEvents(log) }
  const operationsFor = (config: ConfigInput) =>
    createOperations(collaborators, { ...prepareConfig(config), file: '/etc/portreeve.config.ts' })
  const reconcileWith = (config: ConfigInput) =>
    reconcile(prepareConfig(config, { environment: { PASSWORD: 'long enough' } }), collaborators)
  await reconcileWith(input)
  const running = cleanUp.move()
  return {
    ...operationsFor(input),
    stores,
    hasher,
    lines,
    operationsFor,
    reconcileWith,
    turnClock: () => (now += 60_000),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

test('adds a user with an id of its own and a username in lower case', async () => {
  await using it = await start()
  const user = await it.users.add(
    { username: 'Ann', roles: ['reader'], profile: { email: 'ann@example.org' } },
    async () => 'correct horse',
  )
  expect(user).toEqual({
    id: expect.stringMatching(/^acc_[\w-]{22}$/),
    username: 'ann',
    roles: ['reader'],
    groups: [],
    profile: { email: 'ann@example.org' },
    hasPassword: true,
    disabled: false,
    owner: 'operator',
    createdAt: '2026-01-01T00:00:00.000Z',
    updatedAt: '2026-01-01T00:00:00.000Z',
  })
  const stored = await it.stores.accounts.findByUsername('ann')
  expect(await it.hasher.verify('correct horse', stored?.passwordHash ?? '')).toBe(true)
  expect(await it.users.show('ANN')).toEqual(user)
  expect(await it.users.show(user.id)).toEqual(user)
  expect((await it.users.list()).map(({ username }) => username)).toEqual(['ann', 'declared'])
})

test('adds a user without a password', async () => {
  await using it = await start()
  expect(await it.users.add({ username: 'ann' }, undefined)).toMatchObject({ hasPassword: false })
})

test.each([
  ['a username with a space', { username: 'a b' }, 'long enough', 'username: expected a username'],
  ['a short password', { username: 'ann' }, 'short', 'password: a password has at least 8'],
  [
    'an unknown role',
    { username: 'ann', roles: ['boss'] },
    'long enough',
    'roles[0]: PR402: "boss"',
  ],
  ['everyone', { username: 'ann', roles: ['everyone'] }, 'long enough', 'roles[0]: PR403:'],
  [
    'what is no address',
    { username: 'ann', profile: { email: 'x' } },
    'long enough',
    'profile.email: expected an e-mail address, got "x"',
  ],
])('refuses a user with %s', async (_name, user, password, message) => {
  await using it = await start()
  await expect(it.users.add(user, async () => password)).rejects.toMatchObject({
    code: 'invalid_input',
    message: expect.stringContaining(message),
  })
  expect(await it.users.list()).toHaveLength(1)
})

test.each([
  ['a name that cannot be', { username: 'a b' }, 'invalid_input'],
  ['a role that is not there', { username: 'ann', roles: ['boss'] }, 'invalid_input'],
  ['somebody that the file declares', { username: 'declared' }, 'read_only'],
  ['somebody who is there already', { username: 'Bob' }, 'conflict'],
])('asks for no password of %s', async (_name, user, code) => {
  await using it = await start()
  await it.users.add({ username: 'bob' }, undefined)
  let asked = 0
  const ask = async () => {
    asked += 1
    return 'long enough'
  }
  await expect(it.users.add(user, ask)).rejects.toMatchObject({ code })
  expect(asked).toBe(0)
  await it.users.add({ username: 'carol' }, ask)
  expect(asked).toBe(1)
})

test('adds nobody whose password is not given', async () => {
  await using it = await start()
  const cancel = async (): Promise<string> => {
    throw new Error('cancelled')
  }
  await expect(it.users.add({ username: 'ann' }, cancel)).rejects.toThrow('cancelled')
  expect(await it.users.list()).toHaveLength(1)
})

test('adds one user for one username although both were asked for a password', async () => {
  await using it = await start()
  const inner = it.users.add({ username: 'ann' }, async () => {
    await it.users.add({ username: 'ann' }, undefined)
    return 'long enough'
  })
  await expect(inner).rejects.toMatchObject({ code: 'conflict' })
  expect(await it.users.show('ann')).toMatchObject({ hasPassword: false })
})

test('lists all that is wrong with a user at once', async () => {
  await using it = await start()
  const user = { username: 'a b', groups: ['\n'] }
  await expect(it.users.add(user, undefined)).rejects.toThrow(
    /^2 mistakes:\n {2}username: .*\n {2}groups\[0\]: /,
  )
})

test('adds one user for one username, however it is written', async () => {
  await using it = await start()
  const adding = ['ann', 'ANN', 'ａｎｎ'].map((username) => it.users.add({ username }, undefined))
  const settled = await Promise.allSettled(adding)
  expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  await expect(it.users.add({ username: 'Ann' }, undefined)).rejects.toMatchObject({
    code: 'conflict',
    message: 'There is a user ann already.',
  })
})

test('sets a password, roles, and whether a user is disabled', async () => {
  await using it = await start()
  await it.users.add({ username: 'ann' }, async () => 'the old password')
  it.turnClock()
  const changed = await it.users.setPassword('ann', 'the new password')
  expect(changed.updatedAt).toBe('2026-01-01T00:01:00.000Z')
  const stored = await it.stores.accounts.findByUsername('ann')
  expect(await it.hasher.verify('the new password', stored?.passwordHash ?? '')).toBe(true)
  expect(await it.hasher.verify('the old password', stored?.passwordHash ?? '')).toBe(false)
  expect(await it.users.setRoles('ann', ['reader'])).toMatchObject({ roles: ['reader'] })
  expect(await it.users.setRoles('ann', [])).toMatchObject({ roles: [] })
  await expect(it.users.setRoles('ann', ['boss'])).rejects.toMatchObject({ code: 'invalid_input' })
  await expect(it.users.setPassword('ann', 'short')).rejects.toMatchObject({
    code: 'invalid_input',
  })
  expect(await it.users.setDisabled('ann', true)).toMatchObject({ disabled: true })
  expect(await it.users.setDisabled('ann', false)).toMatchObject({ disabled: false })
})

test('does not undo what another operator does while a password is set', async () => {
  await using it = await start()
  const { id } = await it.users.add({ username: 'ann' }, async () => 'the old password')
  // Hashing it takes longer than all that the other does.
  const [set] = await Promise.all([
    it.users.setPassword('ann', 'the new password'),
    it.users.setRoles('ann', ['reader']),
    it.users.setDisabled('ann', true),
  ])
  expect(set).toMatchObject({ roles: ['reader'], disabled: true })
  const stored = await it.stores.accounts.findById(id)
  expect(stored).toMatchObject({ roles: ['reader'], disabled: true })
  expect(await it.hasher.verify('the new password', stored?.passwordHash ?? '')).toBe(true)
})

test.each(['setRoles', 'setDisabled'] as const)(
  'does not bring an old password back by %s, nor the time when access ended',
  async (other) => {
    await using it = await start()
    const { id } = await it.users.add({ username: 'ann' }, async () => 'the old password')
    if (other === 'setDisabled') await it.users.setDisabled('ann', true)
    const passwordHash = await it.hasher.hash('the new password')
    it.turnClock()
    const act = () =>
      other === 'setRoles'
        ? it.users.setRoles('ann', ['reader'])
        : it.users.setDisabled('ann', false)
    // Each of them has read the account before the other one writes.
    await Promise.all([act(), it.stores.accounts.updateAndEndAccess({ id, passwordHash }), act()])
    const stored = await it.stores.accounts.findById(id)
    expect(stored).toMatchObject({ passwordHash, accessEndedAt: 1_767_225_660_000 })
    expect(stored).toMatchObject(other === 'setRoles' ? { roles: ['reader'] } : { disabled: false })
  },
)

test('rotates a secret for one of several who want it at once', async () => {
  await using it = await start()
  await it.clients.add(WEB, undefined)
  const settled = await Promise.allSettled(
    Array.from({ length: 6 }, () => it.clients.rotateSecret('web', undefined)),
  )
  const secrets = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value.secret] : []))
  const refusals = settled.flatMap((one) =>
    one.status === 'rejected' ? [one.reason as unknown] : [],
  )
  expect(secrets).toHaveLength(1)
  for (const refusal of refusals) {
    expect(refusal).toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('has just been changed by somebody else'),
    })
  }
  const { secretHash = '' } = (await it.stores.clients.findById('web')) ?? {}
  expect(await verifyClientSecret(secrets[0] ?? '', secretHash, it.hasher)).toBe(true)
})

test('undoes no change of a client while its secret is hashed', async () => {
  await using it = await start()
  await it.clients.add(WEB, undefined)
  const web = await it.stores.clients.findById('web')
  if (!web) throw new Error('no web')
  const rotating = it.clients.rotateSecret('web', 'a chosen secret that is long enough')
  const changed = {
    ...web,
    redirectUris: ['https://other.example/cb'],
    updatedAt: web.updatedAt + 1,
  }
  const [rotated] = await Promise.allSettled([rotating, it.stores.clients.update(changed)])
  expect(rotated).toMatchObject({ status: 'rejected', reason: { code: 'conflict' } })
  expect(await it.stores.clients.findById('web')).toEqual(changed)
})

test('removes a user', async () => {
  await using it = await start()
  const { id } = await it.users.add({ username: 'ann' }, undefined)
  expect(await it.users.remove('ann')).toMatchObject({ id })
  await expect(it.users.show('ann')).rejects.toMatchObject({ code: 'not_found' })
  await expect(it.users.remove('ann')).rejects.toThrow('There is no user "ann".')
})

test('does not touch what the file declares, and names the file', async () => {
  await using it = await start()
  const refused = {
    code: 'read_only',
    message: expect.stringMatching(/ declared is declared in \/etc\/portreeve\.config\.ts: change/),
  }
  const attempts = [
    it.users.add({ username: 'Declared' }, undefined),
    it.users.setPassword('declared', 'long enough'),
    it.users.setRoles('declared', ['reader']),
    it.users.setDisabled('declared', true),
    it.users.remove('declared'),
    it.clients.add({ ...WEB, id: 'declared' }, undefined),
    it.clients.rotateSecret('declared', undefined),
    it.clients.setDisabled('declared', true),
    it.clients.remove('declared'),
  ]
  for (const attempt of attempts) await expect(attempt).rejects.toMatchObject(refused)
})

test('refuses to make what the file declares although no server has read it yet', async () => {
  await using it = await start({})
  const { users, clients } = it.operationsFor(CONFIG)
  await expect(users.add({ username: 'declared' }, undefined)).rejects.toMatchObject({
    code: 'read_only',
  })
  await expect(clients.add({ ...WEB, id: 'declared' }, undefined)).rejects.toMatchObject({
    code: 'read_only',
  })
})

test('removes what has disappeared from the file, once a server has noticed', async () => {
  await using it = await start()
  const { users, clients } = it.operationsFor({})
  await expect(users.remove('declared')).rejects.toMatchObject({ code: 'read_only' })
  await expect(clients.remove('declared')).rejects.toMatchObject({ code: 'read_only' })
  await it.reconcileWith({})
  expect(await users.remove('declared')).toMatchObject({ disabled: true })
  expect(await clients.remove('declared')).toMatchObject({ disabled: true })
  expect(await users.list()).toEqual([])
})

test('adds a client and answers its secret once', async () => {
  await using it = await start()
  const { client, secret, warnings } = await it.clients.add(WEB, undefined)
  expect(secret).toMatch(/^[\w-]{43}$/)
  expect(warnings).toEqual([])
  expect(client).toMatchObject({ id: 'web', name: 'web', hasSecret: true, owner: 'operator' })
  expect(JSON.stringify(await it.clients.show('web'))).not.toContain(secret)
  expect(client).not.toHaveProperty('secretHash')
  const { secretHash = '' } = (await it.stores.clients.findById('web')) ?? {}
  expect(await verifyClientSecret(secret ?? '', secretHash, it.hasher)).toBe(true)
})

test('takes a secret that the operator chose, and does not answer it', async () => {
  await using it = await start()
  const chosen = 'chosen by the operator'
  const { secret, client } = await it.clients.add(WEB, chosen)
  expect({ secret, hasSecret: client.hasSecret }).toEqual({ secret: undefined, hasSecret: true })
  const { secretHash = '' } = (await it.stores.clients.findById('web')) ?? {}
  expect(secretHash).toMatch(/^\$argon2id\$/)
  expect(await verifyClientSecret(chosen, secretHash, it.hasher)).toBe(true)
})

test('adds a public client without a secret', async () => {
  await using it = await start()
  const { secret, client } = await it.clients.add({ ...WEB, authMethod: 'none' }, undefined)
  expect({ secret, hasSecret: client.hasSecret }).toEqual({ secret: undefined, hasSecret: false })
  await expect(it.clients.rotateSecret('web', undefined)).rejects.toMatchObject({
    code: 'invalid_input',
    message: 'The client web has no secret: its method is "none".',
  })
})

test('answers what is worth a look', async () => {
  await using it = await start()
  const { warnings } = await it.clients.add({ ...WEB, pkce: 'exempt' }, undefined)
  expect(warnings.map(({ rule }) => rule)).toEqual(['PR350'])
})

test.each([
  ['an id like an account', { ...WEB, id: 'acc_1' }, undefined, 'id: PR302:'],
  ['the id of a resource', { ...WEB, id: 'notes' }, undefined, 'id: PR303:'],
  ['a script to return to', { ...WEB, redirectUris: ['javascript:x'] }, undefined, 'PR310:'],
  ['an unknown scope', { ...WEB, scopes: ['x'] }, undefined, 'scopes[0]: PR316:'],
  ['a secret it cannot have', { ...WEB, authMethod: 'none' as const }, 'x'.repeat(16), 'PR304:'],
  ['a short secret', WEB, 'short', 'secret: a client secret has at least 16 characters'],
  ['a bad id', { ...WEB, id: 'a b' }, undefined, 'id: expected a client id of 1 to 128'],
])('refuses a client with %s', async (_name, client, secret, message) => {
  await using it = await start()
  await expect(it.clients.add(client, secret)).rejects.toMatchObject({
    code: 'invalid_input',
    message: expect.stringContaining(message),
  })
  expect(await it.clients.list()).toHaveLength(1)
})

test('gives a client a new secret, and forgets the old one', async () => {
  await using it = await start()
  const { secret: old = '' } = await it.clients.add(WEB, undefined)
  const { secret = '' } = await it.clients.rotateSecret('web', undefined)
  const { secretHash = '' } = (await it.stores.clients.findById('web')) ?? {}
  expect(await verifyClientSecret(secret, secretHash, it.hasher)).toBe(true)
  expect(await verifyClientSecret(old, secretHash, it.hasher)).toBe(false)
  await it.clients.rotateSecret('web', 'chosen by the operator')
  const rotated = (await it.stores.clients.findById('web'))?.secretHash ?? ''
  expect(await verifyClientSecret('chosen by the operator', rotated, it.hasher)).toBe(true)
})

test('disables a client, which ends what it had, and lets it in again with none of that', async () => {
  await using it = await start()
  await it.clients.add(WEB, undefined)
  const before = await it.stores.clients.findById('web')
  expect(await it.clients.setDisabled('web', true)).toMatchObject({ disabled: true })
  const log = [{ kind: 'client', subject: 'web' }]
  expect(await it.stores.revocations.list(0, 9)).toMatchObject(log)
  // Again is no change: an entry would end what others are given meanwhile.
  const { updatedAt } = await it.clients.setDisabled('web', true)
  expect((await it.clients.setDisabled('web', true)).updatedAt).toBe(updatedAt)
  expect(await it.clients.setDisabled('web', false)).toMatchObject({ disabled: false })
  expect(await it.stores.revocations.list(0, 9)).toMatchObject(log)
  expect(await it.stores.clients.findById('web')).toEqual({
    ...before,
    updatedAt: (before?.updatedAt ?? 0) + 2,
  })
  await expect(it.clients.setDisabled('shop', true)).rejects.toMatchObject({ code: 'not_found' })
})

test('disables a client for one of several who change it at once', async () => {
  await using it = await start()
  await it.clients.add(WEB, undefined)
  const settled = await Promise.allSettled([
    it.clients.setDisabled('web', true),
    it.clients.rotateSecret('web', undefined),
    it.clients.setDisabled('web', true),
  ])
  const refusals = settled.flatMap((one) =>
    one.status === 'rejected' ? [one.reason as unknown] : [],
  )
  expect(refusals).toHaveLength(2)
  for (const refusal of refusals) {
    expect(refusal).toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(/changed by somebody else, and keeps its (?:access|secret):/),
    })
  }
})

test('adds one client for one id, and says which are not there', async () => {
  await using it = await start()
  await it.clients.add(WEB, undefined)
  await expect(it.clients.add(WEB, undefined)).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringMatching(
      /^There is a client web already\. .*portreeve clients remove web/,
    ),
  })
  await expect(it.clients.show('Web')).rejects.toThrow('There is no client "Web".')
  expect(await it.clients.remove('web')).toMatchObject({ id: 'web' })
  await expect(it.clients.rotateSecret('web', undefined)).rejects.toMatchObject({
    code: 'not_found',
  })
})

test('revokes what was issued about who loses a role, and nothing where one is added', async () => {
  await using it = await start({ ...CONFIG, roles: { ...CONFIG.roles, boss: { scopes: [] } } })
  const { id } = await it.users.add({ username: 'ann', roles: ['reader'] }, undefined)
  await it.users.setRoles('ann', ['boss', 'reader'])
  await it.users.setRoles('ann', ['reader', 'boss'])
  expect(await it.stores.revocations.head()).toBe(0)
  await it.users.setRoles('ann', ['boss'])
  expect(await it.stores.revocations.list(0, 9)).toMatchObject([{ kind: 'user', subject: id }])
  expect(await it.stores.accounts.findById(id)).toMatchObject({ accessEndedAt: undefined })
})

test('revokes what a client was issued with its secret, where that is wanted', async () => {
  await using it = await start()
  await it.clients.add(WEB, undefined)
  await it.clients.rotateSecret('web', undefined)
  expect(await it.stores.revocations.head()).toBe(0)
  const { secret = '' } = await it.clients.rotateSecret('web', undefined, { revokes: true })
  const { secretHash = '' } = (await it.stores.clients.findById('web')) ?? {}
  expect(await verifyClientSecret(secret, secretHash, it.hasher)).toBe(true)
  expect(await it.stores.revocations.isRevoked('client', 'web')).toBe(true)
})

test('takes access away from what is named, tells of it, and leaves it as it is', async () => {
  await using it = await start()
  const { id } = await it.users.add({ username: 'ann', roles: ['reader'] }, undefined)
  const declared = await it.users.show('declared')
  await it.clients.add(WEB, undefined)
  const { apiKey } = await it.apiKeys.add({
    user: 'ann',
    name: 'Backup',
    scopes: ['notes:read'],
    expiresAt: undefined,
  })
  it.turnClock()
  const { revoke } = it.revocations
  const revokedAt = '2026-01-01T00:01:00.000Z'
  const nothing = { sessions: 0, grants: 0, apiKeys: 0, revokedAt, committedAt: revokedAt }
  const jti = 'a-token-of-somebody'
  const ends = [
    [{ kind: 'token', subject: jti }, jti, { place: 1 }],
    [{ kind: 'grant', subject: apiKey.id }, apiKey.id, { place: 2, apiKeys: 1 }],
    [{ kind: 'user', subject: 'ANN' }, id, { place: 3 }],
    [{ kind: 'user', subject: 'declared' }, declared.id, { place: 4 }],
    [{ kind: 'client', subject: 'web' }, 'web', { place: 5 }],
    [{ kind: 'client', subject: DIRECT_ACCESS_CLIENT }, DIRECT_ACCESS_CLIENT, { place: 6 }],
    [{ kind: 'all', subject: 'whatever' }, '', { place: 7 }],
  ] as const
  for (const [what, subject, counts] of ends) {
    const { place } = counts
    // Nothing else hangs on any of them: each is one entry.
    const expected = { kind: what.kind, subject, ...nothing, ...counts, firstPlace: place }
    expect(await revoke(what)).toEqual(expected)
    const event = JSON.parse(it.lines.at(-1) ?? '') as Record<string, unknown>
    expect(event).toMatchObject({ event: 'access_revoked', kind: what.kind, place, by: 'operator' })
  }
  expect(await it.users.show('ann')).toMatchObject({ disabled: false, roles: ['reader'] })
  expect(await it.clients.show('web')).toMatchObject({ disabled: false })
})

test.each([
  ['user', 'nobody', 'not_found', 'There is no user "nobody".'],
  ['client', 'nobody', 'not_found', 'There is no client "nobody".'],
  ['token', 'aa.bb.cc', 'invalid_input', 'expected the claim jti, got a whole token'],
  ['session', 'a b', 'invalid_input', 'session: expected the claim sid, got "a b"'],
  ['grant', '', 'invalid_input', 'grant: expected the claim grant_id, got ""'],
  ['grant', 'x'.repeat(129), 'invalid_input', 'expected the claim grant_id'],
] as const)('takes nothing away from a %s %j', async (kind, subject, code, message) => {
  await using it = await start()
  const refused = { code, message: expect.stringContaining(message) }
  await expect(it.revocations.revoke({ kind, subject })).rejects.toMatchObject(refused)
  expect(await it.stores.revocations.head()).toBe(0)
})

test('tells of every change, without secrets', async () => {
  await using it = await start({ resources: [RESOURCE] })
  await it.users.add({ username: 'ann' }, async () => 'correct horse')
  await it.users.setPassword('ann', 'battery staple')
  const { secret = '' } = await it.clients.add(WEB, undefined)
  await it.clients.remove('web')
  const events = it.lines.map((line) => JSON.parse(line) as { kind: string; action: string })
  expect(events.map(({ kind, action }) => `${kind} ${action}`)).toEqual([
    'user added',
    'user password_set',
    'client added',
    'client removed',
  ])
  expect(it.lines.join('')).not.toMatch(/correct horse|battery staple|\$argon2/)
  expect(it.lines.join('')).not.toContain(secret)
})

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { createPasswordHasher } from '../accounts/password.ts'
import { prepareConfig } from '../config/load.ts'
import type { ConfigInput } from '../config/schema.ts'
import type { Environment } from '../config/secrets.ts'
import { createEvents } from '../events.ts'
import { createLog } from '../log.ts'
import { openStores } from '../storage/stores.ts'
import { createOperations } from './operations.ts'
import { reconcile } from './reconcile.ts'

const ENVIRONMENT = { ANN: 'the password of ann', WEB: 'the secret of the web app' }
const ANN = { username: 'Ann', password: { env: 'ANN' }, groups: ['staff'] }
const WEB = { id: 'web', secret: { env: 'WEB' }, redirectUris: ['https://app.example/cb'] }

async function openDatabase(url = 'sqlite::memory:') {
  let now = 1_750_000_000_000
  const clock = { now: () => now }
  const stores = await openStores(url, clock)
  const lines: string[] = []
  const log = createLog('info', { write: (line) => void lines.push(line) })
  const hasher = createPasswordHasher({ concurrency: 2, queue: 8 })
  const collaborators = { ...stores, hasher, clock, events: createEvents(log) }
  return {
    ...stores,
    hasher,
    operations: createOperations(collaborators, { ...prepareConfig({}), file: undefined }),
    apply: (config: ConfigInput, environment: Environment = ENVIRONMENT) =>
      reconcile(prepareConfig(config, { environment }), collaborators),
    turnClock: () => (now += 60_000),
    /** What was done since the last call. */
    readEvents: () =>
      lines.splice(0).map((line) => {
        const { kind, action, by } = JSON.parse(line) as Record<string, string>
        return `${kind} ${action} by ${by}`
      }),
    async snapshot() {
      return { accounts: await stores.accounts.list(), clients: await stores.clients.list() }
    },
    [Symbol.asyncDispose]: () => stores[Symbol.asyncDispose](),
  }
}

test('brings what the configuration declares', async () => {
  await using it = await openDatabase()
  await it.apply({ users: [ANN], clients: [WEB] })
  expect(it.readEvents()).toEqual(['user added by file', 'client added by file'])
  const ann = await it.accounts.findByUsername('ann')
  expect(ann).toMatchObject({ owner: 'file', disabled: false, groups: ['staff'] })
  expect(await it.hasher.verify(ENVIRONMENT.ANN, ann?.passwordHash ?? '')).toBe(true)
  const web = await it.clients.findById('web')
  expect(web).toMatchObject({ owner: 'file', name: 'web', redirectUris: WEB.redirectUris })
  expect(await it.hasher.verify(ENVIRONMENT.WEB, web?.secretHash ?? '')).toBe(true)
})

test('changes nothing the second time, hashes included', async () => {
  await using it = await openDatabase()
  await it.apply({ users: [ANN], clients: [WEB] })
  const before = await it.snapshot()
  it.readEvents()
  it.turnClock()
  await it.apply({ users: [ANN], clients: [WEB] })
  expect(await it.snapshot()).toEqual(before)
  expect(it.readEvents()).toEqual([])
})

test('brings what has changed, and keeps the ids', async () => {
  await using it = await openDatabase()
  await it.apply({ users: [ANN], clients: [WEB] })
  const before = await it.accounts.findByUsername('ann')
  it.readEvents()
  it.turnClock()
  const web = { ...WEB, name: 'The Web' }
  await it.apply({ users: [ANN], clients: [web] }, { ...ENVIRONMENT, ANN: 'another password' })
  expect(it.readEvents()).toEqual(['user changed by file', 'client changed by file'])
  const after = await it.accounts.findByUsername('ann')
  expect(after?.id).toBe(before?.id)
  expect(after?.updatedAt).toBe((before?.updatedAt ?? 0) + 60_000)
  expect(await it.hasher.verify('another password', after?.passwordHash ?? '')).toBe(true)
  expect(await it.clients.findById('web')).toMatchObject({ name: 'The Web' })
})

test('takes a password away with its source', async () => {
  await using it = await openDatabase()
  await it.apply({ users: [ANN] })
  await it.apply({ users: [{ username: 'ann', groups: ['staff'] }] })
  expect(await it.accounts.findByUsername('ann')).toMatchObject({ passwordHash: undefined })
})

test('disables what has disappeared, and brings it back as it was', async () => {
  await using it = await openDatabase()
  await it.apply({ users: [ANN], clients: [WEB] })
  const id = (await it.accounts.findByUsername('ann'))?.id
  it.readEvents()
  await it.apply({})
  await it.apply({})
  expect(it.readEvents()).toEqual(['user disabled by file', 'client disabled by file'])
  expect(await it.accounts.findByUsername('ann')).toMatchObject({ disabled: true })
  expect(await it.clients.findById('web')).toMatchObject({ disabled: true })
  expect(await it.revocations.isRevoked('client', 'web')).toBe(true)
  await it.apply({ users: [ANN], clients: [WEB] })
  expect(await it.accounts.findByUsername('ann')).toMatchObject({ id, disabled: false })
  expect(await it.clients.findById('web')).toMatchObject({ disabled: false })
})

test('leaves alone what operators made', async () => {
  await using it = await openDatabase()
  await it.operations.users.add({ username: 'bob' }, async () => 'long enough')
  await it.operations.clients.add({ id: 'other', redirectUris: WEB.redirectUris }, undefined)
  const before = await it.snapshot()
  await it.apply({})
  expect(await it.snapshot()).toEqual(before)
})

test('refuses to take over what operators made, names all of it, and changes nothing', async () => {
  await using it = await openDatabase()
  await it.operations.users.add({ username: 'ann' }, async () => 'long enough')
  await it.operations.clients.add({ id: 'web', redirectUris: WEB.redirectUris }, undefined)
  const before = await it.snapshot()
  const config: ConfigInput = {
    users: [{ username: 'new', password: { env: 'ANN' } }, ANN],
    clients: [WEB],
  }
  await expect(it.apply(config)).rejects.toMatchObject({
    code: 'conflict',
    message: [
      'The configuration declares what an operator has made already:',
      '  users[1]: the user ann (portreeve users remove ann)',
      '  clients[0]: the client web (portreeve clients remove web)',
      'Remove the one or the other. Nothing was changed.',
    ].join('\n'),
  })
  expect(await it.snapshot()).toEqual(before)
})

test("refuses a resource that has the name of an operator's client", async () => {
  await using it = await openDatabase()
  await it.operations.clients.add({ id: 'notes', redirectUris: WEB.redirectUris }, undefined)
  const notes = { identifier: 'https://notes.example/', audience: 'notes', name: 'N', scopes: {} }
  await expect(it.apply({ resources: [notes] })).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('resources[0]: the client notes'),
  })
})

test('refuses to start without the secrets, and changes nothing', async () => {
  await using it = await openDatabase()
  const applying = it.apply({ users: [{ username: 'new' }, ANN], clients: [WEB] }, { WEB: 'short' })
  await expect(applying).rejects.toMatchObject({
    code: 'misconfigured',
    message: [
      '2 mistakes in the configuration:',
      '  clients[0].secret: the variable WEB: a client secret has at least 16 characters',
      '  users[1].password: the variable ANN is not set',
    ].join('\n'),
  })
  expect(await it.snapshot()).toEqual({ accounts: [], clients: [] })
})

test('lets two servers start at once on one database', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'portreeve-reconcile-'))
  try {
    const url = `sqlite:${path.join(folder, 'p.sqlite')}`
    await using one = await openDatabase(url)
    await using two = await openDatabase(url)
    const users = Array.from({ length: 8 }, (_, index) => ({ ...ANN, username: `user${index}` }))
    const clients = Array.from({ length: 8 }, (_, index) => ({ ...WEB, id: `web${index}` }))
    await Promise.all([one.apply({ users, clients }), two.apply({ users, clients })])
    expect(await one.snapshot()).toEqual(await two.snapshot())
    const added = [...one.readEvents(), ...two.readEvents()]
    expect(added.filter((event) => event === 'user added by file')).toHaveLength(8)
    expect(added.filter((event) => event === 'client added by file')).toHaveLength(8)
    expect(added).toHaveLength(16)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('refuses to take over a client that has registered itself, and leaves others alone', async () => {
  await using it = await openDatabase()
  const { client } = await it.operations.clients.add(
    { id: 'dyn_1', authMethod: 'none', redirectUris: WEB.redirectUris },
    undefined,
  )
  const stored = await it.clients.findById(client.id)
  if (!stored) throw new Error('it is not there')
  await it.clients.update({ ...stored, owner: 'dynamic' })
  const before = await it.snapshot()
  await it.apply({})
  expect(await it.snapshot()).toEqual(before)
  await expect(it.apply({ clients: [{ ...WEB, id: 'dyn_1' }] })).rejects.toMatchObject({
    code: 'conflict',
  })
  expect(await it.snapshot()).toEqual(before)
})

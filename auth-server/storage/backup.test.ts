import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { linkSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { text } from 'node:stream/consumers'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { makeFolder } from '../../test/support/folder.ts'
import { account } from '../../test/storage/records.ts'
import { sqliteFiles } from './backup.ts'
import { openStores } from './stores.ts'

const clock = { now: () => 1_750_000_000_000 }
const { backUp, restore } = sqliteFiles

/** A database with one person in it, closed again. */
async function makeDatabase(file: string, username: string): Promise<void> {
  await using stores = await openStores(`sqlite:${file}`, clock)
  await stores.accounts.insert(account({ id: username, username }))
}

async function readUsernames(file: string): Promise<string[]> {
  await using stores = await openStores(`sqlite:${file}`, clock)
  return (await stores.accounts.list()).map(({ username }) => username)
}

/** Two databases, a backup of the second, and nothing that has them open. */
async function makePair() {
  const folder = makeFolder()
  const [target, source, copy] = ['a.sqlite', 'b.sqlite', 'b.backup'].map(folder.file) as [
    string,
    string,
    string,
  ]
  await makeDatabase(target, 'ann')
  await makeDatabase(source, 'ben')
  await backUp(source, copy)
  return { folder, target, source, copy, [Symbol.dispose]: () => folder[Symbol.dispose]() }
}

test('answers what a copy holds, which is one file for its owner alone', async () => {
  using pair = await makePair()
  const { pages, bytes, users, clients, keys } = await backUp(pair.source, pair.folder.file('c'))
  expect({ users, clients, keys }).toEqual({ users: 1, clients: 0, keys: [] })
  expect([bytes, statSync(pair.copy).size]).toEqual([pages * 4096, bytes])
  expect(statSync(pair.copy).mode & 0o777).toBe(0o600)
  expect(readdirSync(pair.folder.path).toSorted()).toEqual([
    'a.sqlite',
    'b.backup',
    'b.sqlite',
    'c',
  ])
})

test('copies what is only in the log beside the database', async () => {
  using pair = await makePair()
  await using stores = await openStores(`sqlite:${pair.source}`, clock)
  await stores.accounts.insert(account({ id: 'cleo', username: 'cleo' }))
  const copy = pair.folder.file('c')
  await backUp(pair.source, copy)
  expect(await readUsernames(copy)).toEqual(['ben', 'cleo'])
})

test('copies one moment of a database that is written to all the time', async () => {
  using pair = await makePair()
  const { source } = pair
  using database = new DatabaseSync(source)
  database.exec("insert into tombstone values ('filler', hex(zeroblob(10000000)), 0)")
  const insert = database.prepare(
    `insert into engine_model (model, key, payload, written_at) values ('M', ?, '', 0)`,
  )
  const copy = pair.folder.file('c')
  const copied = backUp(source, copy)
  const state = { written: 0, isOver: false }
  const end = () => {
    state.isOver = true
  }
  void copied.then(end, end)
  // Each would make the copy begin anew, if it did not hold on to the moment when it began.
  while (!state.isOver) {
    insert.run(`row ${state.written}`)
    state.written += 1
    await nextTurn()
  }
  await copied
  expect(state.written).toBeGreaterThan(5)
  using reader = new DatabaseSync(copy)
  const count = reader.prepare('select count(*) as count from engine_model').get()
  expect(Number(count?.['count'])).toBeLessThan(state.written)
})

test('keeps the database that it replaces, with what was only in the log beside it', async () => {
  using pair = await makePair()
  const { target, copy } = pair
  // As a server leaves it that was killed.
  {
    await using stores = await openStores(`sqlite:${target}`, clock)
    await stores.accounts.insert(account({ id: 'cleo', username: 'cleo' }))
    for (const suffix of ['', '-wal']) {
      writeFileSync(pair.folder.file(`killed${suffix}`), readFileSync(`${target}${suffix}`))
    }
  }
  const killed = pair.folder.file('killed')
  const { kept } = await restore(copy, killed, '.before', { replaces: true })
  expect(kept).toBe(`${killed}.before`)
  expect(await readUsernames(killed)).toEqual(['ben'])
  expect(await readUsernames(kept ?? '')).toEqual(['ann', 'cleo'])
})

test('gives the log of revocations another name when it goes back', async () => {
  using pair = await makePair()
  const readFeedId = async (file: string) => {
    await using stores = await openStores(`sqlite:${file}`, clock)
    return stores.revocations.feedId()
  }
  const known = await readFeedId(pair.source)
  await backUp(pair.source, pair.copy, { replaces: true })
  expect(await readFeedId(pair.source)).toBe(known)
  await restore(pair.copy, pair.target, '.kept', { replaces: true })
  expect(await readFeedId(pair.target)).not.toBe(known)
})

test('moves aside a log that was left without its database', async () => {
  using pair = await makePair()
  const target = pair.folder.file('lost')
  for (const suffix of ['-wal', '-shm']) writeFileSync(`${target}${suffix}`, 'left over')
  const { kept } = await restore(pair.copy, target, '.before')
  expect(kept).toBe(`${target}.before`)
  expect(readFileSync(`${target}.before-wal`, 'utf8')).toBe('left over')
  expect(await readUsernames(target)).toEqual(['ben'])
})

test('reads a copy that has a log beside it, as cp leaves one', async () => {
  using pair = await makePair()
  const copied = pair.folder.file('copied')
  {
    await using stores = await openStores(`sqlite:${pair.source}`, clock)
    await stores.accounts.insert(account({ id: 'cleo', username: 'cleo' }))
    for (const suffix of ['', '-wal']) {
      writeFileSync(`${copied}${suffix}`, readFileSync(`${pair.source}${suffix}`))
    }
  }
  await restore(copied, pair.target, '.before', { replaces: true })
  expect(await readUsernames(pair.target)).toEqual(['ben', 'cleo'])
})

test('is refused while another connection is open, idle or not, and changes nothing', async () => {
  using pair = await makePair()
  await using stores = await openStores(`sqlite:${pair.target}`, clock)
  await stores.pings['database']?.()
  const before = readdirSync(pair.folder.path)
  await expect(
    restore(pair.copy, pair.target, '.before', { replaces: true }),
  ).rejects.toMatchObject({
    code: 'busy',
    message: expect.stringContaining('is in use. Stop the server'),
  })
  expect(readdirSync(pair.folder.path)).toEqual(before)
  expect((await stores.accounts.list()).map(({ username }) => username)).toEqual(['ann'])
})

/**
 * Waits for the lock on the old file and has it only when another stands in its place. It must not
 * write to the old one, nor beside the new one.
 */
const LATE = `
const { DatabaseSync } = require('node:sqlite')
const database = new DatabaseSync(process.argv[1], { timeout: 10_000 })
process.stdout.write('opened')
try {
  database.exec('pragma journal_mode = wal')
  console.log('went on')
} catch (error) {
  console.log('refused', error.errcode)
}`
const SQLITE_READONLY_DBMOVED = 1032

test('leaves a program that opened the old file just before nothing to write to', async () => {
  using pair = await makePair()
  // The part of a restoration during which it has the lock, drawn out.
  const lock = new DatabaseSync(pair.target)
  lock.exec('pragma journal_mode = delete')
  lock.exec('begin exclusive')
  const late = spawn(process.execPath, ['-e', LATE, pair.target], { stdio: 'pipe' })
  const said = text(late.stdout)
  await once(late.stdout, 'data')
  linkSync(pair.target, `${pair.target}.before`)
  renameSync(pair.copy, pair.target)
  lock.close()
  expect(await said).toContain(`refused ${SQLITE_READONLY_DBMOVED}`)
  expect(await readUsernames(pair.target)).toEqual(['ben'])
  expect(await readUsernames(`${pair.target}.before`)).toEqual(['ann'])
})

test('says of a damaged database what to do, and leaves it as it is', async () => {
  using pair = await makePair()
  writeFileSync(pair.target, 'this is no database at all. '.repeat(1000))
  const before = readFileSync(pair.target, 'utf8')
  await expect(restore(pair.copy, pair.target, '.before', { replaces: true })).rejects.toThrow(
    /is damaged, .*move .*a\.sqlite away/,
  )
  expect(readFileSync(pair.target, 'utf8')).toBe(before)
})

test('stops when it is told to, and leaves nothing behind', async () => {
  using pair = await makePair()
  const before = readdirSync(pair.folder.path)
  const reason = new Error('stopped')
  const stopped = { replaces: true, signal: AbortSignal.abort(reason) }
  await expect(backUp(pair.source, pair.folder.file('c'), stopped)).rejects.toBe(reason)
  await expect(restore(pair.copy, pair.target, '.before', stopped)).rejects.toBe(reason)
  expect(readdirSync(pair.folder.path)).toEqual(before)
})

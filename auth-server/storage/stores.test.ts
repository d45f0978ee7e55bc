import { statSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { makeFolder } from '../../test/support/folder.ts'
import { openStores } from './stores.ts'

const clock = { now: () => 1_750_000_000_000 }

/** Changes a database behind the back of the program, as another version of it would. */
function change(file: string, sql: string): void {
  const database = new DatabaseSync(file)
  database.exec(sql)
  database.close()
}

test('opens a new database, and the same one again', async () => {
  using folder = makeFolder()
  const url = `sqlite:${folder.file('a.sqlite')}`
  for (let count = 0; count < 2; count += 1) {
    await using stores = await openStores(url, clock)
    await expect(stores.pings['database']?.()).resolves.toBeUndefined()
  }
})

test('keeps a new database, and the log beside it, for its owner alone', async () => {
  using folder = makeFolder()
  const file = folder.file('a.sqlite')
  await using stores = await openStores(`sqlite:${file}`, clock)
  await stores.pings['database']?.()
  const modes = [file, `${file}-wal`].map((name) => statSync(name).mode & 0o777)
  expect(modes).toEqual([0o600, 0o600])
})

test('brings a new database forward once, whoever opens it at the same time', async () => {
  using folder = makeFolder()
  const url = `sqlite:${folder.file('a.sqlite')}`
  const opened = await Promise.all(Array.from({ length: 6 }, () => openStores(url, clock)))
  for (const stores of opened) await stores[Symbol.asyncDispose]()
  const database = new DatabaseSync(folder.file('a.sqlite'))
  const rows = database.prepare('select name, applied_at from schema_migration').all()
  database.close()
  expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length)
  expect(rows.length).toBeGreaterThan(0)
})

test.each([
  [
    'a newer version made',
    "insert into schema_migration values ('9999-later', 'x', 0)",
    /made by a newer version of Portreeve \(it has 9999-later\)/,
  ],
  [
    'another step made',
    "update schema_migration set checksum = 'changed'",
    /step 0001-initial differs/,
  ],
])('refuses a database that %s, and leaves it as it is', async (_case, sql, message) => {
  using folder = makeFolder()
  const file = folder.file('a.sqlite')
  await (await openStores(`sqlite:${file}`, clock))[Symbol.asyncDispose]()
  change(file, sql)
  await expect(openStores(`sqlite:${file}`, clock)).rejects.toThrow(message)
  await expect(openStores(`sqlite:${file}`, clock)).rejects.toMatchObject({ code: 'misconfigured' })
})

test.each([
  ['a file that is no database', 'storage_failed'],
  ['a folder that is not there', 'storage_failed'],
  ['another kind of database', 'misconfigured'],
])('says what is wrong with %s', async (what, code) => {
  using folder = makeFolder()
  const file = folder.file('a.sqlite')
  const urls: Record<string, string> = {
    'a file that is no database': `sqlite:${file}`,
    'a folder that is not there': `sqlite:${folder.file('nowhere/a.sqlite')}`,
    'another kind of database': 'mysql://somebody:secret@db.example/',
  }
  writeFileSync(file, 'this is a letter, not a database. '.repeat(100))
  const error: unknown = await openStores(urls[what] ?? '', clock).catch(
    (reason: unknown) => reason,
  )
  expect(error).toMatchObject({ code })
  expect(String(error)).not.toContain('secret')
})

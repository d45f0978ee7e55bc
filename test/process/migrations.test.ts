import { readdirSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { obtainTokens } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { runProgram, startServerProcess, writeConfig } from '../support/process.ts'

/** Every command is a process of its own. */
const PATIENCE = { timeout: 120_000 }

describe('servers that start at once on a new database', PATIENCE, () => {
  test('make its tables once, and its keys, and all of them serve', async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    const starting = [1, 2, 3].map(() => startServerProcess(config, { folder: folder.path }))
    await using servers = new AsyncDisposableStack()
    const issuers = []
    for (const server of await Promise.all(starting)) issuers.push(servers.use(server).issuer)
    for (const issuer of issuers) {
      expect(await obtainTokens(issuer)).toMatchObject({ token_type: 'Bearer' })
    }
    using database = new DatabaseSync(folder.file('portreeve.sqlite'), { readOnly: true })
    const steps = database.prepare('select name from schema_migration').all()
    expect(new Set(steps.map(({ name }) => name)).size).toBe(steps.length)
    const keys = database.prepare('select algorithm from signing_key').all()
    expect(keys.map(({ algorithm }) => String(algorithm)).toSorted()).toEqual(['ES256', 'RS256'])
  })
})

describe('commands that start at once on a new database', PATIENCE, () => {
  test('wait for each other, and all are done', async () => {
    using folder = makeFolder()
    writeConfig(folder.path)
    const names = ['a', 'b', 'c', 'd', 'e', 'f']
    const added = await Promise.all(
      names.map((name) =>
        runProgram(['users', 'add', name, '--no-password'], { folder: folder.path }),
      ),
    )
    expect(added.map(({ code }) => code)).toEqual(names.map(() => 0))
    using database = new DatabaseSync(folder.file('portreeve.sqlite'), { readOnly: true })
    const people = database.prepare('select username from account').all()
    expect(new Set(people.map(({ username }) => username))).toEqual(new Set(names))
  })
})

describe('a database of a newer version', PATIENCE, () => {
  const folder = makeFolder()
  const run = (args: string) =>
    runProgram(args.split(' '), { folder: folder.path, input: '{"version":1}' })
  /** Without the log and its index, which whoever reads the database may leave. */
  const listFiles = () => readdirSync(folder.path).filter((name) => !/-(?:wal|shm)$/.test(name))
  let before: string[]

  beforeAll(async () => {
    writeConfig(folder.path)
    await run('users add ann --no-password')
    await run('backup older.sqlite')
    using database = new DatabaseSync(folder.file('portreeve.sqlite'), { timeout: 5000 })
    database.exec("insert into schema_migration values ('9999-later', 'x', 0)")
    before = listFiles()
  })
  afterAll(() => folder[Symbol.dispose]())

  test.each([
    'serve',
    'users list',
    'users add ben --no-password',
    'users show ann',
    'clients list',
    'clients add web --redirect-uri https://web.example/',
    'keys list',
    'keys rotate',
    'audit',
    'audit --verify',
    'export',
    'import',
    'import --dry-run',
    'backup newer.sqlite',
  ])('is refused by "%s", with what to do, and left as it is', async (args) => {
    const { code, stdout, stderr } = await run(args)
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(
      /^error: \S+( database)? was made by a newer version of Portreeve \(it has 9999-later\)\. Run that version, or point at another database\.\n$/,
    )
    expect(listFiles()).toEqual(before)
  })

  test('is replaced by a backup of this version, and kept', async () => {
    const { code, stdout } = await run('restore older.sqlite --force --json')
    const { restored } = JSON.parse(stdout) as { restored: { kept: string } }
    expect(code).toBe(0)
    using kept = new DatabaseSync(restored.kept, { readOnly: true })
    const steps = kept.prepare('select name from schema_migration').all()
    expect(steps.map(({ name }) => name)).toContain('9999-later')
    expect((await run('users show ann')).code).toBe(0)
  })
})

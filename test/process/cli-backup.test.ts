import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { obtainTokens, refresh } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import {
  runProgram,
  startServerProcess,
  writeConfig,
  type ServerProcess,
} from '../support/process.ts'
import { startProgram, type ProgramEnd } from '../support/program.ts'
import { ENVIRONMENT } from '../support/server.ts'

/** Every command is a process of its own. */
const PATIENCE = { timeout: 120_000 }
const DATABASE = 'portreeve.sqlite'
const MEGABYTE = 1_000_000
/** So many moments of a restoration. */
const KILLS = 8

/** A folder with a configuration, and the program in it. */
function makeCli() {
  const folder = makeFolder()
  const config = writeConfig(folder.path)
  const run = (args: string, environment?: Record<string, string>): Promise<ProgramEnd> =>
    runProgram(args.split(' '), { folder: folder.path, environment })
  return {
    folder: folder.path,
    file: folder.file,
    config,
    run,
    /** Runs a command that has to succeed, and answers its JSON. */
    async done(args: string): Promise<Record<string, Record<string, unknown>>> {
      const { code, stdout, stderr } = await run(`${args} --json`)
      if (code !== 0) throw new Error(`${args}: ${stderr}`)
      return JSON.parse(stdout) as Record<string, Record<string, unknown>>
    },
    serve: () => startServerProcess(config, { folder: folder.path }),
    start: (args: string) =>
      startProgram('auth-server/main.ts', args.split(' '), {
        folder: folder.path,
        environment: ENVIRONMENT,
      }),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  }
}

type Cli = ReturnType<typeof makeCli>

/** Makes the database so large that copying it takes a while. */
function fill(file: string, bytes: number): void {
  using database = new DatabaseSync(file, { timeout: 5000 })
  const insert = database.prepare(
    `insert into engine_model (model, key, payload, written_at) values ('Filler', ?, ?, 0)`,
  )
  database.exec('begin')
  for (let row = 0; row < bytes / 4000; row += 1) insert.run(`filler ${row}`, 'x'.repeat(4000))
  database.exec('commit')
}

function read(file: string): { readonly users: unknown[]; readonly integrity: unknown } {
  using database = new DatabaseSync(file, { timeout: 5000 })
  const users = database.prepare('select username from account order by username').all()
  const integrity = database.prepare('pragma integrity_check').get()?.['integrity_check']
  return { users: users.map(({ username }) => username), integrity }
}

const listPartial = (folder: string) =>
  readdirSync(folder).filter((name) => name.includes('.partial-'))

/** Resolves when the program has begun to copy, or has ended. */
async function hasBegun({ folder }: Cli, ended: Promise<unknown>): Promise<void> {
  const program = { isOver: false }
  void ended.then(() => {
    program.isOver = true
    return undefined
  })
  while (!program.isOver && listPartial(folder).length === 0) await nextTurn()
}

describe('portreeve backup', PATIENCE, () => {
  test('holds what was answered for before, while the server goes on being written to', async () => {
    using cli = makeCli()
    using elsewhere = makeCli()
    await cli.done('users add someone --no-password')
    fill(cli.file(DATABASE), 40 * MEGABYTE)
    await using server = await cli.serve()
    const before = []
    for (let count = 0; count < 5; count += 1) {
      const { refresh_token } = await obtainTokens(server.issuer)
      before.push((await refresh(server.issuer, refresh_token)).body.refresh_token)
    }
    const counts = { written: 0, failed: 0 }
    const load = { isOver: false }
    const writeOn = async (): Promise<void> => {
      let { refresh_token: token } = await obtainTokens(server.issuer)
      while (!load.isOver) {
        const { status, body } = await refresh(server.issuer, token)
        if (status === 200) counts.written += 1
        else counts.failed += 1
        token = body.refresh_token
      }
    }
    const written = Promise.all([writeOn(), writeOn(), writeOn()])
    const { backup } = await cli.done('backup copy.sqlite')
    load.isOver = true
    await written
    console.log({ ...counts, ...backup })
    expect(counts).toEqual({ written: expect.any(Number), failed: 0 })
    expect(counts.written).toBeGreaterThan(0)
    const copy = cli.file('copy.sqlite')
    expect(backup).toMatchObject({ file: copy, bytes: statSync(copy).size })
    expect(statSync(copy).mode & 0o777).toBe(0o600)
    expect(read(copy).integrity).toBe('ok')

    copyFileSync(cli.file('portreeve.key'), elsewhere.file('portreeve.key'))
    const { restored } = await elsewhere.done(`restore ${copy}`)
    expect(restored).toMatchObject({ keyFit: 'opens', users: 4, clients: 3 })
    await using second = await elsewhere.serve()
    for (const token of before) expect((await refresh(second.issuer, token)).status).toBe(200)
  })

  test('leaves no file of that name when it is killed, and replaces none', async () => {
    using cli = makeCli()
    await cli.done('users add ann --no-password')
    await cli.done('backup earlier.sqlite')
    const earlier = statSync(cli.file('earlier.sqlite'))
    fill(cli.file(DATABASE), 60 * MEGABYTE)
    for (const args of ['backup copy.sqlite', 'backup earlier.sqlite --force']) {
      for (let kill = 0; kill < 2; kill += 1) {
        await using program = cli.start(args)
        await hasBegun(cli, program.ended)
        program.signal('SIGKILL')
        expect((await program.ended).signal).toBe('SIGKILL')
        expect(existsSync(cli.file('copy.sqlite'))).toBe(false)
        expect(statSync(cli.file('earlier.sqlite'))).toMatchObject({
          ino: earlier.ino,
          mtimeMs: earlier.mtimeMs,
        })
        for (const name of listPartial(cli.folder)) {
          expect(statSync(cli.file(name)).mode & 0o777).toBe(0o600)
        }
        await cli.done('users list')
        for (const name of listPartial(cli.folder)) rmSync(cli.file(name))
      }
    }
    await cli.done('backup copy.sqlite')
    expect(read(cli.file('copy.sqlite'))).toEqual({ users: ['ann'], integrity: 'ok' })
  })

  test('leaves nothing at all when it is told to stop', async () => {
    using cli = makeCli()
    await cli.done('users add ann --no-password')
    fill(cli.file(DATABASE), 60 * MEGABYTE)
    const before = readdirSync(cli.folder)
    await using program = cli.start('backup copy.sqlite')
    await hasBegun(cli, program.ended)
    program.signal('SIGTERM')
    const { code, stdout, stderr } = await program.ended
    expect([code, stdout, stderr]).toEqual([1, '', 'error: Stopped: nothing was changed.\n'])
    expect(readdirSync(cli.folder)).toEqual(before)
  })

  test('tells a person what is in it, and what is not', async () => {
    using cli = makeCli()
    await cli.done('users add ann --no-password')
    const { code, stdout, stderr } = await cli.run('backup copy.sqlite')
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(
      /^Backed up \/.*\/portreeve\.sqlite\.\n\n {2}file {5}\/.*copy\.sqlite\n {2}size {5}\d+ bytes \(\d+ pages\)\n {2}users {4}1\n {2}clients {2}0\n {2}taken {4}\S+Z\n {2}took {5}\d+ ms\n\nThe root key is not in it, .* Keep the file \/.*portreeve\.key as well, in another place\.\n$/,
    )
  })
})

describe('portreeve restore', PATIENCE, () => {
  test('is refused while a server runs on the database, which goes on as it was', async () => {
    using cli = makeCli()
    await using server = await cli.serve()
    await cli.done('backup copy.sqlite')
    await cli.done('users add later --no-password')
    const before = readdirSync(cli.folder)
    const { code, stdout, stderr } = await cli.run('restore copy.sqlite --force')
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^error: The database at .* is in use\. Stop the server, .*\.\n$/)
    expect(readdirSync(cli.folder)).toEqual(before)
    await obtainTokens(server.issuer)
    await cli.done('users show later')
  })

  test('puts the backup in its place after the server was killed, and keeps what was there', async () => {
    using cli = makeCli()
    const server = await cli.serve()
    const { refresh_token } = await obtainTokens(server.issuer)
    await cli.done('backup copy.sqlite')
    await cli.done('users add later --no-password')
    server.signal('SIGKILL')
    await server.ended
    expect(existsSync(cli.file(`${DATABASE}-wal`))).toBe(true)
    const refused = await cli.run('restore copy.sqlite')
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('Add --force')])
    const { restored } = await cli.done('restore copy.sqlite --force')
    const kept = String(restored?.['kept'])
    expect(kept).toMatch(/portreeve\.sqlite\.before-restore-\d{8}T\d{9}Z$/)
    expect(restored).toMatchObject({ keyFit: 'opens', users: 3 })
    expect(statSync(cli.file(DATABASE)).mode & 0o777).toBe(0o600)
    expect(read(kept).users).toContain('later')
    expect((await cli.run('users show later')).code).toBe(1)
    await using again = await cli.serve()
    expect((await refresh(again.issuer, refresh_token)).status).toBe(200)
  })

  test('leaves a whole database whenever it is killed', async () => {
    using cli = makeCli()
    await cli.done('users add new --no-password')
    fill(cli.file(DATABASE), 30 * MEGABYTE)
    await cli.done('backup new.sqlite')
    await cli.done('users add old --no-password')
    await cli.done('users remove new')
    await cli.done('backup old.sqlite')
    const start = performance.now()
    await cli.done('restore old.sqlite --force')
    const duration = performance.now() - start
    const seen = new Set<string>()
    for (let kill = 0; kill < KILLS; kill += 1) {
      const name = kill % 2 === 0 ? 'new' : 'old'
      await using program = cli.start(`restore ${name}.sqlite --force`)
      await hasBegun(cli, program.ended)
      // From the beginning of the copy to well after the end of the program.
      await Promise.race([wait((duration / KILLS) * kill), program.ended])
      program.signal('SIGKILL')
      await program.ended
      const { users, integrity } = read(cli.file(DATABASE))
      expect(integrity).toBe('ok')
      expect([['new'], ['old']]).toContainEqual(users)
      seen.add(String(users))
      for (const left of readdirSync(cli.folder)) {
        if (/partial|before-restore/.test(left)) rmSync(cli.file(left))
      }
    }
    console.log({ duration, seen: [...seen] })
    await cli.done('restore new.sqlite --force')
    expect(read(cli.file(DATABASE))).toEqual({ users: ['new'], integrity: 'ok' })
  })

  test('tells that the root key does not open the keys, or is not there', async () => {
    using cli = makeCli()
    using other = makeCli()
    for (const one of [cli, other]) {
      await using server = await one.serve()
      server.signal('SIGTERM')
      await server.ended
    }
    await cli.done('backup copy.sqlite')
    const copy = cli.file('copy.sqlite')
    const { code, stdout } = await other.run(`restore ${copy} --force`)
    expect(code).toBe(0)
    expect(stdout).toContain('does not open the signing keys of this backup')
    const told = await other.done(`restore ${copy} --force`)
    expect(told['restored']).toMatchObject({ keyFit: 'other' })
    using third = makeCli()
    expect((await third.done(`restore ${copy}`))['restored']).toMatchObject({ keyFit: 'missing' })
    expect(existsSync(third.file('portreeve.key'))).toBe(false)
  })
})

describe('portreeve backup and restore refuse', PATIENCE, () => {
  /** Whatever is refused changes nothing. */
  const shared = makeCli()
  let server: ServerProcess
  let before: string[]
  beforeAll(async () => {
    server = await shared.serve()
    fill(shared.file(DATABASE), MEGABYTE)
    before = readdirSync(shared.folder)
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    shared[Symbol.dispose]()
  })

  const make: Readonly<Record<string, (file: string, database: string) => void>> = {
    'a text': (file) => writeFileSync(file, 'this is a letter. '.repeat(500)),
    nothing: (file) => writeFileSync(file, ''),
    'a folder': (file) => mkdirSync(file),
    'half of a backup': (file, database) => {
      copyFileSync(database, file)
      truncateSync(file, statSync(file).size / 2)
    },
    'another database': (file) => {
      using database = new DatabaseSync(file, { timeout: 5000 })
      database.exec('create table account (id text)')
    },
    'a newer database': (file, database) => {
      copyFileSync(database, file)
      using copied = new DatabaseSync(file, { timeout: 5000 })
      copied.exec("insert into schema_migration values ('9999-later', 'x', 0)")
    },
  }

  test.concurrent.each([
    ['a text', 'is no database, or damaged'],
    ['nothing', 'is no database of Portreeve'],
    ['a folder', 'is not a file'],
    ['half of a backup', 'damaged'],
    ['another database', 'is no database of Portreeve'],
    ['a newer database', 'was made by a newer version of Portreeve (it has 9999-later)'],
  ])('%s as a backup, and leave the database as it is', async (what, message) => {
    using wrong = makeFolder()
    make[what]?.(wrong.file('wrong'), shared.file(DATABASE))
    const { code, stdout, stderr } = await shared.run(`restore ${wrong.file('wrong')} --force`)
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain(message)
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
  })

  test.concurrent.each([
    ['backup portreeve.sqlite --force', 'belongs to the database itself'],
    ['backup portreeve.sqlite-wal --force', 'belongs to the database itself'],
    ['backup portreeve.key --force', 'is no earlier backup'],
    ['backup portreeve.config.json', 'is there already'],
    ['backup . --force', 'is no file'],
    ['backup nowhere/copy.sqlite', 'There is no folder'],
    ['restore portreeve.sqlite --force', 'is the database itself'],
    ['restore nothing.sqlite', 'There is no file'],
  ])('%s', async (args, message) => {
    const { code, stdout, stderr } = await shared.run(args)
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain(message)
  })

  test('and have changed nothing', async () => {
    expect(readdirSync(shared.folder)).toEqual(before)
    expect(await obtainTokens(server.issuer)).toMatchObject({ token_type: 'Bearer' })
  })

  test('PostgreSQL, and say what does it; a database in memory; a database that is not there', async () => {
    using cli = makeCli()
    const url = 'postgres://portreeve:hidden@127.0.0.1:1/portreeve'
    for (const [args, tool] of [
      ['backup copy', 'pg_dump'],
      ['restore copy', 'pg_restore'],
    ]) {
      const { code, stderr } = await cli.run(args ?? '', { DATABASE_URL: url })
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(
          new RegExp(`^error: .* with ${tool}, as docs/backup\\.md shows\\.\n$`),
        ),
      ])
      expect(stderr).not.toContain('hidden')
      const memory = await cli.run(args ?? '', { DATABASE_URL: 'sqlite::memory:' })
      expect([memory.code, memory.stderr]).toEqual([1, expect.stringContaining('in the memory')])
    }
    const { code, stderr } = await cli.run('backup copy')
    expect([code, stderr]).toEqual([1, expect.stringContaining('There is no database at')])
    expect(readdirSync(cli.folder)).toEqual(['portreeve.config.json'])
  })
})

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { fetchKeyIds } from '../support/keys.ts'
import { makeFolder } from '../support/folder.ts'
import { runProgram, startServerProcess, writeConfig } from '../support/process.ts'
import type { ProgramEnd } from '../support/program.ts'

interface Key {
  readonly kid: string
  readonly algorithm: string
  readonly phase: string
  readonly activeAt: string
}
interface Rotation {
  readonly next: Key
  readonly isNew: boolean
  readonly withdrawn: readonly string[]
}
interface Answer {
  readonly keys: readonly Key[]
  readonly rotations: readonly Rotation[]
  readonly resealed: readonly string[]
  readonly encryptionKey: unknown
}

const SEAL = Buffer.alloc(32, 3).toString('base64url')
/** Every command is a process. */
const PATIENCE = { timeout: 120_000 }
/** From when the command has ended, which is after it has changed the database. */
const SOON = { timeout: 1000, interval: 10 }
const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`

/** A server and the program beside it, in a folder of their own. */
async function startWorld() {
  await using cleanUp = new AsyncDisposableStack()
  const folder = cleanUp.use(makeFolder())
  const configFile = writeConfig(folder.path)
  const start = () => startServerProcess(configFile, { folder: folder.path })
  const server = await start()
  const run = (args: string): Promise<ProgramEnd> =>
    runProgram(['keys', ...args.split(' ')], { folder: folder.path, environment: { SEAL } })
  const running = cleanUp.move()
  running.use(server)
  return {
    server,
    folder: folder.path,
    configFile,
    run,
    start: async () => running.use(await start()),
    async ask(args: string): Promise<Answer> {
      const { code, stdout, stderr } = await run(`${args} --json`)
      if (code !== 0) throw new Error(`${args}: ${code} ${stderr}`)
      return JSON.parse(stdout) as Answer
    },
    async refuse(args: string): Promise<unknown> {
      const { code, stdout, stderr } = await run(`${args} --json`)
      const { error } = JSON.parse(stderr) as { error: { code: string; message: string } }
      return [code, stdout, error.code, error.message]
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

describe.concurrent('portreeve keys', PATIENCE, () => {
  test('rotates under a running server, which notices within a second', async () => {
    await using world = await startWorld()
    const known = await fetchKeyIds(world.server)
    const { rotations } = await world.ask('rotate')
    expect(rotations).toMatchObject([
      { algorithm: 'ES256', isNew: true, withdrawn: [], next: { phase: 'announced' } },
      { algorithm: 'RS256', isNew: true, withdrawn: [], next: { phase: 'announced' } },
    ])
    await vi.waitFor(async () => {
      const expected = [...known, ...rotations.map(({ next }) => next.kid)]
      expect(new Set(await fetchKeyIds(world.server))).toEqual(new Set(expected))
    }, SOON)
    const again = await world.ask('rotate --algorithm ES256')
    expect(again.rotations).toEqual([{ ...rotations[0], isNew: false }])

    const withdrawn = await world.ask('rotate --now --algorithm ES256')
    await vi.waitFor(async () => {
      const ids = await fetchKeyIds(world.server)
      expect(ids).toContain(withdrawn.rotations[0]?.next.kid)
      expect(ids.filter((kid) => withdrawn.rotations[0]?.withdrawn.includes(kid))).toEqual([])
    }, SOON)
    expect(withdrawn.rotations[0]?.withdrawn).toHaveLength(2)
    const { keys } = await world.ask('list')
    expect(keys.map(({ algorithm, phase }) => [algorithm, phase])).toEqual([
      ['ES256', 'withdrawn'],
      ['ES256', 'active'],
      ['ES256', 'withdrawn'],
      ['RS256', 'announced'],
      ['RS256', 'active'],
    ])
  })

  test('rotates once, when two do it at once', async () => {
    await using world = await startWorld()
    const answers = await Promise.all([world.ask('rotate'), world.ask('rotate')])
    const rotations = answers.flatMap((answer) => answer.rotations)
    expect(rotations.filter(({ isNew }) => isNew)).toHaveLength(2)
    expect(new Set(rotations.map(({ next }) => next.kid)).size).toBe(2)
    const { keys } = await world.ask('list')
    expect(keys).toHaveLength(4)
  })

  test('says in words what it does', async () => {
    await using world = await startWorld()
    const announced = await world.run('rotate --algorithm ES256')
    expect(announced.stdout).toMatch(
      new RegExp(`^Announced a new ES256 key, [\\w-]{43}\\. It signs from ${TIME}\\.\n$`),
    )
    const again = await world.run('rotate --algorithm ES256')
    expect(again.stdout).toMatch(
      new RegExp(
        `^A new ES256 key, [\\w-]{43}, is announced already\\. It signs from ${TIME}\\.\n$`,
      ),
    )
    const listed = await world.run('list')
    const [title, ...lines] = listed.stdout.trim().split('\n')
    expect(title).toMatch(/^KEY +ALGORITHM {2}PHASE {6}SINCE {17}UNTIL$/)
    expect(lines.map((line) => line.replaceAll(new RegExp(TIME, 'g'), 'T').split(/ +/))).toEqual([
      [expect.any(String), 'ES256', 'announced', 'T', 'T'],
      [expect.any(String), 'ES256', 'active', 'T', 'T'],
      [expect.any(String), 'RS256', 'active', 'T', '-'],
    ])
    const withdrawn = await world.run('rotate --now --algorithm RS256')
    expect(withdrawn.stdout).toMatch(
      /^Withdrew [\w-]{43} \(RS256\), and revoked what was signed with it\. [\w-]{43} signs from now on\.\n\nAPIs that keep/,
    )
  })

  test('seals the keys anew, and says what to configure', async () => {
    await using world = await startWorld()
    const known = await fetchKeyIds(world.server)
    const file = path.join(world.folder, 'new.key')
    const { stdout, stderr, code } = await world.run('reseal --new-key-file new.key')
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toBe(
      `Sealed 2 signing keys with the new key. Nobody is signed out.

Put this into the configuration, and start every server again. Until then a server goes on with the keys that it has, and cannot open new ones:

  keys: { encryptionKey: { file: ${JSON.stringify(file)} } },
`,
    )
    expect(stdout).not.toContain(readFileSync(file, 'utf8').trim())
    expect(await fetchKeyIds(world.server)).toEqual(known)

    // Who has not changed the configuration is told, by the program and by the server.
    const refused = await world.refuse('rotate')
    expect(refused).toEqual([1, '', 'misconfigured', expect.stringContaining('another key')])
    world.server.signal('SIGTERM')
    await world.server.ended
    await expect(world.start()).rejects.toThrow(/sealed under another key.*keys\.encryptionKey/)
    writeConfig(world.folder, (config) => ({
      ...config,
      keys: { encryptionKey: { file: 'new.key' } },
    }))
    const restarted = await world.start()
    expect(await fetchKeyIds(restarted)).toEqual(known)
    expect((await world.ask('rotate')).rotations).toHaveLength(2)
    expect(await world.ask('reseal --new-key-env SEAL')).toMatchObject({
      resealed: { length: 4 },
      encryptionKey: { env: 'SEAL' },
    })
  })

  test('refuses, with the exit code that says whose mistake it is', async () => {
    await using world = await startWorld()
    const before = await world.ask('list')
    const bad = path.join(world.folder, 'bad.key')
    writeFileSync(bad, 'too short\n')
    const cases: readonly (readonly [args: string, code: number, kind: string, words: string])[] = [
      ['rotate --algorithm HS256', 2, 'usage', 'Allowed choices are ES256, RS256, PS256, EdDSA'],
      ['rotate --algorithm EdDSA', 1, 'not_found', 'There is no EdDSA key'],
      ['rotate now', 2, 'usage', 'too many arguments'],
      ['reseal', 2, 'usage', 'name the new key'],
      ['reseal --new-key-file a --new-key-env B', 2, 'usage', 'name the new key'],
      ['reseal --new-key-env NOPE', 1, 'misconfigured', 'the variable NOPE is not set'],
      ['reseal --new-key-file bad.key', 1, 'misconfigured', 'The new key must be 32 bytes'],
      ['reseal --new-key-file no/new.key', 1, 'misconfigured', 'cannot be made (ENOENT)'],
    ]
    for (const [args, code, kind, words] of cases) {
      expect(await world.refuse(args)).toEqual([code, '', kind, expect.stringContaining(words)])
    }
    expect(await world.ask('list')).toEqual(before)
    expect(existsSync(path.join(world.folder, 'no'))).toBe(false)
  })

  test('makes no root key where none is: no server opens what it would seal', async () => {
    await using world = await startWorld()
    rmSync(path.join(world.folder, 'portreeve.key'))
    for (const args of ['rotate', 'rotate --now', 'reseal --new-key-file new.key']) {
      const refused = await world.refuse(args)
      expect(refused).toEqual([1, '', 'misconfigured', expect.stringContaining('rootKey: ')])
    }
    expect(readdirSync(world.folder)).not.toContain('portreeve.key')
    expect((await world.ask('list')).keys).toHaveLength(2)
  })

  test('has nothing to rotate before a server has started', async () => {
    using folder = makeFolder()
    writeConfig(folder.path)
    const run = (args: string) => runProgram(args.split(' '), { folder: folder.path })
    await run('users add ann --no-password')
    for (const args of ['keys rotate', 'keys reseal --new-key-file new.key']) {
      const empty = await run(args)
      expect([empty.code, empty.stderr]).toEqual([
        1,
        'error: There are no signing keys yet: the server makes them when it starts.\n',
      ])
    }
    const listed = await run('keys list')
    expect(listed.stdout).toBe('No keys: the server makes them when it starts.\n')
    expect(readdirSync(folder.path)).not.toContain('new.key')
  })

  test.each(['keys --help', 'keys rotate --help', 'keys reseal --help', 'keys list --help'])(
    'explains itself: %s',
    async (args) => {
      using folder = makeFolder()
      const { code, stdout, stderr } = await runProgram(args.split(' '), { folder: folder.path })
      expect([code, stderr]).toEqual([0, ''])
      expect(stdout).toMatch(/^Usage: portreeve keys/)
      expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
    },
  )
})

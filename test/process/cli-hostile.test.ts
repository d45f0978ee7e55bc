import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeFolder } from '../support/folder.ts'
import { runProgram, writeConfig } from '../support/process.ts'
import type { ProgramEnd } from '../support/program.ts'

const ANSI = '\u001B[31mred\u001B]0;title\u0007'
/** What a terminal would obey, but for the line break. */
const OBEYED = /(?!\n)\p{C}/u

const folder = makeFolder()
const run = (args: readonly string[], input?: string | Buffer): Promise<ProgramEnd> =>
  runProgram(args, { folder: folder.path, input })

beforeAll(async () => {
  writeConfig(folder.path)
  await run(['users', 'add', 'someone', '--no-password'])
})
afterAll(() => folder[Symbol.dispose]())

/** Every command is a process, and several of them run at once. */
const PATIENCE = { timeout: 120_000 }

describe.concurrent('what is hostile on the command line', PATIENCE, () => {
  test.each<[string, string[], number]>([
    ['a username of escapes', ['users', 'add', ANSI, '--no-password'], 1],
    ['a look-up of escapes', ['users', 'show', ANSI], 1],
    ['a role of escapes', ['users', 'set-roles', 'someone', ANSI], 1],
    [
      'a redirect URI of escapes',
      ['clients', 'add', 'a', '--redirect-uri', `https://a.example/${ANSI}`],
      1,
    ],
    ['a client id of escapes', ['clients', 'add', ANSI, '--redirect-uri', 'https://a.example/'], 1],
    ['a look-up of a client of escapes', ['clients', 'show', ANSI], 1],
    ['a command of escapes', ['users', ANSI], 2],
    ['an option of escapes', ['users', 'list', `--${ANSI}`], 2],
    ['a choice of escapes', ['clients', 'add', 'a', '--auth-method', ANSI], 2],
    ['a grant of escapes', ['clients', 'add', 'a', '--grant', ANSI], 2],
    ['a configuration file of escapes', ['users', 'list', '--config', ANSI], 1],
    ['text that runs backwards', ['users', 'show', '\u202Eecila'], 1],
    ['invisible text', ['users', 'show', 'ali\u200Bce'], 1],
    ['a very long name', ['users', 'add', 'a'.repeat(100_000), '--no-password'], 1],
    ['a very long look-up', ['clients', 'show', 'a'.repeat(100_000)], 1],
    ['a very long option', ['users', 'list', `--${'a'.repeat(100_000)}`], 2],
    [
      'very many roles',
      ['users', 'set-roles', 'someone', ...Array<string>(5000).fill('nobody')],
      1,
    ],
    ['a name of every object', ['users', 'show', '__proto__'], 1],
    ['a client of every object', ['clients', 'show', 'constructor'], 1],
    ['a path', ['users', 'show', '../../etc/passwd'], 1],
    ['SQL', ['users', 'show', "' or 1=1 --"], 1],
  ])('(%s) is refused, and the terminal is safe', async (_name, args, code) => {
    const { stderr, ...ran } = await run(args)
    expect([ran.code, ran.stdout]).toEqual([code, ''])
    expect(stderr).not.toMatch(OBEYED)
    expect(stderr.length).toBeLessThan(2000)
    expect(stderr).not.toMatch(/\n {4}at /)
  })

  test.each([
    ['usage', ['users', `\u009B31m${ANSI}`]],
    ['not_found', ['users', 'show', `\u009B31m${ANSI}`]],
  ])('is safe in JSON, too: %s', async (kind, args) => {
    const { stderr } = await run([...args, '--json'])
    expect(stderr).not.toMatch(OBEYED)
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: kind } })
  })

  test('a full name of escapes is shown so that the terminal is safe, and kept as it is', async () => {
    const args = ['users', 'add', 'wolf', '--name', `Wolf ${ANSI}`, '--no-password']
    const added = await run(args)
    const shown = await run(['users', 'show', 'wolf'])
    for (const { stdout, stderr } of [added, shown]) expect(stdout + stderr).not.toMatch(OBEYED)
  })

  test.each<[string, Buffer]>([
    ['bytes that are no UTF-8', Buffer.from([0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8])],
    ['a megabyte', Buffer.alloc(1_000_000, 'a')],
    ['nothing', Buffer.from('')],
    ['a line break', Buffer.from('\n')],
    ['a short one', Buffer.from('short\n')],
  ])('(%s) is refused as a password', async (_name, input) => {
    const { code, stdout, stderr } = await run(
      ['users', 'set-password', 'someone', '--password-stdin'],
      input,
    )
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^error: /)
    expect(stderr).not.toMatch(OBEYED)
  })
})

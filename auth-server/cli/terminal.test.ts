import { describe, expect, test } from 'vitest'
import { makeCli } from '../../test/support/cli.ts'

const CONFIG = {
  issuer: 'http://127.0.0.1:0',
  listen: { host: '127.0.0.1', port: 0 },
  roles: { accountant: { scopes: [] }, bookkeeper: { scopes: [] }, controller: { scopes: [] } },
  resources: [
    {
      identifier: 'https://notes.example/',
      name: 'Notes',
      scopes: { 'notes:read': { description: 'Read your notes' } },
    },
  ],
}
const LONG = 'long-'.repeat(12).slice(0, -1)
const TIME = String.raw`2025-06-15T15:\d\d:40Z`

interface Key {
  readonly kid: string
  readonly algorithm: string
  readonly phase: string
  readonly announcedAt: string
  readonly activeAt?: string
  readonly retiredAt?: string
  readonly purgedAt?: string
}

/** Keys of ES256 that were rotated, and of RS256 that were withdrawn, one before it came to sign. */
async function makeKeys({ run, clock }: ReturnType<typeof makeCli>): Promise<readonly Key[]> {
  await run('serve')
  await run('keys', 'rotate')
  clock.advance(120_000)
  await run('keys', 'rotate', '--now', '--algorithm', 'RS256')
  const { stdout } = await run('keys', 'list', '--json')
  return (JSON.parse(stdout) as { keys: Key[] }).keys
}

async function addLong({ run }: ReturnType<typeof makeCli>): Promise<void> {
  const roles = ['accountant', 'bookkeeper', 'controller'].flatMap((role) => ['--role', role])
  await run('users', 'add', LONG, '--no-password', ...roles)
  const name = 'A name of more than a few words'
  await run('clients', 'add', LONG, '--name', name, '--redirect-uri', 'https://a.example/cb')
}

function listLines(text: string, columns: number): readonly string[] {
  const lines = text.trimEnd().split('\n')
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns)
  return lines
}

/** What stands under a title, put together again. */
function readColumn(lines: readonly string[], title: string, next?: string): string {
  const from = lines[0]?.indexOf(title)
  const to = next === undefined ? undefined : lines[0]?.indexOf(next)
  const cells = lines.slice(1).map((line) => line.slice(from, to).trim())
  return cells.join(' ').trim()
}

describe('on a terminal of 80 columns', () => {
  test('the list of keys says in which phase each is, since when, and until when', async () => {
    using cli = makeCli({ columns: 80, config: CONFIG })
    const keys = await makeKeys(cli)
    const [titles, ...lines] = listLines((await cli.run('keys', 'list')).stdout, 80)
    expect(titles).toMatch(/^KEY {2}ALGORITHM {2}PHASE {6}SINCE {17}UNTIL$/)
    const untils: Readonly<Record<string, string>> = {
      'ES256 announced': TIME,
      'ES256 active': TIME,
    }
    const expected = keys.flatMap(({ kid, algorithm, phase }) => {
      const until = untils[`${algorithm} ${phase}`] ?? '-'
      return [new RegExp(`^${kid}$`), new RegExp(`^ {5}${algorithm} +${phase} +${TIME} +${until}$`)]
    })
    expect(expected).toHaveLength(10)
    expect(lines).toEqual(expected.map((line) => expect.stringMatching(line) as unknown))
  })

  test('the lists of users and clients fit, and lose nothing', async () => {
    using cli = makeCli({ columns: 80, config: CONFIG })
    await addLong(cli)
    const [titles = '', user, ...users] = listLines((await cli.run('users', 'list')).stdout, 80)
    expect(user).toBe(LONG)
    expect(readColumn([titles, ...users], 'ROLES', 'STATE')).toBe(
      'accountant, bookkeeper, controller',
    )
    expect(readColumn([titles, ...users], 'ID')).toMatch(/^acc_[\w-]{22}$/)
    const listed = await cli.run('clients', 'list')
    const [names = '', client, ...clients] = listLines(listed.stdout, 80)
    expect(client).toBe(LONG)
    expect(readColumn([names, ...clients], 'NAME', 'TYPE')).toBe('A name of more than a few words')
  })

  test('a long error is broken between words, and goes on under what it is about', async () => {
    using cli = makeCli({ columns: 80 })
    const { code, stderr } = await cli.run(
      ...'clients add app --redirect-uri http://app.example/ --scope nothing:known'.split(' '),
    )
    expect(code).toBe(1)
    const [, title, ...lines] = listLines(stderr, 80)
    expect(title).toBe('error: 2 mistakes:')
    expect(lines.length).toBeGreaterThan(3)
    expect(lines.filter((line) => /^ {2}\S/.test(line))).toHaveLength(2)
    expect(lines.filter((line) => /^ {4}\S/.test(line)).length).toBeGreaterThan(0)
  })

  test('what a command says beside its facts is broken between words', async () => {
    using cli = makeCli({ columns: 80, config: { ...CONFIG, registration: {} } })
    await cli.run('serve')
    const { stdout: withdrawn } = await cli.run('keys', 'rotate', '--now')
    expect(listLines(withdrawn, 80).join(' ')).toContain('Those that follow what is revoked')
    const { stdout: invited } = await cli.run(
      'clients',
      'invite',
      '--for',
      'an app',
      '--expires',
      '1h',
    )
    expect(listLines(invited, 80).join(' ')).toContain('they send it as Authorization: Bearer to')
    const service = ['--grant', 'client_credentials', '--scope', 'notes:read']
    const { stdout: added } = await cli.run('clients', 'add', 'robot', ...service)
    expect(listLines(added, 80).at(-1)).toContain('Give it to the app now.')
  })

  test('a path in an error stays whole: it can be copied', async () => {
    using cli = makeCli({ columns: 80 })
    const missing = await cli.run('users', 'list')
    expect(missing.code).toBe(1)
    expect(missing.stderr).toContain(cli.database)
    expect(missing.stderr.split('\n').length).toBeGreaterThan(2)
  })

  test('a mistake in how it is called is broken as well', async () => {
    using cli = makeCli({ columns: 80 })
    const { code, stderr } = await cli.run('clients', 'add', 'app', '--grant', 'implicit')
    expect(code).toBe(2)
    expect(listLines(stderr, 80)).toHaveLength(3)
  })
})

describe('where there is no terminal', () => {
  test('tables and errors are as wide as they are', async () => {
    using cli = makeCli({ config: CONFIG })
    const [key] = await makeKeys(cli)
    await addLong(cli)
    expect((await cli.run('keys', 'list')).stdout).toContain(`${key?.kid}  `)
    expect((await cli.run('users', 'list')).stdout).toMatch(
      new RegExp(`^${LONG} {2}accountant, bookkeeper, controller {2}active`, 'm'),
    )
    const { stderr } = await cli.run('clients', 'add', 'app', '--grant', 'implicit')
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
  })
})

describe('the keys in JSON', () => {
  test('have no time that never came', async () => {
    using cli = makeCli({ config: CONFIG })
    const keys = await makeKeys(cli)
    expect(keys.map(({ algorithm, phase }) => `${algorithm} ${phase}`).toSorted()).toEqual([
      'ES256 active',
      'ES256 announced',
      'RS256 active',
      'RS256 withdrawn',
      'RS256 withdrawn',
    ])
    for (const { announcedAt, activeAt, retiredAt, purgedAt } of keys) {
      const times = [announcedAt, activeAt, retiredAt, purgedAt].filter(Boolean)
      expect(times).toEqual(times.toSorted((one = '', two = '') => one.localeCompare(two)))
    }
    const withdrawn = keys.filter(({ phase }) => phase === 'withdrawn')
    expect(withdrawn.filter(({ activeAt }) => activeAt === undefined)).toHaveLength(1)
  })

  test('are named by what the audit log says of them', async () => {
    using cli = makeCli({ columns: 80, config: CONFIG })
    const keys = await makeKeys(cli)
    const { stdout } = await cli.run('audit', '--json')
    const { entries } = JSON.parse(stdout) as { entries: { facts: Record<string, string> }[] }
    const told = entries.map(({ facts: { kind, action, id, algorithm } }) =>
      [kind, action, algorithm, id].join(' '),
    )
    const expected = keys.flatMap(({ kid, algorithm, phase, activeAt }) => {
      const isFirst =
        activeAt?.includes('15:06') === true || (algorithm === 'RS256' && phase === 'active')
      const came = `key ${isFirst ? 'added' : 'announced'} ${algorithm} ${kid}`
      return phase === 'withdrawn' ? [came, `key withdrawn ${algorithm} ${kid}`] : [came]
    })
    expect(told.toSorted()).toEqual(expected.toSorted())
    const shown = listLines((await cli.run('audit')).stdout, 80)
    const words = shown.join(' ').split(/\s+/)
    for (const { kid } of keys) expect(words).toContain(kid)
    expect(words.join(' ')).toContain('withdrawn RS256 key ·')
  })
})

describe('the type of a client', () => {
  test.each([
    [['--redirect-uri', 'https://a.example/cb'], 'web'],
    [
      ['--auth-method', 'none', '--application-type', 'native', '--redirect-uri', 'http://[::1]/'],
      'native',
    ],
    [['--grant', 'client_credentials', '--scope', 'notes:read'], 'service'],
    [['--grant', 'device_code', '--grant', 'refresh_token', '--scope', 'openid'], 'device'],
    [['--grant', 'ciba', '--scope', 'openid'], 'ciba'],
  ])('of %j is %s', async (args, type) => {
    using cli = makeCli({ config: CONFIG })
    const added = await cli.run('clients', 'add', 'app', ...args)
    expect(added.stdout).toMatch(new RegExp(`^ {2}type +${type}$`, 'm'))
    const { stdout } = await cli.run('clients', 'list')
    expect(stdout).toMatch(new RegExp(`^app +app +${type} +(?:client_secret_basic|none) `, 'm'))
  })
})

describe('a command that is not there', () => {
  test.each([
    ['frobnicate', '--help'],
    ['users', 'frobnicate', '-h'],
    ['keys', 'roll', '--help', '--json'],
  ])('is wrong usage with --help as well: %s %s', async (...args) => {
    using cli = makeCli()
    const { code, stdout, stderr } = await cli.run(...args)
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(
      `unknown command '${args.find((word) => /^(?:frob|roll)/.test(word))}'`,
    )
  })

  test.each([[['--help']], [['users', '--help']], [['users', 'add', '-h']], [['help', 'users']]])(
    'is not what %j asks for',
    async (args) => {
      using cli = makeCli()
      const { code, stdout, stderr } = await cli.run(...args)
      expect([code, stderr]).toEqual([0, ''])
      expect(stdout).toMatch(/^Usage: portreeve/)
    },
  )
})

describe('the hint at --help', () => {
  const HINT = 'Add --help to see how it is used.\n'
  test.each([
    [['users', 'add'], true],
    [['users', 'frobnicate'], true],
    [['users', 'list', '--nope'], true],
    [['users', 'list', 'extra'], true],
    [['clients', 'add', 'app', '--scope'], true],
    // These say what would be right.
    [['users', 'set-roles', 'ann'], false],
    [['keys', 'reseal'], false],
    [['users', 'add', 'ann', '--no-password', '--password-stdin'], false],
    [['clients', 'add', 'app', '--grant', 'implicit'], false],
    [['audit', '--limit', '0'], false],
  ])('follows %j: %s', async (args, follows) => {
    using cli = makeCli()
    const { code, stdout, stderr } = await cli.run(...args)
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr.endsWith(HINT)).toBe(follows)
    expect(stderr).toMatch(/^error: /)
  })
})

describe('a database', () => {
  test('that a command makes is told of once, on standard error', async () => {
    using cli = makeCli()
    const first = await cli.run('users', 'add', 'ann', '--no-password')
    expect([first.code, first.stderr]).toEqual([0, `Made a new database at ${cli.database}.\n`])
    const second = await cli.run('users', 'add', 'ben', '--no-password')
    expect([second.code, second.stderr]).toEqual([0, ''])
  })

  test('that is made is told of where the command then refuses, and not among JSON', async () => {
    using cli = makeCli()
    const refused = await cli.run('clients', 'add', 'app')
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/^Made a new database at .*\nerror: /)
    using other = makeCli()
    const json = await other.run('users', 'add', 'ann', '--no-password', '--json')
    expect([json.code, json.stderr]).toEqual([0, ''])
  })

  test('that cannot be made is named with its setting and what it takes', async () => {
    using cli = makeCli({ database: 'nowhere/a.sqlite' })
    const { code, stdout, stderr } = await cli.run('users', 'add', 'ann', '--no-password')
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(
      /^error: Cannot open the database sqlite:\/.*\/nowhere\/a\.sqlite: .*\. It is named by DATABASE_URL or database\.url: its folder has to exist, /,
    )
  })
})

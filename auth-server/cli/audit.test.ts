import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { makeCli } from '../../test/support/cli.ts'

const HOUR = 3_600_000
/** What a terminal would obey, but for the line break. */
const OBEYED = /(?!\n)\p{C}/u

function makeAuditCli(columns?: number) {
  const cli = makeCli(columns === undefined ? {} : { columns })
  return {
    ...cli,
    async audit(...args: string[]) {
      const { stdout } = await cli.run('audit', '--json', ...args)
      const { entries } = JSON.parse(stdout) as {
        entries: { event: string; facts: { action: string }; username?: string }[]
      }
      return entries
    },
    tamper(statement: string) {
      using database = new DatabaseSync(cli.database)
      database.exec(statement)
    },
  }
}

describe('portreeve audit', () => {
  test.each([
    [['--since', 'yesterday'], "argument 'yesterday' is invalid. It must be a time such as"],
    [['--since', '2026-13-01'], 'It must be a time such as'],
    [['--since', '2026-02-03T25:00Z'], 'It must be a time such as'],
    [['--since', '5'], 'It must be a time such as'],
    [['--since', ''], 'It must be a time such as'],
    [['--since', '-5m'], 'It must be a time such as'],
    [['--limit', '0'], 'It must be a whole number from 1 to 10000.'],
    [['--limit', '10001'], 'It must be a whole number from 1 to 10000.'],
    [['--limit', '1.5'], 'It must be a whole number from 1 to 10000.'],
    [['--verify', 'abc'], 'It must be a head as --verify prints it'],
    [['--verify', '17:abc'], 'It must be a head as --verify prints it'],
    [['everything'], 'too many arguments'],
  ])('refuses %j as wrong usage', async (args, message) => {
    using cli = makeAuditCli()
    const { code, stdout, stderr } = await cli.run('audit', ...args)
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
  })

  test('names a place in the log of revocations as one, and the changes of a client', async () => {
    using cli = makeAuditCli()
    await cli.run('clients', 'add', 'shop', '--redirect-uri', 'https://shop.example/cb')
    await cli.run('clients', 'disable', 'shop')
    await cli.run('clients', 'enable', 'shop')
    await cli.run('revoke', '--token', 'a-token-of-20-letters', '--wait', '0')
    const { stdout } = await cli.run('audit')
    expect(stdout).toMatch(/ access_revoked +token place 2 a-token-of-20-letters · by operator/)
    expect(stdout).toMatch(/ object_changed +shop · disabled client · by operator/)
    expect(stdout).toMatch(/ object_changed +shop · enabled client · by operator/)
  })

  test.each([
    ['2h', 1],
    ['119m', 0],
    ['121m', 1],
    ['1d', 2],
    ['1w', 2],
    ['1s', 0],
    ['2025-06-15T14:06:40Z', 1],
    ['2025-06-15T16:06:40.000+02:00', 1],
    ['2025-06-15T14:06:40.001', 0],
    ['2025-06-15T13:06:41', 1],
    ['2025-06-15', 2],
    ['2025-06-16', 0],
  ])('since %s shows %i of what was done three and two hours ago', async (since, count) => {
    using cli = makeAuditCli()
    // At 13:06:40.
    cli.clock.advance(-HOUR * 2)
    await cli.run('users', 'add', 'ann', '--no-password')
    cli.clock.advance(HOUR)
    await cli.run('users', 'disable', 'ann')
    cli.clock.advance(HOUR * 2)
    expect(await cli.audit('--since', since)).toHaveLength(count)
  })

  test('knows who was removed by the id, and nobody who never was', async () => {
    using cli = makeAuditCli()
    const added = await cli.run('users', 'add', 'ann', '--no-password', '--json')
    const { id } = (JSON.parse(added.stdout) as { user: { id: string } }).user
    await cli.run('clients', 'add', 'shop', '--redirect-uri', 'https://shop.example/cb')
    await cli.run('clients', 'remove', 'shop')
    await cli.run('users', 'remove', 'ann')
    const actions = async (...args: string[]) =>
      (await cli.audit(...args)).map(({ facts }) => facts.action)
    expect(await actions('--user', id)).toEqual(['added', 'removed'])
    expect(await actions('--client', 'shop')).toEqual(['added', 'removed'])
    const refusals = [
      [
        '--user',
        'ann',
        'There is no user "ann". Somebody who was removed is found by the id alone.',
      ],
      ['--client', 'other', 'There is no client "other", and never was.'],
    ] as const
    for (const [option, name, message] of refusals) {
      const { code, stdout, stderr } = await cli.run('audit', option, name, '--json')
      expect([code, stdout]).toEqual([1, ''])
      expect(JSON.parse(stderr)).toEqual({ error: { code: 'not_found', message } })
    }
  })

  test.each([80, 120, 40])('fits a terminal of %i columns, as far as it can', async (columns) => {
    using cli = makeAuditCli(columns)
    const [user, client] = ['a'.repeat(36), `b${'c'.repeat(70)}`]
    await cli.run('users', 'add', user, '--no-password')
    await cli.run('clients', 'add', client, '--redirect-uri', 'https://a.example/cb')
    const { stdout } = await cli.run('audit')
    const lines = stdout.trimEnd().split('\n')
    for (const line of lines.filter((one) => one.trim().includes(' '))) {
      expect(line.length).toBeLessThanOrEqual(Math.max(columns, 58))
    }
    expect(stdout).toMatch(/^1 +2025-06-15T15:06:40Z +object_changed/m)
    expect(stdout).toMatch(/^2 +2025-06-15T15:06:40Z +object_changed/m)
    // What does not fit goes on below: nothing is lost, and no name is broken.
    const words = stdout.split(/\s+/)
    const about = words.filter((word) => !/^(?:\d.*|object_changed|[A-Z]+|)$/.test(word))
    expect(about.join(' ')).toBe(
      `${user} · added user · by operator ${client} · added client · by operator`,
    )
  })

  test('cuts nothing where there is no terminal, and says that there is more', async () => {
    using cli = makeAuditCli()
    await cli.run('users', 'add', 'ann', '--no-password')
    await cli.run('users', 'add', 'a'.repeat(100), '--no-password')
    const { stdout } = await cli.run('audit', '--limit', '1')
    expect(stdout).toMatch(/^2 .* a{100} · added user · by operator$/m)
    expect(stdout).toMatch(/^There are older ones: ask for more with --limit/m)
  })

  test('shows what was written into it behind its back, and no terminal obeys that', async () => {
    using cli = makeAuditCli(80)
    await cli.run('users', 'add', 'ann', '--no-password')
    const odd = "char(27) || '[31m' || char(10) || char(8238)"
    cli.tamper(
      `update audit_entry set event = ${odd}, facts = 'no JSON' || ${odd}, client_id = ${odd}, happened_at = 8900000000000000`,
    )
    const { code, stdout, stderr } = await cli.run('audit')
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).not.toMatch(OBEYED)
    expect(stdout).toContain('\\u{1b}[31m\\u{a}\\u{202e}')
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
    const json = await cli.run('audit', '--json')
    expect(json.stdout).not.toMatch(OBEYED)
    expect(JSON.parse(json.stdout)).toMatchObject({
      entries: [{ at: '8900000000000000', facts: expect.stringContaining('no JSON') }],
    })
    const verified = await cli.run('audit', '--verify')
    expect([verified.code, verified.stdout]).toEqual([1, ''])
    expect(verified.stderr).not.toMatch(OBEYED)
  })
})

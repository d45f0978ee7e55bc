import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeCli } from '../../test/support/cli.ts'

interface Answer {
  readonly invite: Readonly<Record<string, unknown>>
  readonly invites: readonly Readonly<Record<string, unknown>>[]
  readonly token: string
  readonly error: Readonly<Record<string, unknown>>
}

function start(config = {}) {
  const cli = makeCli({ config })
  return {
    ...cli,
    async asJson(...args: string[]) {
      const { code, stdout, stderr } = await cli.run('clients', ...args, '--json')
      return { code, ...(JSON.parse(stdout + stderr) as Answer) }
    },
    [Symbol.dispose]: () => cli[Symbol.dispose](),
  }
}

describe('portreeve clients invite', () => {
  test('makes a token that is shown this once, lists the invite and withdraws it', async () => {
    using cli = start()
    const made = await cli.asJson('invite', '--for', 'The crew', '--uses', '3', '--expires', '12h')
    expect(made.code).toBe(0)
    expect(made.token).toMatch(/^pri_[\w-]{43}$/)
    expect(made.invite).toEqual({
      id: expect.stringMatching(/^inv_[\w-]{22}$/),
      label: 'The crew',
      usesLeft: 3,
      state: 'good',
      createdAt: '2025-06-15T15:06:40.000Z',
      expiresAt: '2025-06-16T03:06:40.000Z',
    })
    for (const file of readdirSync(cli.folder)) {
      expect(readFileSync(path.join(cli.folder, file), 'latin1')).not.toContain(made.token)
    }
    expect((await cli.asJson('invites')).invites).toEqual([made.invite])
    cli.clock.advance(12 * 3_600_000)
    expect((await cli.asJson('invites')).invites).toMatchObject([{ state: 'expired' }])
    const id = String(made.invite['id'])
    expect((await cli.asJson('withdraw', id)).code).toBe(0)
    const again = await cli.asJson('withdraw', id)
    expect([again.code, again.error['code']]).toEqual([1, 'not_found'])
    expect((await cli.asJson('invites')).invites).toEqual([])
  })

  test('is for one client and a week unless it says otherwise', async () => {
    using cli = start()
    expect((await cli.asJson('invite', '--for', 'x')).invite).toMatchObject({
      usesLeft: 1,
      expiresAt: '2025-06-22T15:06:40.000Z',
    })
  })

  test('says so where clients cannot register', async () => {
    using off = start()
    using on = start({ registration: {} })
    const hint = 'Clients cannot register here yet'
    expect((await off.run('clients', 'invite', '--for', 'x')).stdout).toContain(hint)
    expect((await on.run('clients', 'invite', '--for', 'x')).stdout).not.toContain(hint)
  })

  test('is recorded in the audit log', async () => {
    using cli = start()
    const { invite } = await cli.asJson('invite', '--for', 'x')
    const { stdout } = await cli.run('audit', '--json')
    expect(stdout).toContain(String(invite['id']))
    expect(stdout).toContain('invite')
  })

  test.each([
    [1, ['--for', '']],
    [1, ['--for', '\u202e']],
    [1, ['--for', 'x', '--uses', '0']],
    [1, ['--for', 'x', '--uses', '10001']],
    [1, ['--for', 'x', '--expires', '0d']],
    [1, ['--for', 'x', '--expires', '367d']],
    [2, ['--for', 'x', '--uses', '-1']],
    [2, ['--for', 'x', '--uses', 'many']],
    [2, ['--for', 'x', '--expires', 'soon']],
    [2, []],
  ])('ends with %i for %j', async (code, args) => {
    using cli = start()
    const ended = await cli.run('clients', 'invite', ...args)
    expect(ended.code).toBe(code)
    expect(ended.stdout).toBe('')
  })
})

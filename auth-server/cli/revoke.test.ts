import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeCli } from '../../test/support/cli.ts'
import { createRows } from '../../test/storage/world.ts'
import type { ReceiverReport } from '../revocation/receiver.ts'
import { openStores } from '../storage/stores.ts'

const JWT = `${encode({ alg: 'ES256', typ: 'at+jwt' })}.${encode({ iss: 'https://id.example.org', jti: 'a-token-of-20-letters', grant_id: 'its-grant-of-20-letters' })}.c2ln`
const NOTES = {
  roles: { reader: { scopes: ['read'] } },
  resources: [
    {
      identifier: 'https://notes.example/',
      name: 'Notes',
      scopes: { read: { description: 'Read your notes' } },
    },
  ],
}
const MINUTE = 60_000
/** What a terminal would obey, but for the line break. */
const OBEYED = /(?!\n)\p{C}/u

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}

/** With a user and a client. */
async function prepareCli(how: { columns?: number; input?: string; config?: object } = {}) {
  const cli = makeCli(how)
  const role = how.config === undefined ? [] : ['--role', 'reader']
  await cli.run('users', 'add', 'ann', '--no-password', ...role)
  await cli.run('clients', 'add', 'web', '--redirect-uri', 'https://app.example/cb')
  return {
    ...cli,
    /** What an API has said of itself, `minutesAgo`. */
    async report(
      receiver: string,
      minutesAgo: number,
      place: number | undefined,
      unusable?: ReceiverReport['unusable'],
    ) {
      await using stores = await openStores(`sqlite:${cli.database}`, cli.clock)
      const report: ReceiverReport = {
        clientId: 'api',
        receiver,
        place,
        unusable,
        seenAt: cli.clock.now() - minutesAgo * MINUTE,
      }
      await stores.receivers.record([report], 100)
    },
    async revoke(...args: string[]) {
      const { code, stdout, stderr } = await cli.run('revoke', ...args)
      if (code !== 0) throw new Error(`${code}: ${stderr}`)
      return stdout
    },
  }
}

/** Refused commands change nothing: they can share a database. */
let shared: Awaited<ReturnType<typeof prepareCli>>
beforeAll(async () => {
  shared = await prepareCli()
})
afterAll(() => shared[Symbol.dispose]())

describe('portreeve revoke', () => {
  test('lists nobody, who are nobody', async () => {
    const { code, stdout } = await shared.run('receivers', 'list')
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^No resource server follows/)])
    const json = await shared.run('receivers', 'list', '--json')
    expect(JSON.parse(json.stdout)).toEqual({ head: 0, receivers: [], more: false })
  })

  test.each([
    [[], 'name one of --user, --client, --session, --grant, --token, --token-stdin and --all'],
    [['--user', 'ann', '--client', 'web'], 'not 2'],
    [['--user', 'ann', '--all'], 'not 2'],
    [['--token-stdin', '--token', 'a-token-of-20-letters'], 'not 2'],
    [['--user', 'ann', '--yes'], '--yes goes with --all'],
    [['--all'], 'there is no terminal to ask on: use --yes'],
    [['--user', 'ann', '--wait', 'long'], 'a number of seconds from 0 to 600'],
    [['--user', 'ann', '--wait', '601'], 'a number of seconds from 0 to 600'],
    [['--user', 'ann', '--wait', '-1'], 'a number of seconds from 0 to 600'],
    [['ann'], 'too many arguments'],
  ])('refuses %j as wrong usage', async (args, message) => {
    const { code, stdout, stderr } = await shared.run('revoke', ...args)
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
  })

  test.each(['token', 'session', 'grant', 'user', 'client'])(
    'takes no whole token as --%s, and does not repeat it',
    async (option) => {
      const { code, stdout, stderr } = await shared.run('revoke', `--${option}`, JWT)
      expect([code, stdout]).toEqual([2, ''])
      expect(stderr).toContain('that is a whole token, and arguments can be read')
      expect(stderr).not.toContain(JWT.slice(0, 20))
    },
  )

  test.each([
    [['--user', 'bob'], 'not_found', 'There is no user "bob".'],
    [['--client', 'shop'], 'not_found', 'There is no client "shop".'],
    [['--token', 'short'], 'invalid_input', 'expected the claim jti, got "short"'],
    [['--session', 'a b c d e f g h i j'], 'invalid_input', 'expected the claim sid'],
    [['--grant', ''], 'invalid_input', 'expected the claim grant_id'],
  ])('refuses %j, and revokes nothing', async (args, code, message) => {
    const refused = await shared.run('revoke', ...args, '--json')
    expect([refused.code, refused.stdout]).toEqual([1, ''])
    const { error } = JSON.parse(refused.stderr) as { error: { code: string; message: string } }
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) })
  })

  test('has revoked nothing by all that it refused', async () => {
    expect(await shared.revoke('--user', 'ann')).toContain('place 1 in the log')
  })

  test.each([
    ['nothing', ''],
    ['an opaque token', 'a-refresh-token-of-43-letters'],
    ['a JWT without an id', `${encode({ alg: 'ES256' })}.${encode({ iss: 'a' })}.c2ln`],
    ['an id that is no text', `${encode({ alg: 'ES256' })}.${encode({ jti: { a: 1 } })}.c2ln`],
    ['a JWT that is no JSON', 'eyJh.eyJh.c2ln'],
    ['an encrypted one', `${encode({ alg: 'dir', enc: 'A128GCM' })}..a.a.a`],
    ['an id that a terminal would obey', `e30.${encode({ jti: '\u001B[31m' })}.c2ln`],
    ['more than a token', 'a'.repeat(20_000)],
  ])('refuses %s on standard input, and does not repeat it', async (_name, input) => {
    using cli = await prepareCli({ input })
    const { code, stdout, stderr } = await cli.run('revoke', '--token-stdin')
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).not.toMatch(OBEYED)
    expect(stderr).not.toMatch(/\n {4}at /)
    expect(stderr).not.toContain(input.slice(0, 20) || JWT)
  })

  test('ends an API key that comes on standard input', async () => {
    using cli = await prepareCli({ config: NOTES })
    const made = await cli.run(...'api-keys add ann --name CI --scope read --json'.split(' '))
    const { key, apiKey } = JSON.parse(made.stdout) as { key: string; apiKey: { id: string } }
    cli.type(`${key}\n`)
    const { code, stdout, stderr } = await cli.run('revoke', '--token-stdin', '--wait', '0')
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toContain(`Revoked the API key ${apiKey.id}: place 1 in the log.\n\n`)
    expect(stdout).not.toContain(key)
    cli.type(key)
    const again = await cli.run('revoke', '--token-stdin', '--wait', '0')
    expect([again.code, again.stdout]).toEqual([0, expect.stringContaining('ended already.')])
  })

  test.each([
    ['a-sid-of-20-letters-x', 'revoke --session a-sid-of-20-letters-x'],
    ['$(reboot)-and-so-on', 'revoke --session SID, with the sid of an access token'],
    [undefined, 'revoke --session SID, with the sid of an access token'],
  ])('says of an ID token with the sid %j what to do instead', async (sid, remedy) => {
    const input = `e30.${encode({ sub: 'acc_a', aud: 'web', nonce: 'n', sid })}.c2ln\n`
    using cli = await prepareCli({ input })
    const { code, stdout, stderr } = await cli.run('revoke', '--token-stdin')
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain('An ID token lets nobody in')
    expect(stderr.replaceAll(/\s+/g, ' ')).toContain(remedy)
    expect(stderr).not.toContain('reboot')
  })

  test('takes one token at a time, and says of what it does not know that it may have ended', async () => {
    using cli = await prepareCli({ input: `${JWT}\n${JWT}\n` })
    const two = await cli.run('revoke', '--token-stdin')
    expect([two.code, two.stderr]).toEqual([1, expect.stringContaining('at a time')])
    expect(two.stderr).not.toContain(JWT.slice(0, 20))
    cli.type('a-refresh-token-of-43-letters')
    const ended = await cli.run('revoke', '--token-stdin')
    expect([ended.code, ended.stderr]).toEqual([1, expect.stringContaining('has ended already,')])
    await using stores = await openStores(`sqlite:${cli.database}`, cli.clock)
    expect(await stores.revocations.head()).toBe(0)
  })

  test('says of a session whose it was, at which client, and that the sign-in goes on', async () => {
    using cli = await prepareCli()
    const sid = 'a-sid-of-20-letters-x'
    {
      await using stores = await openStores(`sqlite:${cli.database}`, cli.clock)
      const accountId = (await stores.accounts.findByUsername('ann'))?.id ?? ''
      const payload = { uid: 'a uid', accountId, authorizations: { web: { sid } } }
      const more = { uid: 'a uid', accountId, payload }
      await stores.models.apply([createRows(cli.clock).put('Session', 'a key', more)])
    }
    const text = (await cli.revoke('--session', sid, '--wait', '0')).replaceAll(/\s+/g, ' ')
    expect(text).toContain(
      'Ended with it: what the client web has from a sign-in of ann. The browser is still signed in here, and may give the client another session. To end that, too: npx portreeve revoke --user ann',
    )
    const again = await cli.revoke('--session', sid, '--wait', '0')
    expect(again).toContain('No sign-in of now has it')
    const { stdout } = await cli.run('revoke', '--session', sid, '--wait', '0', '--json')
    expect(JSON.parse(stdout)).toMatchObject({ revoked: { sessions: 0, parts: [] } })
  })

  test('asks whether a server runs, where nobody has been heard of lately', async () => {
    using cli = await prepareCli()
    await cli.report('one', 1, 0)
    const text = (await cli.revoke('--user', 'ann')).replaceAll(/\s+/g, ' ')
    expect(text).toContain('Is the server running?')
    await cli.report('two', 0, 9)
    const now = await cli.revoke('--user', 'ann')
    expect(now).not.toContain('Is the server running?')
    expect(now).toContain('1 of 1 resource server has confirmed')
  })

  test.each(['token', 'grant', 'session'])(
    'takes no API key as --%s, which would go on and stand in the log, and does not repeat it',
    async (option) => {
      using cli = await prepareCli({ config: NOTES })
      const made = await cli.run(...'api-keys add ann --name CI --scope read --json'.split(' '))
      const { key } = JSON.parse(made.stdout) as { key: string }
      const { code, stdout, stderr } = await cli.run('revoke', `--${option}`, key)
      expect([code, stdout]).toEqual([1, ''])
      expect(stderr).toContain('got a credential itself')
      expect(stderr).not.toContain(key)
      await using stores = await openStores(`sqlite:${cli.database}`, cli.clock)
      expect(await stores.revocations.list(0, 9)).toEqual([])
    },
  )

  test('takes a token of another issuer, with a word of warning', async () => {
    using cli = await prepareCli({ input: `${JWT}\n` })
    const { code, stdout, stderr } = await cli.run('revoke', '--token-stdin', '--wait', '0')
    expect(code).toBe(0)
    expect(stdout).toBe(
      `Revoked the token a-token-of-20-letters: place 1 in the log.
Its grant goes on, and may give other tokens. To end it, too:
  npx portreeve revoke --grant its-grant-of-20-letters

See which resource servers know of it: npx portreeve receivers list
`,
    )
    expect(stderr).toBe(
      'warning: iss: the token is one of "https://id.example.org", and this configuration is that of http://localhost:3000\n',
    )
  })

  test.each(['$(reboot)-and-more', 'a-grant-of-20; reboot', 'short', 'a\nnpx portreeve', 5])(
    'gives nobody to type what a token calls its grant by no name of ours: %j',
    async (grant_id) => {
      const claims = { jti: 'a-token-of-20-letters', grant_id }
      using cli = await prepareCli({ input: `e30.${encode(claims)}.c2ln\n` })
      const { code, stdout, stderr } = await cli.run('revoke', '--token-stdin', '--wait', '0')
      expect([code, stderr]).toEqual([0, ''])
      expect(stdout).not.toContain('--grant')
      expect(stdout).not.toContain(String(grant_id))
    },
  )

  test('says that nobody follows, where nobody does', async () => {
    using cli = await prepareCli()
    expect(await cli.revoke('--client', 'web')).toBe(
      `Revoked all that the client web was given: place 1 in the log.
No session, grant or API key hung on it.

No resource server follows what is revoked: each takes a token until it expires. docs/revocation.md says how to follow.
`,
    )
  })

  test('tells those who have not confirmed from those who have long been silent', async () => {
    using cli = await prepareCli()
    await cli.report('quick', 0, 1)
    await cli.report('slow', 0.5, 0)
    await cli.report('gone', 1, 0)
    await cli.report('long-gone', 60 * 25, 0)
    await cli.report('new', 0, undefined)
    const text = await cli.revoke('--user', 'ann', '--wait', '1')
    const [, ...parts] = text.split('\n\n')
    expect(parts.slice(0, -1)).toEqual([
      '1 of 3 resource servers have confirmed, after 0 ms.',
      'Not yet:',
      `CLIENT  RECEIVER  BEHIND  LAST HEARD OF
api     new       1       2025-06-15T15:06:40Z
api     slow      1       2025-06-15T15:06:10Z`,
      'Not heard of for 40 seconds or more. They were stopped, or are cut off:',
      `CLIENT  RECEIVER  BEHIND  LAST HEARD OF
api     gone      1       2025-06-15T15:05:40Z`,
    ])
    expect(parts.at(-1)).toMatch(
      /^Each learns of it as soon as it and a running server reach each other\./,
    )
    const again = await cli.run('revoke', '--user', 'ann', '--json')
    expect(JSON.parse(again.stdout)).toMatchObject({
      revoked: { kind: 'user', place: 2 },
      confirmations: { place: 2, confirmed: 0, expected: 3, receivers: { length: 4 } },
    })
  })

  test('counts none of those who cannot use it, and does not wait for them', async () => {
    using cli = await prepareCli()
    const at = (from: number, through: number, life = MINUTE) => ({
      from,
      through,
      expiresAt: cli.clock.now() + life,
    })
    await cli.report('broken', 0, 9, [at(1, 1)])
    await cli.report('silent', 1, 1, [at(1, 1), at(4, 5)])
    await cli.report('fine', 0, 9, [at(2, 3)])
    await cli.report('over', 0, 9, [at(1, 2, 0)])
    const text = await cli.revoke('--user', 'ann', '--wait', '600')
    const [, ...parts] = text.trimEnd().split('\n\n')
    expect(parts).toEqual([
      '2 of 4 resource servers have confirmed, the last after 0 ms.',
      'By their own word these cannot use what is at these places of the log. Each takes the tokens that ended there until they expire:',
      'CLIENT  RECEIVER  PLACES\napi     broken    1\napi     silent    1',
      expect.stringMatching(/^The log of the server says why \(revocation_unusable\)\./),
    ])
    for (let place = 2; place <= 5; place += 1) await cli.revoke('--user', 'ann', '--wait', '0')
    const listed = await cli.run('receivers', 'list')
    expect(listed.stdout).toMatch(/^api +broken +0 +\S+ +unusable$/m)
    expect(listed.stdout).toMatch(/^api +fine +0 +\S+ +unusable$/m)
    expect(listed.stdout).toMatch(/^api +over +0 +\S+ +current$/m)
    expect(listed.stdout).toMatch(/^api +silent +4 +\S+ +silent$/m)
    expect(listed.stdout).toMatch(/^api +fine +2-3$/m)
    expect(listed.stdout).toMatch(/^api +silent +1, 4-5$/m)
    const { stdout } = await cli.run('receivers', 'list', '--json')
    const { receivers } = JSON.parse(stdout) as {
      receivers: { receiver: string; state: string; unusable: object[] }[]
    }
    expect(receivers.map(({ receiver, state, unusable }) => [receiver, state, unusable])).toEqual([
      ['broken', 'unusable', [{ from: 1, through: 1 }]],
      ['fine', 'unusable', [{ from: 2, through: 3 }]],
      ['over', 'current', []],
      [
        'silent',
        'silent',
        [
          { from: 1, through: 1 },
          { from: 4, through: 5 },
        ],
      ],
    ])
  })

  test('counts who cannot use any of what was written for it', async () => {
    using cli = await prepareCli({ config: NOTES })
    await cli.run(...'api-keys add ann --name CI --scope read'.split(' '))
    // The API key ends at the first place, the user at the second.
    const unusable = [{ from: 1, through: 1, expiresAt: cli.clock.now() + MINUTE }]
    await cli.report('broken', 0, 9, unusable)
    const first = await cli.run('revoke', '--user', 'ann', '--json')
    expect(JSON.parse(first.stdout)).toMatchObject({
      revoked: { place: 2, firstPlace: 1 },
      confirmations: {
        confirmed: 0,
        unusable: 1,
        expected: 1,
        receivers: [{ state: 'unusable', unusable: [{ from: 1, through: 1 }] }],
      },
    })
    const next = await cli.run('revoke', '--user', 'ann', '--json')
    expect(JSON.parse(next.stdout)).toMatchObject({
      revoked: { place: 3, firstPlace: 3 },
      confirmations: { confirmed: 1, unusable: 0, expected: 1 },
    })
  })

  test('takes no word of who says that it was there before it was', async () => {
    using cli = await prepareCli()
    // Its server has a clock that is behind.
    await cli.report('early', 1, 1)
    const { stdout } = await cli.run('revoke', '--user', 'ann', '--json')
    expect(JSON.parse(stdout)).toMatchObject({
      confirmations: { confirmed: 1, expected: 1, lastAfterMs: 0 },
    })
  })

  test('lists twenty of very many, and counts the others', async () => {
    using cli = await prepareCli()
    for (let index = 10; index < 35; index += 1) await cli.report(`r${index}`, 0, 0)
    const text = await cli.revoke('--user', 'ann')
    expect(text).toContain('0 of 25 resource servers have confirmed.')
    expect(text).toContain('\napi     r29       1       ')
    expect(text).not.toContain('r30')
    expect(text).toContain('\n… and 5 more\n')
    const { stdout } = await cli.run('receivers', 'list')
    expect(stdout.match(/^api .* current$/gm)).toBeNull()
    expect(stdout.match(/^api .* behind$/gm)).toHaveLength(25)
  })

  test.each([80, 40])('shows on a terminal of %i columns how far they are', async (columns) => {
    using cli = await prepareCli({ columns })
    const receiver = `a-receiver-${'x'.repeat(50)}`
    await cli.report(receiver, 0, 0)
    const { code, stdout, stderr } = await cli.run('revoke', '--user', 'ann')
    expect(code).toBe(0)
    const [first, last] = stderr.split('\r\u001B[K').slice(1)
    expect(first).toBe(
      'Revoked. So far 0 of 1 resource server has confirmed …'.slice(0, columns - 1),
    )
    expect(last).toBe('')
    const narrowest = 'CLIENT  RECEIVER  BEHIND  LAST HEARD OF       '.length
    for (const line of stdout.split('\n').filter((one) => one.trim() !== receiver)) {
      expect(line.length).toBeLessThanOrEqual(Math.max(columns, narrowest))
    }
    expect(stdout).toContain(receiver)
    const json = await cli.run('revoke', '--user', 'ann', '--json')
    expect(json.stderr).toBe('')
  })

  test.each([['revoke'], ['receivers', 'list']])('explains itself: %s', async (...args) => {
    using cli = makeCli({ columns: 80 })
    const { code, stdout, stderr } = await cli.run(...args, '--help')
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
  })
})

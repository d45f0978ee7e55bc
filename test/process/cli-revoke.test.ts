import { describe, test } from 'vitest'
import { systemClock } from '../../resource-server/clock.ts'
import { createRevocationFeed } from '../../resource-server/index.ts'
import { post } from '../support/endpoints.ts'
import { getListenerToken, LISTENER_SECRET, openFeed, withListener } from '../support/feed.ts'
import { basic, decodeJwt, obtainTokens, refresh, requestToken } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { startApi } from '../support/protected-api.ts'
import { runProgram, startServerProcess, writeConfig } from '../support/process.ts'
import { startProgram } from '../support/program.ts'
import { ENVIRONMENT, NOTES, SERVICE_SECRET } from '../support/server.ts'

interface Answer {
  readonly revoked: {
    readonly kind: string
    readonly subject: string
    readonly place: number
    readonly sessions: number
    readonly grants: number
  }
  readonly confirmations: {
    readonly place: number
    readonly confirmed: number
    readonly expected: number
    readonly lastAfterMs?: number
    readonly receivers: readonly {
      readonly receiver: string
      readonly behind: number
      readonly state: string
      readonly confirmedAfterMs?: number
    }[]
  }
}

/** Every command is a process. */
const PATIENCE = { timeout: 120_000 }

/** A server, the program beside it, and APIs that follow it, each of which refuses what it does not know. */
async function startWorld(names: readonly string[]) {
  await using cleanUp = new AsyncDisposableStack()
  const folder = cleanUp.use(makeFolder())
  const environment = { LISTENER_SECRET }
  const config = writeConfig(folder.path, withListener)
  const { issuer } = cleanUp.use(
    await startServerProcess(config, { folder: folder.path, environment }),
  )
  const listener = { issuer, clientId: 'api', clientSecret: LISTENER_SECRET }
  const apis = await Promise.all(
    names.map(async (receiver) => {
      const feed = cleanUp.use(createRevocationFeed({ ...listener, receiver }))
      await feed.whenFresh()
      const verifier = { issuer, audience: NOTES, revocations: feed, clock: systemClock }
      return cleanUp.use(await startApi(verifier, { whenStale: 'closed' }))
    }),
  )
  const run = (args: string, input?: string) =>
    runProgram(args.split(' '), { folder: folder.path, environment, input })
  const running = cleanUp.move()
  return {
    issuer,
    run,
    start: (args: string) =>
      startProgram('auth-server/main.ts', args.split(' '), {
        folder: folder.path,
        environment: { ...ENVIRONMENT, ...environment },
      }),
    async revoke(args: string, input?: string): Promise<Answer> {
      const { code, stdout, stderr } = await run(`revoke ${args} --json`, input)
      if (code !== 0) throw new Error(`${args}: ${code} ${stderr}`)
      return JSON.parse(stdout) as Answer
    },
    async getServiceToken(): Promise<string> {
      const form = { grant_type: 'client_credentials', scope: 'notes:read' }
      const authorization = basic('service', SERVICE_SECRET)
      return (await requestToken(issuer, form, { authorization })).body.access_token
    },
    /** What each API says to each token. */
    ask: (...tokens: readonly string[]) =>
      Promise.all(
        tokens.map(async (token) =>
          (await Promise.all(apis.map((api) => api.status(token)))).join(' '),
        ),
      ),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

// Each has an `expect` of its own: the one of the module does not know whose poll it is.
describe.concurrent('portreeve revoke', PATIENCE, () => {
  test('says how many resource servers have confirmed, which refuse from then on', async ({
    expect,
  }) => {
    await using world = await startWorld(['one', 'two'])
    const alice = await obtainTokens(world.issuer)
    const bob = await obtainTokens(world.issuer, {}, 'bob')
    const tokens = [alice.access_token, bob.access_token]
    expect(await world.ask(...tokens)).toEqual(['200 200', '200 200'])
    const { code, stdout, stderr } = await world.run('revoke --user alice')
    expect(await world.ask(...tokens)).toEqual(['401 401', '200 200'])
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(
      /^Revoked all that the user alice had: place 3 in the log\.\nEnded with it: 1 session, 1 grant\.\n\n2 of 2 resource servers have confirmed, the last after \d+ ms\.\n$/,
    )
    expect(await refresh(world.issuer, alice.refresh_token)).toMatchObject({ status: 400 })
    const again = await obtainTokens(world.issuer)
    expect(await world.ask(again.access_token)).toEqual(['200 200'])

    const listed = await world.run('receivers list')
    expect(listed.stdout.replaceAll(/\d{4}-\S+Z/g, 'TIME')).toBe(
      `CLIENT  RECEIVER  BEHIND  LAST HEARD OF         STATE
api     one       0       TIME  current
api     two       0       TIME  current
`,
    )
    const recorded = await world.run('audit --user alice --json')
    expect(JSON.parse(recorded.stdout)).toMatchObject({
      entries: expect.arrayContaining([
        expect.objectContaining({ event: 'access_revoked', by: 'operator' }),
      ]),
    })
  })

  test('ends what it is told to, and nothing else', async ({ expect }) => {
    await using world = await startWorld(['one'])
    const { issuer } = world
    const [first, second, third] = [
      await world.getServiceToken(),
      await world.getServiceToken(),
      await world.getServiceToken(),
    ]
    const alice = await obtainTokens(issuer)
    const bob = await obtainTokens(issuer, {}, 'bob')
    const all = [first, second, third, alice.access_token, bob.access_token]
    expect(await world.ask(...all)).toEqual(['200', '200', '200', '200', '200'])
    const claim = (token: string, name: string) => String(decodeJwt(token).claims[name])

    const byStdin = await world.revoke('--token-stdin', `${first}\n`)
    expect(byStdin.revoked).toMatchObject({ kind: 'token', subject: claim(first, 'jti') })
    expect(await world.ask(...all)).toEqual(['401', '200', '200', '200', '200'])
    await world.revoke(`--token ${claim(second, 'jti')}`)
    expect(await world.ask(...all)).toEqual(['401', '401', '200', '200', '200'])
    const bySession = await world.revoke(`--session ${claim(alice.access_token, 'sid')}`)
    expect(bySession.revoked).toMatchObject({ kind: 'session', sessions: 1 })
    expect(await world.ask(...all)).toEqual(['401', '401', '200', '401', '200'])
    const byGrant = await world.revoke('--token-stdin', bob.refresh_token)
    expect(byGrant.revoked.subject).toBe(claim(bob.access_token, 'grant_id'))
    expect(byGrant.revoked).toMatchObject({ kind: 'grant', grants: 1 })
    expect(await world.ask(...all)).toEqual(['401', '401', '200', '401', '401'])
    await world.revoke('--client service')
    expect(await world.ask(third)).toEqual(['401'])
    const after = await obtainTokens(issuer)
    expect(await world.ask(after.access_token)).toEqual(['200'])
  })

  test('ends everything, and says how long the last one took', async ({ expect }) => {
    await using world = await startWorld(['one', 'two', 'three'])
    const tokens = [
      await world.getServiceToken(),
      (await obtainTokens(world.issuer)).access_token,
      (await obtainTokens(world.issuer, {}, 'bob')).access_token,
    ]
    const isActive = async () => {
      const form = { token: tokens[0] ?? '' }
      const authorization = basic('service', SERVICE_SECRET)
      return (await post(world.issuer, '/introspect', form, { authorization })).body['active']
    }
    expect(await isActive()).toBe(true)
    const startedAt = performance.now()
    const { revoked, confirmations } = await world.revoke('--all --yes --wait 60')
    const took = performance.now() - startedAt
    expect(await world.ask(...tokens)).toEqual(['401 401 401', '401 401 401', '401 401 401'])
    expect(await isActive()).toBe(false)
    expect(revoked).toMatchObject({ kind: 'all', subject: '', sessions: 2, grants: 2 })
    const { receivers, ...rest } = confirmations
    const times = receivers.map(({ confirmedAfterMs = Infinity }) => confirmedAfterMs)
    const lastAfterMs = Math.max(...times)
    const place = revoked.place
    const counts = { confirmed: 3, unusable: 0, expected: 3 }
    expect(rest).toEqual({ place, ...counts, lastAfterMs, more: false })
    expect(Math.min(...times)).toBeGreaterThanOrEqual(0)
    expect(lastAfterMs).toBeLessThan(took)
    expect(receivers.map(({ receiver, behind }) => [receiver, behind])).toEqual([
      ['one', 0],
      ['three', 0],
      ['two', 0],
    ])
  })

  test('stops waiting when it is told to, and says how far they are', async ({ expect }) => {
    await using world = await startWorld(['one'])
    const token = await world.getServiceToken()
    const listener = await getListenerToken(world.issuer)
    await using deaf = await openFeed(world.issuer, listener, { query: '?receiver=deaf' })
    await deaf.nextOf('beat')
    await using waiting = world.start('revoke --client service --wait 600 --json')
    // From then on it waits.
    await expect.poll(() => world.ask(token), { timeout: 30_000 }).toEqual(['401'])
    waiting.signal('SIGINT')
    const { code, stdout } = await waiting.ended
    expect([code, JSON.parse(stdout)]).toMatchObject([
      0,
      { revoked: { place: 1 }, confirmations: { expected: 2 } },
    ])
  })

  test('counts nobody who says that it cannot use the event', async ({ expect }) => {
    await using world = await startWorld(['one'])
    const token = await world.getServiceToken()
    const listener = await getListenerToken(world.issuer)
    const poll = async (body: object) => {
      const answer = await fetch(`${world.issuer}/revocations/poll?receiver=broken`, {
        method: 'POST',
        headers: { authorization: `Bearer ${listener}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
      return (await answer.json()) as { readonly sets: Readonly<Record<string, string>> }
    }
    // It is there before anything is revoked, and cannot use what comes.
    await poll({ returnImmediately: true })
    const waiting = poll({})
    const jti = String(decodeJwt(token).claims['jti'])
    await using revoking = world.start(`revoke --token ${jti} --wait 60`)
    const [name = ''] = Object.keys((await waiting).sets)
    const { sets } = await poll({ returnImmediately: true, setErrs: { [name]: { err: 'jwtAud' } } })
    expect(sets).toEqual({})
    const { code, stdout } = await revoking.ended
    expect(code).toBe(0)
    expect(stdout.replace(/after \d+/, 'after N')).toContain(`: place 1 in the log.

1 of 2 resource servers have confirmed, after N ms.

By their own word these cannot use what is at these places of the log. Each takes the tokens that ended there until they expire:

CLIENT  RECEIVER  PLACES
api     broken    1

The log of the server says why (revocation_unusable).`)
    const listed = await world.run('receivers list --json')
    expect(JSON.parse(listed.stdout)).toMatchObject({
      head: 1,
      receivers: [
        { receiver: 'broken', behind: 0, state: 'unusable', unusable: [{ from: 1, through: 1 }] },
        { receiver: 'one', behind: 0, state: 'current', unusable: [] },
      ],
    })
  })

  test('names who has not confirmed, and has revoked all the same', async ({ expect }) => {
    await using world = await startWorld(['one'])
    const token = await world.getServiceToken()
    // It has come, and never says that it has applied anything.
    const listener = await getListenerToken(world.issuer)
    await using deaf = await openFeed(world.issuer, listener, { query: '?receiver=deaf' })
    await deaf.nextOf('beat')
    await expect
      .poll(async () => (await world.run('receivers list')).stdout, { timeout: 20_000 })
      .toContain('deaf')
    const { code, stdout } = await world.run(
      `revoke --token ${String(decodeJwt(token).claims['jti'])} --wait 1`,
    )
    expect(code).toBe(0)
    expect(stdout.replaceAll(/\d{4}-\S+Z/g, 'TIME').replace(/after \d+/, 'after N')).toContain(
      `: place 1 in the log.

1 of 2 resource servers have confirmed, after N ms.

Not yet:

CLIENT  RECEIVER  BEHIND  LAST HEARD OF
api     deaf      1       TIME

Each learns of it`,
    )
    expect(await world.ask(token)).toEqual(['401'])
    const { revoked, confirmations } = await world.revoke(
      `--token ${String(decodeJwt(token).claims['jti'])} --wait 0.05`,
    )
    expect(revoked.place).toBe(1)
    expect(confirmations).toMatchObject({ confirmed: 1, expected: 2 })
  })
})

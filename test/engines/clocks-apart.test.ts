import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { nextSecond } from '../support/clock.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres } from '../support/engines/postgres.ts'
import { authorizationUrl, authorize, makePkce } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { BEGINNINGS, endAccess, endBeforeWrites, withBeginnings } from '../support/late-writes.ts'
import { startServerProcess, writeConfig, type ServerProcess } from '../support/process.ts'

const { isMissing, note } = needEngines('postgres')
const APART = 5000

describe.skipIf(isMissing)(`two processes on PostgreSQL, ten seconds apart${note}`, () => {
  const engines = new AsyncDisposableStack()
  const servers: ServerProcess[] = []
  let url = ''
  beforeAll(async () => {
    const postgres = engines.use(await startPostgres({ fsync: false }))
    url = postgres.url
    const { path: folder } = engines.use(makeFolder())
    const config = writeConfig(folder, (base) => ({ ...withBeginnings(base), database: { url } }))
    for (const aheadMilliseconds of [APART, -APART]) {
      const options = { folder, aheadMilliseconds }
      servers.push(engines.use(await startServerProcess(config, options)))
    }
  })
  afterAll(() => engines.disposeAsync())

  test.each(BEGINNINGS)('give no tokens for %s of before the end', async (_what, begin) => {
    for (const server of servers) {
      const collect = await begin(server)
      await endBeforeWrites(url)
      await nextSecond()
      const { status, body } = await collect()
      expect([status, body.error]).toEqual([400, 'invalid_grant'])
    }
  })

  test.each(BEGINNINGS)('give some for %s of just after it', async (_what, begin) => {
    for (const server of servers) {
      await endAccess(url)
      await nextSecond()
      const collect = await begin(server)
      expect((await collect()).status).toBe(200)
    }
  })

  test('take what somebody has signed in to at one for as old at the other', async () => {
    for (const [one, other] of [servers, servers.toReversed()] as ServerProcess[][]) {
      const { browser } = await authorize(one?.issuer ?? '', { max_age: '8' })
      const cookie = browser.cookies().map(({ name, value }) => `${name}=${value}`)
      const { issuer = '' } = other ?? {}
      const visitor = createBrowser(issuer, { cookie: cookie.join('; ') })
      const silently = { max_age: '8', prompt: 'none' }
      const page = await visitor.get(authorizationUrl(issuer, makePkce().challenge, silently))
      expect(new URL(page.location ?? '').searchParams.get('code')).toMatch(/./)
    }
  })

  test('ask again for a password that was just given, and not for ever', async () => {
    for (const { issuer } of servers) {
      for (const max_age of ['0', '1', '10']) {
        const { browser } = await authorize(issuer, { max_age })
        expect((await authorize(issuer, { max_age }, 'alice', browser)).code).toMatch(/./)
      }
    }
  })
})

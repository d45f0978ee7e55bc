import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres, type Postgres } from '../support/engines/postgres.ts'
import { findFreePort } from '../support/engines/service.ts'
import { obtainTokens } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { runProgram, startServerProcess, writeConfig } from '../support/process.ts'

const { isMissing, note } = needEngines('postgres')

/** Of which starting the program itself is one or two. */
const SOON_MS = 10_000
const PASSWORD = 'hunter2'

describe.skipIf(isMissing)(`a server on PostgreSQL${note}`, () => {
  let postgres: Postgres
  beforeAll(async () => {
    postgres = await startPostgres({ fsync: false })
  })
  afterAll(() => postgres[Symbol.asyncDispose]())

  /** Runs `serve` where it cannot start. */
  const serve = async (url: string) => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    const startedAt = performance.now()
    const args = ['serve', '--config', config]
    const end = await runProgram(args, { folder: folder.path, environment: { DATABASE_URL: url } })
    return { ...end, milliseconds: performance.now() - startedAt }
  }

  test('does not start where nobody listens, and says where it looked', async () => {
    const port = await findFreePort()
    const end = await serve(`postgres://portreeve:${PASSWORD}@127.0.0.1:${port}/portreeve`)
    expect([end.code, end.stdout, end.stderr]).toEqual([
      1,
      '',
      `error: Cannot open the database 127.0.0.1:${port}/portreeve: connect ECONNREFUSED 127.0.0.1:${port}. See that PostgreSQL runs there and takes connections, or change the address: DATABASE_URL or database.url.\n`,
    ])
  })

  test('does not start while the database does not answer, and says so soon', async () => {
    await postgres.pause()
    const end = await serve(postgres.url.replace('portreeve@', `portreeve:${PASSWORD}@`))
    postgres.resume()
    expect([end.code, end.stdout]).toEqual([1, ''])
    expect(end.stderr).toMatch(
      /^error: Cannot open the database 127\.0\.0\.1:\d+\/portreeve: .*timeout\. See that PostgreSQL runs there .* DATABASE_URL or database\.url\.\n$/,
    )
    expect(end.milliseconds).toBeLessThan(SOON_MS)
    expect(end.stderr).not.toContain(PASSWORD)
  })

  test.each([
    [
      'user',
      '//stranger:',
      /role "stranger" does not exist\. See that the user and the password in/,
    ],
    [
      'database',
      '/nowhere',
      /database "nowhere" does not exist\. Make it first .*name another with/,
    ],
  ])('says what to do about a %s that is not there', async (_what, change, words) => {
    const known = postgres.url.replace('portreeve@', `portreeve:${PASSWORD}@`)
    const url = change.startsWith('//')
      ? known.replace('//portreeve:', change)
      : known.replace(/\/\w+$/, change)
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    const options = { folder: folder.path, environment: { DATABASE_URL: url } }
    for (const command of [['serve'], ['users', 'list']]) {
      const end = await runProgram([...command, '--config', config], options)
      expect([end.code, end.stdout]).toEqual([1, ''])
      expect(end.stderr).toMatch(words)
      expect(end.stderr).toMatch(/ DATABASE_URL or database\.url( are right)?\.\n$/)
      expect(end.stderr).not.toContain(PASSWORD)
    }
  })

  test('starts together with another one on an empty database: there is one of each', async () => {
    using folder = makeFolder()
    const url = await postgres.createDatabase()
    const config = writeConfig(folder.path)
    const options = { folder: folder.path, environment: { DATABASE_URL: url } }
    const startedAt = performance.now()
    const servers = await Promise.all([
      startServerProcess(config, options),
      startServerProcess(config, options),
    ])
    const took = Math.round(performance.now() - startedAt)
    await using first = servers[0]
    await using second = servers[1]
    const rows = await query(
      url,
      `select 'user ' || username as what from account
       union all select 'client ' || id from client
       union all select 'key ' || algorithm from signing_key
       order by what`,
    )
    expect(rows.map(({ what }) => what)).toEqual([
      'client service',
      'client spa',
      'client web',
      'key ES256',
      'key RS256',
      'user alice',
      'user bob',
      'user nobody',
    ])
    const sets = await Promise.all(
      [first, second].map(async ({ issuer }) => (await fetch(`${issuer}/jwks`)).json()),
    )
    expect(sets[0]).toEqual(sets[1])
    for (const { issuer } of [first, second]) await obtainTokens(issuer)
    const stoppedAt = performance.now()
    for (const server of [first, second]) server.signal('SIGTERM')
    expect((await Promise.all([first.ended, second.ended])).map(({ code }) => code)).toEqual([0, 0])
    console.log({
      startedAfterMs: took,
      stoppedAfterMs: Math.round(performance.now() - stoppedAt),
    })
  })

  test.each([
    ['away', (it: Postgres) => it.stop(), (it: Postgres) => it.start()],
    ['hanging', (it: Postgres) => it.pause(), async (it: Postgres) => it.resume()],
  ])('stops when it is told to, also while the database is %s', async (what, begin, end) => {
    using folder = makeFolder()
    const config = writeConfig(folder.path)
    const environment = { DATABASE_URL: await postgres.createDatabase() }
    await using server = await startServerProcess(config, { folder: folder.path, environment })
    await obtainTokens(server.issuer)
    await begin(postgres)
    const startedAt = performance.now()
    server.signal('SIGTERM')
    const { code, stderr } = await server.ended
    const took = Math.round(performance.now() - startedAt)
    await end(postgres)
    console.log(what, { code, stoppedAfterMs: took })
    expect([code, stderr]).toEqual([0, expect.stringContaining('"event":"stopped"')])
    expect(took).toBeLessThan(SOON_MS)
  })
})

async function query(url: string, text: string): Promise<{ what: string }[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<{ what: string }>(text)).rows
  } finally {
    await client.end()
  }
}

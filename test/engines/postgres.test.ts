import { sql } from 'kysely'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openPostgres } from '../../auth-server/storage/postgres.ts'
import { createBrowser } from '../support/browser.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres, type Postgres } from '../support/engines/postgres.ts'
import { authorizationUrl, basic, makePkce, requestToken, signIn } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { startServerProcess, writeConfig } from '../support/process.ts'
import { SERVICE_SECRET } from '../support/server.ts'

const { isMissing, note } = needEngines('postgres')

const SERVICE = { authorization: basic('service', SERVICE_SECRET) }
const SERVICE_REQUEST = { grant_type: 'client_credentials', scope: 'notes:read' }
/** Many times as many as there are connections. */
const CROWD = 400
const GONE = { code: 'busy', message: 'The database does not answer.' }

/** Somebody else at the same database. */
async function connect(url: string): Promise<Client & AsyncDisposable> {
  const client = new Client({ connectionString: url })
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

describe.skipIf(isMissing)(`PostgreSQL${note}`, () => {
  let postgres: Postgres
  beforeAll(async () => {
    postgres = await startPostgres({ fsync: false })
  })
  afterAll(() => postgres[Symbol.asyncDispose]())

  test('that cuts a connection off between two statements ends that transaction alone', async () => {
    await using database = openPostgres(postgres.url)
    await using other = await connect(postgres.url)
    const { kysely } = database
    await sql`create table cut_off (number int)`.execute(kysely)
    const transaction = kysely.transaction().execute(async (open) => {
      const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(open)
      await sql`insert into cut_off values (1)`.execute(open)
      await other.query('select pg_terminate_backend($1, 5000)', [rows[0]?.pid])
      await sql`insert into cut_off values (2)`.execute(open)
    })
    await expect(transaction).rejects.toMatchObject(GONE)
    const { rows } = await sql`select number from cut_off`.execute(kysely)
    expect(rows).toEqual([])
  })

  test('in which somebody has locked a table refuses what needs it, and nothing else', async () => {
    using folder = makeFolder()
    const url = await postgres.createDatabase()
    const config = writeConfig(folder.path)
    const environment = { DATABASE_URL: url }
    await using server = await startServerProcess(config, { folder: folder.path, environment })
    const { issuer } = server
    const browser = createBrowser(issuer)
    const page = await browser.get(authorizationUrl(issuer, makePkce().challenge))
    await using other = await connect(url)
    await other.query('begin; lock table account in access exclusive mode')
    const life = { isLocked: true }
    const startedAt = performance.now()
    const waiting = signIn(browser, page).finally(() => {
      life.isLocked = false
    })
    const statuses = new Set<number>()
    while (life.isLocked) {
      statuses.add((await requestToken(issuer, SERVICE_REQUEST, SERVICE)).status)
    }
    const { status, headers } = await waiting
    expect([status, headers.get('retry-after')]).toEqual([503, '1'])
    expect(performance.now() - startedAt).toBeLessThan(5000)
    expect([...statuses]).toEqual([200])
    await other.query('rollback')
    expect((await signIn(browser, page)).text).toContain('/consent"')
  })

  test('that hundreds of requests with one cookie want at once is there for everybody else', async () => {
    using folder = makeFolder()
    const environment = { DATABASE_URL: await postgres.createDatabase() }
    const config = writeConfig(folder.path)
    await using server = await startServerProcess(config, { folder: folder.path, environment })
    const { issuer } = server
    const browser = createBrowser(issuer)
    await browser.get(`${issuer}/session/end`)
    const cookie = browser
      .cookies()
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ')
    const life = { isCrowded: true }
    const crowd = Promise.all(
      Array.from({ length: CROWD }, async () => {
        const headers = { cookie, accept: 'text/html' }
        const answer = await fetch(`${issuer}/session/end`, { headers })
        await answer.text()
        return answer.status
      }),
    ).finally(() => {
      life.isCrowded = false
    })
    const others = new Set<number>()
    while (life.isCrowded) {
      others.add((await fetch(`${issuer}/readyz`)).status)
      others.add((await requestToken(issuer, SERVICE_REQUEST, SERVICE)).status)
      others.add((await createBrowser(issuer).get(`${issuer}/session/end`)).status)
    }
    expect([...others]).toEqual([200])
    const statuses = await crowd
    expect(statuses).toContain(200)
    expect(statuses.filter((status) => status !== 200 && status !== 503)).toEqual([])
  })
})

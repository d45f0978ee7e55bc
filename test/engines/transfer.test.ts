import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { needEngines } from '../support/engines/need.ts'
import { startPostgres, type Postgres } from '../support/engines/postgres.ts'
import { authorizationUrl, basic, makePkce, requestToken } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import {
  runProgram,
  startServerProcess,
  writeConfig,
  type ServerProcess,
} from '../support/process.ts'

const { isMissing, note } = needEngines('postgres')
const PASSWORD = 'a password of some length'
const CALLBACK = 'https://shop.example/callback'
const REQUEST = { client_id: 'shop', redirect_uri: CALLBACK, scope: 'openid notes:read' }

/** The program in a folder of its own, on a database of its own. */
function makeCli(url?: string) {
  const folder = makeFolder()
  const config = writeConfig(folder.path)
  const environment = url === undefined ? {} : { DATABASE_URL: url }
  const run = (args: string, input?: string) =>
    runProgram(args.split(' '), { folder: folder.path, environment, input })
  return {
    run,
    async done(args: string, input?: string): Promise<Record<string, unknown>> {
      const { code, stdout, stderr } = await run(`${args} --json`, input)
      if (code !== 0) throw new Error(`${args}: ${stderr}`)
      return JSON.parse(stdout) as Record<string, unknown>
    },
    serve: () => startServerProcess(config, { folder: folder.path, environment }),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  }
}

async function signIn({ issuer }: ServerProcess, secret: string): Promise<number> {
  const browser = createBrowser(issuer)
  const { verifier, challenge } = makePkce()
  const page = await browser.get(authorizationUrl(issuer, challenge, REQUEST))
  const answer = await browser.submit(page, '/sign-in', { username: 'ann', password: PASSWORD })
  const code = new URL(answer.location ?? CALLBACK).searchParams.get('code') ?? ''
  const { status } = await requestToken(
    issuer,
    { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: CALLBACK },
    { authorization: basic('shop', secret) },
  )
  return status
}

describe.skipIf(isMissing)(`an export${note}`, () => {
  let postgres: Postgres
  beforeAll(async () => {
    postgres = await startPostgres()
  })
  afterAll(() => postgres[Symbol.asyncDispose]())

  test('of a SQLite file comes to PostgreSQL, and back, whole', async () => {
    using file = makeCli()
    using server = makeCli(await postgres.createDatabase())
    await file.done('users add ann --role reader --password-stdin', PASSWORD)
    await file.done('users add ben --no-password')
    const client = `clients add shop --first-party --redirect-uri ${CALLBACK} --scope openid --scope notes:read`
    const secret = String((await file.done(client))['secret'])
    const first = await file.done('export')
    const imported = await server.done('import', JSON.stringify(first))
    expect(imported).toMatchObject({
      imported: {
        users: { added: ['ann', 'ben'] },
        clients: { added: ['shop'] },
        otherSettings: ['database'],
      },
    })
    await using running = await server.serve()
    expect(await signIn(running, secret)).toBe(200)
    const second = await server.done('export')
    const { users, clients } = first
    expect(second).toMatchObject({ users, clients })
    const url = (second['config'] as { database: { url: string } }).database.url
    expect(url).toMatch(/^postgres:\/\/portreeve@127\.0\.0\.1:\d+\/portreeve_\d+$/)
    const again = await file.done('import', JSON.stringify(second))
    expect(again).toMatchObject({
      imported: { users: { left: ['ann', 'ben'] }, clients: { left: ['shop'] } },
    })
  })

  test('is imported whole or not at all where two are at it at once', async () => {
    using server = makeCli(await postgres.createDatabase())
    await server.done('users list')
    const document = (name: string) =>
      JSON.stringify({ version: 1, users: [{ username: name }, { username: 'common' }] })
    const ended = await Promise.all(
      ['one', 'two', 'three'].map((name) => server.run('import --json', document(name))),
    )
    const codes = ended.map(({ code }) => code)
    expect(codes).toContain(0)
    const failed = ended.filter(({ code }) => code !== 0).map(({ stderr }) => stderr)
    for (const stderr of failed) expect(stderr).toContain('try again')
    const { users } = (await server.done('users list')) as { users: { username: string }[] }
    expect(users).toHaveLength(1 + codes.filter((code) => code === 0).length)
  })

  test('is refused where a document would be somebody else, and nothing is changed', async () => {
    using server = makeCli(await postgres.createDatabase())
    const { user } = (await server.done('users add ann --no-password')) as { user: { id: string } }
    const users = [{ username: 'innocent' }, { username: 'mallory', id: user.id }]
    const { code, stderr } = await server.run('import', JSON.stringify({ version: 1, users }))
    expect([code, stderr]).toEqual([1, 'error: users[1].id: it is the id of the user "ann" here\n'])
    expect(await server.done('users list')).toMatchObject({ users: [{ username: 'ann' }] })
  })
})

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { Agent, createServer, request as httpRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../resource-server/clock.ts'
import { createKey, fail, signToken, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { startProgram } from '../support/program.ts'
import { sendRaw } from '../support/raw.ts'

const EXAMPLES = ['node-http', 'express', 'fastify', 'hono']
const NOTES = 'https://notes.example/'
const key = await createKey('ES256')

interface Reply {
  readonly status: number | undefined
  readonly headers: IncomingMessage['headers']
  readonly body: unknown
  /** Whether it came over a connection that had served before. */
  readonly isReused: boolean
}

interface Asking {
  readonly token?: string | undefined
  readonly method?: string
  readonly path?: string
  readonly agent?: Agent
}

interface World extends AsyncDisposable {
  readonly issuer: TestIssuer
  readonly url: string
  token(change?: Record<string, unknown>): string
  ask(asking: Asking): Promise<Reply>
}

/** An example as a process of its own, and an issuer. */
async function start(example: string): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const issuer = cleanUp.use(await startIssuer(systemClock, key))
  const program = cleanUp.use(startProgram(`examples/${example}.ts`, [issuer.url, '0']))
  const port = /port: (\d+)/.exec((await program.firstLine) ?? '')?.[1]
  if (port === undefined) throw new Error((await program.ended).stderr)
  const url = `http://127.0.0.1:${port}`
  const running = cleanUp.move()
  return {
    issuer,
    url,
    token: (change) => signToken(key, issuer.claims({ aud: NOTES, ...change })),
    async ask({ token, method = 'GET', path: place = '/notes', agent }) {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
      const request = httpRequest(url + place, { method, headers, agent }).end()
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      const { statusCode: status, headers: answered } = response
      const body = await text(response)
      const isJson = answered['content-type']?.startsWith('application/json') && body !== ''
      const read = isJson ? (JSON.parse(body) as unknown) : body
      return { status, headers: answered, body: read, isReused: request.reusedSocket }
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

function readChallenge({ status, headers }: Reply): readonly unknown[] {
  return [status, headers['www-authenticate']]
}

test.each([...EXAMPLES, 'your-own-api'])(
  'the example %s says in a sentence that its port is taken',
  async (example) => {
    await using other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const args = ['http://127.0.0.1:1', String(port)]
    await using program = startProgram(`examples/${example}.ts`, args)
    const { code, stdout, stderr } = await program.ended
    expect([code, stdout, stderr]).toEqual([
      1,
      '',
      `cannot listen on port ${port}, give another one: listen EADDRINUSE: address already in use 127.0.0.1:${port}\n`,
    ])
  },
)

describe.each(EXAMPLES)('the example %s', (example) => {
  test('has less than 40 lines', async () => {
    const file = path.resolve(import.meta.dirname, `../../examples/${example}.ts`)
    expect((await readFile(file, 'utf8')).trimEnd().split('\n').length).toBeLessThan(40)
  })

  test('lets those in who may, and refuses the others as RFC 6750 says', async () => {
    await using world = await start(example)
    const { token, ask } = world
    const good = await ask({ token: token() })
    expect([good.status, good.body]).toEqual([
      200,
      { method: 'GET', subject: 'acc_alice', scopes: ['notes:read', 'notes:write'] },
    ])
    const written = await ask({ token: token(), method: 'POST' })
    expect([written.status, written.body]).toMatchObject([200, { method: 'POST' }])

    const none = await ask({})
    expect(readChallenge(none)).toEqual([401, 'Bearer'])
    expect(none.headers['cache-control']).toBe('no-store')
    expect(none.body).toMatchObject({ error: 'unauthorized' })

    const reader = token({ scope: 'notes:read' })
    expect((await ask({ token: reader })).status).toBe(200)
    const lacking = await ask({ token: reader, method: 'POST' })
    expect(readChallenge(lacking)).toEqual([
      403,
      'Bearer error="insufficient_scope", scope="notes:write"',
    ])
    expect(lacking.body).toMatchObject({ error: 'insufficient_scope' })

    const [header, payload] = token().split('.')
    const invalid = [
      token({ aud: 'https://other.example/' }),
      token({ aud: undefined }),
      token({ iss: 'https://other.example' }),
      token({ exp: 1 }),
      token({ cnf: { jkt: 'x' } }),
      `${header}.${payload}.${'A'.repeat(86)}`,
      'nonsense',
    ]
    for (const each of invalid) {
      const refused = await ask({ token: each })
      expect(readChallenge(refused)).toEqual([401, 'Bearer error="invalid_token"'])
      expect(refused.headers['cache-control']).toBe('no-store')
    }
  })

  test('hands over the request as it came: two tokens are none, in the query there is none', async () => {
    await using world = await start(example)
    const authorization = `Authorization: Bearer ${world.token()}`
    const twice = ['GET /notes HTTP/1.1', authorization, authorization]
    expect((await sendRaw(world.url, twice)).status).toBe(400)
    const query = `/notes?access_token=${world.token()}`
    expect((await world.ask({ path: query })).status).toBe(401)
    expect((await world.ask({ path: query, token: world.token() })).status).toBe(400)
  })

  test('is reached by no other spelling of a route without a token', async () => {
    await using world = await start(example)
    const places = ['/notes', '/notes/', '//notes', '/NOTES', '/%6eotes', '/notes?x', '/x/../notes']
    for (const place of places) {
      for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'OPTIONS']) {
        const { status, body } = await world.ask({ path: place, method })
        expect(JSON.stringify(body)).not.toContain('subject')
        // Which methods there are may be told to everybody, as Express does.
        expect(method === 'OPTIONS' ? [200, 401, 404, 405] : [401, 404, 405]).toContain(status)
      }
    }
  })

  test('remembers a token for its connection alone, and for no request that does not send it', async () => {
    await using world = await start(example)
    const [first, second] = [1, 2].map(() => new Agent({ keepAlive: true, maxSockets: 1 }))
    const [alice, bob] = [world.token(), world.token({ sub: 'acc_bob' })]
    const who = async (agent: Agent | undefined, token?: string) => {
      const { status, body, isReused } = await world.ask({ token, ...(agent ? { agent } : {}) })
      const answer = status === 200 ? (body as { subject: string }).subject : status
      return [answer, isReused]
    }
    expect(await who(first, alice)).toEqual(['acc_alice', false])
    expect(await who(second)).toEqual([401, false])
    for (let round = 0; round < 3; round += 1) {
      expect(await who(first, alice)).toEqual(['acc_alice', true])
      expect(await who(second, bob)).toEqual(['acc_bob', true])
      expect(await who(first)).toEqual([401, true])
      expect(await who(second)).toEqual([401, true])
      expect(await who(first, bob)).toEqual(['acc_bob', true])
      expect(await who(first, `${alice}x`)).toEqual([401, true])
      expect(await who(first, world.token({ aud: 'x' }))).toEqual([401, true])
    }
    first?.destroy()
    second?.destroy()
  })

  test('says that it is not the fault of who asks when the issuer is down', async () => {
    await using world = await start(example)
    world.issuer.answers.set('*', fail(503))
    const { status, headers } = await world.ask({ token: world.token() })
    expect([status, headers['www-authenticate']]).toEqual([503, undefined])
    expect(Number(headers['retry-after'])).toBeGreaterThan(0)
  })
})

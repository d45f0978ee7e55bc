import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../resource-server/clock.ts'
import {
  curl,
  lasting,
  leaveUnsigned,
  signWithSecret,
  startDemo,
  type DemoProgram,
} from '../support/demo.ts'
import { API, createKey, signToken, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { startProgram } from '../support/program.ts'

const SECRET_KEY = randomBytes(32).toString('base64url')
const FEED_SECRET = 'hush'
const ISSUER = 'http://127.0.0.1:9'
const key = await createKey('ES256')

interface World extends AsyncDisposable {
  readonly gateway: DemoProgram
  readonly billing: DemoProgram
  readonly orders: DemoProgram
}

/** The three programs, with the same settings for tokens. */
async function start(args: readonly string[], environment: Record<string, string>): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const [billing, orders] = await Promise.all([
    startDemo('billing.ts', args, environment),
    startDemo('orders.ts', args, environment),
  ])
  cleanUp.use(billing)
  cleanUp.use(orders)
  const routes = ['--route', `/=${billing.url}`, '--route', `/orders=${orders.url}`]
  const gateway = cleanUp.use(await startDemo('gateway.ts', [...args, ...routes], environment))
  const running = cleanUp.move()
  return { gateway, billing, orders, [Symbol.asyncDispose]: () => running.disposeAsync() }
}

describe('with a secret, as the first gateway had it', () => {
  let world: World
  beforeAll(async () => {
    world = await start([], { SECRET_KEY })
  })
  afterAll(() => world[Symbol.asyncDispose]())

  const claims = (change: Readonly<Record<string, unknown>> = {}) => ({
    authorized: true,
    client: 'Krissanawat',
    aud: 'billing.jwtgo.io',
    iss: 'jwtgo.io',
    exp: lasting().exp,
    ...change,
  })
  const ask = (token: string) => curl('-H', `Token: ${token}`, `${world.gateway.url}/`)

  test('answers the secret to whoever has a token, in the header Token or as Bearer', async () => {
    const token = signWithSecret(SECRET_KEY, claims())
    const first = await ask(token)
    expect([first.status, first.body]).toEqual([200, 'Super Secret Information'])
    const second = await curl('-H', `Authorization: Bearer ${token}`, world.gateway.url)
    expect([second.status, second.body]).toEqual([200, 'Super Secret Information'])
  })

  test('says that there is no token', async () => {
    const { status, body } = await curl(`${world.gateway.url}/`)
    expect([status, body]).toEqual([401, 'No Authorization Token provided'])
  })

  test.each<[string, () => string, string]>([
    ['alg none', () => leaveUnsigned(claims()), 'Invalid Signing Method'],
    [
      'another algorithm',
      () => signWithSecret(SECRET_KEY, claims(), { alg: 'HS512' }),
      'Invalid Signing Method',
    ],
    [
      'an algorithm with keys',
      () => signToken(key, claims(), { alg: 'ES256' }),
      'Invalid Signing Method',
    ],
    ['another aud', () => signWithSecret(SECRET_KEY, claims({ aud: 'x' })), 'invalid aud'],
    ['no aud', () => signWithSecret(SECRET_KEY, claims({ aud: undefined })), 'invalid aud'],
    ['another iss', () => signWithSecret(SECRET_KEY, claims({ iss: 'x' })), 'invalid iss'],
    ['no iss', () => signWithSecret(SECRET_KEY, claims({ iss: undefined })), 'invalid iss'],
    [
      'an exp that is over',
      () => signWithSecret(SECRET_KEY, claims({ exp: lasting(-10).exp })),
      'Expired token',
    ],
    ['no exp', () => signWithSecret(SECRET_KEY, claims({ exp: undefined })), 'Invalid token'],
    ['another secret', () => signWithSecret(`${SECRET_KEY}x`, claims()), 'Invalid token'],
    ['the secret of the original', () => signWithSecret('secret', claims()), 'Invalid token'],
    ['no client', () => signWithSecret(SECRET_KEY, claims({ client: undefined })), 'Invalid token'],
    [
      'no authorized',
      () => signWithSecret(SECRET_KEY, claims({ authorized: undefined })),
      'Invalid token',
    ],
  ])('names what is wrong with a token with %s', async (_case, makeToken, expected) => {
    const { status, body } = await ask(makeToken())
    expect([status, body]).toEqual([401, expected])
  })

  test('refuses a token that allows nothing', async () => {
    for (const authorized of [false, 'true', 1, null]) {
      expect((await ask(signWithSecret(SECRET_KEY, claims({ authorized })))).status).toBe(403)
    }
  })

  test('does not let those of an unknown secret learn what else is wrong', async () => {
    const wrong = claims({ aud: 'x', iss: 'x', exp: 1 })
    expect((await ask(signWithSecret('another secret', wrong))).body).toBe('Invalid token')
  })

  test('lets a service in where it has the role, and nowhere else', async () => {
    const asService = (roles: unknown, path: string) =>
      curl(
        '-H',
        `Token: ${signWithSecret(SECRET_KEY, claims({ roles }))}`,
        `${world.gateway.url}${path}`,
      )
    expect((await asService(['accountant'], '/invoices')).status).toBe(200)
    expect((await asService(['accountant'], '/orders')).status).toBe(403)
    expect((await asService(undefined, '/invoices')).status).toBe(403)
    expect((await asService('accountant', '/invoices')).status).toBe(401)
  })

  test('the services let nobody in who goes round the gateway', async () => {
    for (const url of [world.billing.url, `${world.orders.url}/orders`]) {
      const { status } = await curl('-H', 'X-User: admin', '-H', 'X-Forwarded-User: admin', url)
      expect(status).toBe(401)
    }
  })

  test('nobody has logged a token or the secret', async () => {
    const token = signWithSecret(SECRET_KEY, claims({ exp: 1 }))
    await ask(token)
    const { gateway, billing, orders } = world
    const logged = [gateway, billing, orders].map((program) => program.logged()).join('')
    expect(logged).toContain('"kind":"expired"')
    for (const text of [token, SECRET_KEY]) expect(logged).not.toContain(text)
  })
})

describe("with an issuer's keys, access is decided by roles", () => {
  let issuer: TestIssuer
  let world: World
  beforeAll(async () => {
    issuer = await startIssuer(systemClock, key)
    world = await start(['--issuer', issuer.url, '--audience', API], {})
  })
  afterAll(async () => {
    await world[Symbol.asyncDispose]()
    await issuer[Symbol.asyncDispose]()
  })

  const as =
    (sub: string, ...roles: readonly string[]) =>
    (path: string, body?: unknown) => {
      const token = signToken(key, issuer.claims({ sub, roles }))
      const json = ['-H', 'Content-Type: application/json', '-d', JSON.stringify(body)]
      const headers = ['-H', `Authorization: Bearer ${token}`]
      return curl(...headers, ...(body === undefined ? [] : json), `${world.gateway.url}${path}`)
    }
  const read = async (answer: ReturnType<typeof curl>) =>
    JSON.parse((await answer).body) as Record<string, never>

  test('a customer sees their own orders alone, an admin all of them', async () => {
    const [alice, bob, admin] = [
      as('acc_alice', 'customer'),
      as('acc_bob', 'customer'),
      as('acc_admin', 'admin'),
    ]
    const created = await alice('/orders', { item: 'milk' })
    expect(created.status).toBe(201)
    const order = JSON.parse(created.body) as { id: string }
    expect(order).toMatchObject({ owner: 'acc_alice', item: 'milk' })
    await bob('/orders', { item: 'bread' })
    expect(await read(alice('/orders'))).toEqual({ orders: [order] })
    expect(await read(alice(`/orders/${order.id}`))).toEqual(order)
    expect((await bob(`/orders/${order.id}`)).status).toBe(404)
    const { orders: all } = await read(admin('/orders'))
    expect(all).toMatchObject([{ owner: 'acc_alice' }, { owner: 'acc_bob' }])
    expect((await admin('/orders', { item: 'x' })).status).toBe(403)
  })

  test('an accountant writes invoices, and the customer sees their own', async () => {
    const accountant = as('acc_carol', 'accountant')
    const created = await accountant('/invoices', { owner: 'acc_alice', cents: 250 })
    expect(created.status).toBe(201)
    await accountant('/invoices', { owner: 'acc_bob', cents: 10 })
    const alice = await read(as('acc_alice', 'customer')('/invoices'))
    expect(alice).toMatchObject({ invoices: [{ owner: 'acc_alice', cents: 250 }] })
    const { invoices } = await read(as('acc_admin', 'admin')('/invoices'))
    expect(invoices).toHaveLength(2)
    expect((await as('acc_alice', 'customer')('/invoices', { cents: 1 })).status).toBe(403)
    expect((await as('acc_carol', 'accountant')('/orders')).status).toBe(403)
    expect((await as('acc_dave')('/invoices')).status).toBe(403)
  })

  test('one customer who orders all that there is room for leaves room to others', async () => {
    const order = (sub: string) =>
      fetch(`${world.orders.url}/orders`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${signToken(key, issuer.claims({ sub, roles: ['customer'] }))}`,
          'content-type': 'application/json',
        },
        body: '{"item":"x"}',
      })
    let last = await order('acc_mallory')
    for (let count = 1; count < 1000 && last.status === 201; count++) {
      last = await order('acc_mallory')
    }
    expect([last.status, await last.json()]).toMatchObject([409, { error: 'limit_reached' }])
    expect((await order('acc_carol')).status).toBe(201)
  })

  test.each<[string, string, string, unknown]>([
    ['an order that is no object', '/orders', 'customer', 'milk'],
    ['an order of nothing', '/orders', 'customer', { item: '' }],
    ['an order of a number', '/orders', 'customer', { item: 7 }],
    ["an order in another's name", '/orders', 'customer', { item: 'x', owner: 'acc_bob' }],
    ['an order that is too long', '/orders', 'customer', { item: 'x'.repeat(201) }],
    ['an invoice to nobody', '/invoices', 'accountant', { cents: 1 }],
    ['an invoice of nothing', '/invoices', 'accountant', { owner: 'a', cents: 0 }],
    ['an invoice of half a cent', '/invoices', 'accountant', { owner: 'a', cents: 0.5 }],
    ['an invoice with an id', '/invoices', 'accountant', { owner: 'a', cents: 1, id: 'x' }],
  ])('refuses %s', async (_case, path, role, body) => {
    const { status, body: answer } = await as('acc_alice', role)(path, body)
    expect([status, JSON.parse(answer)]).toMatchObject([400, { error: 'invalid_request' }])
  })

  test('the gateway answers as RFC 6750 says, and takes no header Token', async () => {
    const token = signToken(key, issuer.claims())
    const answer = await fetch(`${world.gateway.url}/orders`, { headers: { token } })
    expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
    expect(await answer.json()).toMatchObject({ error: 'unauthorized' })
    const expired = signToken(key, issuer.claims({ exp: 1 }))
    const second = await fetch(world.gateway.url, {
      headers: { authorization: `Bearer ${expired}` },
    })
    expect(second.headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
    expect(await second.json()).toMatchObject({ error: 'invalid_token' })
  })

  test('a role that is missing is said by the service, with 403', async () => {
    const token = signToken(key, issuer.claims())
    const answer = await fetch(`${world.gateway.url}/orders`, {
      headers: { authorization: `Bearer ${token}` },
    })
    expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([
      403,
      'Bearer error="insufficient_scope"',
    ])
  })
})

describe('the programs', () => {
  test.each(['billing.ts', 'orders.ts', 'gateway.ts'])(
    '%s does not start with settings that cannot be right',
    async (file) => {
      const path = `resource-server/demo/${file}`
      const cases: readonly (readonly [string[], Record<string, string>, RegExp])[] = [
        [[], {}, /^SECRET_KEY: /],
        [[], { SECRET_KEY: 'secret' }, /^SECRET_KEY: .* 32 bytes/],
        [['--algorithm', 'none'], { SECRET_KEY }, /^--algorithm: /],
        [['--issuer', 'http://127.0.0.1:9'], { SECRET_KEY }, /^--audience is missing/],
        [['--issuer', 'http://as.example', '--audience', API], {}, /^issuer: .*https/],
        [['--feed-client', 'apis'], { SECRET_KEY }, /^--feed-client needs --issuer/],
        [['--feed-receiver', 'a'], { SECRET_KEY }, /^--feed-receiver needs --issuer/],
        [['--issuer', ISSUER, '--audience', API, '--feed-client', 'apis'], {}, /^FEED_SECRET: /],
        [
          ['--issuer', ISSUER, '--audience', '', '--feed-client', 'x'],
          { FEED_SECRET },
          /^audience: /,
        ],
      ]
      for (const [args, environment, message] of cases) {
        await using program = startProgram(path, args, { environment })
        const { code, stderr } = await program.ended
        expect([code, stderr]).toEqual([2, expect.stringMatching(message)])
      }
    },
  )

  test.each(['1', '13'])(
    'the gateway starts with a time of %s seconds for all',
    async (seconds) => {
      await using program = await startDemo('gateway.ts', ['--timeout', seconds], { SECRET_KEY })
      expect((await curl(program.url)).status).toBe(401)
    },
  )

  test.each(['billing.ts', 'orders.ts', 'gateway.ts'])(
    '%s says in a sentence that its port is taken',
    async (file) => {
      await using other = await startDemo('orders.ts', [], { SECRET_KEY })
      const { port } = new URL(other.url)
      const options = { environment: { SECRET_KEY } }
      await using program = startProgram(`resource-server/demo/${file}`, ['--port', port], options)
      const { code, stderr } = await program.ended
      const expected = `Port ${port} on 127.0.0.1 is taken by another program. Stop it, or choose another port with --port.\n`
      expect([code, stderr]).toEqual([1, expected])
    },
  )

  test.each(['billing.ts', 'orders.ts', 'gateway.ts'])(
    '%s ends cleanly at SIGTERM',
    async (file) => {
      await using program = await startDemo(file, [], { SECRET_KEY })
      program.signal('SIGTERM')
      expect(await program.ended).toMatchObject({ code: 0, stderr: '' })
    },
  )
})

import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser, type Page } from '../support/browser.ts'
import {
  askUserinfo,
  post,
  prove,
  withClients,
  type Answer,
  type Form,
} from '../support/endpoints.ts'
import { authorizationUrl, basic, makePkce, requestToken, signIn } from '../support/flow.ts'
import { createProofClient } from '../support/proof.ts'
import { NOTES, REDIRECT, startServer, WEB_SECRET, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc9126-par.md. */

const asWeb = { authorization: basic('web', WEB_SECRET) }
const asPushing = { authorization: basic('pushing', WEB_SECRET) }
const SPA = 'https://spa.example/'

let server: TestServer
beforeAll(async () => {
  server = await startServer(
    withClients({
      id: 'pushing',
      par: 'required',
      secret: { env: 'WEB_SECRET' },
      redirectUris: [REDIRECT],
      scopes: ['openid', 'notes:read'],
    }),
  )
})
afterAll(() => server[Symbol.asyncDispose]())
afterEach(() => void vi.useRealTimers())

function describeRequest(challenge: string, change: Readonly<Record<string, string>> = {}) {
  return {
    client_id: 'web',
    response_type: 'code',
    redirect_uri: REDIRECT,
    scope: 'openid notes:read',
    state: 'a state',
    code_challenge: challenge,
    code_challenge_method: 'S256',
    ...change,
  }
}

function push(form: Form, headers: Readonly<Record<string, string>> = asWeb): Promise<Answer> {
  return post(server.issuer, '/request', form, headers)
}

const refusal = ({ status, body }: Answer) => [status, body['error']]

async function pushGood(change: Readonly<Record<string, string>> = {}) {
  const { verifier, challenge } = makePkce()
  const { status, body } = await push(describeRequest(challenge, change))
  if (status !== 201) throw new Error(`refused: ${JSON.stringify(body)}`)
  return { uri: String(body['request_uri']), verifier }
}

function pushedUrl(uri: string, more: Readonly<Record<string, string>> = {}): string {
  const query = new URLSearchParams({ client_id: 'web', request_uri: uri, ...more })
  return `${server.issuer}/auth?${query.toString()}`
}

/** Signs in and agrees where that is asked for, and answers what the client is told. */
async function finish(url: string, browser = createBrowser(server.issuer)) {
  let page = await browser.get(url)
  if (page.text.includes('/sign-in"')) page = await signIn(browser, page)
  if (page.text.includes('/consent"')) page = await browser.submit(page, '/consent')
  return readAnswer(page)
}

function readAnswer(page: Page): URLSearchParams {
  return page.location === undefined
    ? new URLSearchParams({ error: `${page.status}` })
    : new URL(page.location).searchParams
}

describe('RFC 9126 §2.1: a request is pushed', () => {
  const request = () => describeRequest(makePkce().challenge)

  test('by a client that proves who it is, in the body or in the header', async () => {
    const posted = withClients({
      id: 'web',
      authMethod: 'client_secret_post',
    })
    await using another = await startServer(posted)
    const form = { ...request(), client_secret: WEB_SECRET }
    expect((await post(another.issuer, '/request', form, {})).status).toBe(201)
    expect((await push(request())).status).toBe(201)
  })

  test('by a public client with its id, also by Basic with an empty password', async () => {
    const form = { ...request(), client_id: 'spa', redirect_uri: SPA }
    expect((await push(form, {})).status).toBe(201)
    expect((await push(form, { authorization: basic('spa', '') })).status).toBe(201)
  })

  test.each([
    ['a wrong secret', { authorization: basic('web', 'wrong') }, {}, 401, 'invalid_client'],
    [
      'an unknown client',
      { authorization: basic('nobody', 'x') },
      { client_id: 'nobody' },
      401,
      'invalid_client',
    ],
    ['no client', {}, { client_id: '' }, 400, 'invalid_request'],
    ['no client_id', asWeb, { client_id: '' }, 400, 'invalid_request'],
    ['a confidential client by its id alone', {}, {}, 401, 'invalid_client'],
    ['the id of another client', asWeb, { client_id: 'spa' }, 400, 'invalid_request'],
    ['a request_uri', asWeb, { request_uri: 'urn:x' }, 400, 'request_uri_not_supported'],
    ['an unregistered redirect URI', asWeb, { redirect_uri: SPA }, 400, 'invalid_request'],
    ['another response type', asWeb, { response_type: 'token' }, 400, 'unsupported_response_type'],
    [
      'no challenge',
      asWeb,
      { code_challenge: '', code_challenge_method: '' },
      400,
      'invalid_request',
    ],
    ['an unknown resource', asWeb, { resource: 'https://x.example/' }, 400, 'invalid_target'],
    [
      'only scopes that it may not have',
      asWeb,
      { scope: 'x:y', resource: NOTES },
      400,
      'invalid_scope',
    ],
  ])('and not with %s', async (_case, headers, change, status, error) => {
    const answer = await push({ ...request(), ...change }, headers)
    expect([answer.status, answer.body['error']]).toEqual([status, error])
    expect(answer.headers.get('cache-control')).toContain('no-store')
  })

  test('by POST of a form, whatever is accepted', async () => {
    const got = await fetch(`${server.issuer}/request`)
    expect([got.status, got.headers.get('allow')]).toEqual([405, 'POST'])
    const json = await fetch(`${server.issuer}/request`, {
      method: 'POST',
      headers: { ...asWeb, 'content-type': 'application/json' },
      body: JSON.stringify(request()),
    })
    expect(json.status).toBe(400)
    const html = await push(request(), { ...asWeb, accept: 'text/html' })
    expect([html.status, html.headers.get('content-type')]).toEqual([
      201,
      expect.stringContaining('application/json'),
    ])
  })

  test('up to a size', async () => {
    expect((await push({ ...request(), state: 'x'.repeat(4000) })).status).toBe(201)
    const large = await push({ ...request(), state: 'x'.repeat(20_000) })
    expect(refusal(large)).toEqual([400, 'invalid_request'])
  })
})

test('RFC 9126 §2.2: the answer names the request, and says for how long', async () => {
  const { status, headers, body } = await push(describeRequest(makePkce().challenge))
  expect([status, headers.get('cache-control')]).toEqual([201, expect.stringContaining('no-store')])
  expect(body).toEqual({
    request_uri: expect.stringMatching(/^urn:ietf:params:oauth:request_uri:[\w-]{21,}$/),
    expires_in: 60,
  })
})

describe('RFC 9126 §4: a pushed request', () => {
  test('is what the person is asked, whatever stands beside it', async () => {
    const { uri, verifier } = await pushGood({ scope: 'openid' })
    const evil = { scope: 'openid notes:read notes:write', state: 'evil', redirect_uri: SPA }
    const answer = await finish(pushedUrl(uri, evil))
    expect([answer.get('state'), answer.get('iss')]).toEqual(['a state', server.issuer])
    const { status, body } = await requestToken(server.issuer, {
      grant_type: 'authorization_code',
      code: answer.get('code') ?? '',
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    })
    expect([status, body.scope]).toEqual([200, 'openid'])
  })

  test('leads to a token that is good at userinfo too, where the resource was chosen', async () => {
    const { uri, verifier } = await pushGood()
    const answer = await finish(pushedUrl(uri))
    const { body } = await requestToken(server.issuer, {
      grant_type: 'authorization_code',
      code: answer.get('code') ?? '',
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    })
    expect((await askUserinfo(server.issuer, body.access_token)).status).toBe(200)
  })

  test('belongs to the client that has pushed it', async () => {
    const { uri } = await pushGood()
    const query = new URLSearchParams({ client_id: 'spa', request_uri: uri })
    const page = await createBrowser(server.issuer).get(`${server.issuer}/auth?${query.toString()}`)
    expect([page.status, page.location]).toEqual([400, undefined])
  })

  test.each([
    ['that nobody has pushed', `urn:ietf:params:oauth:request_uri:${'x'.repeat(21)}`],
    ['that is a URL', 'https://app.example/request'],
    [
      'that looks like a row of the database',
      `urn:ietf:params:oauth:request_uri:~${'x'.repeat(43)}`,
    ],
    ['of nothing', 'urn:ietf:params:oauth:request_uri:'],
  ])('%s is refused', async (_case, uri) => {
    const page = await createBrowser(server.issuer).get(pushedUrl(uri))
    expect([page.status, page.location]).toEqual([400, undefined])
  })

  test('is refused when it has expired', async () => {
    const { uri } = await pushGood()
    vi.useFakeTimers({ toFake: ['Date'], now: systemClock.now() + 61_000 })
    const page = await createBrowser(server.issuer).get(pushedUrl(uri))
    expect([page.status, page.location]).toEqual([400, undefined])
  })

  test('may be reloaded while it is under way, and comes to one code', async () => {
    const { uri } = await pushGood()
    const browser = createBrowser(server.issuer)
    await browser.get(pushedUrl(uri))
    const first = await finish(pushedUrl(uri), browser)
    expect(first.get('code')).not.toBeNull()
    const second = await finish(pushedUrl(uri), browser)
    expect(second.get('code')).toBeNull()
  })

  test('comes to one code where eight answer at once', async () => {
    const { uri } = await pushGood()
    const ready = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const browser = createBrowser(server.issuer)
        const page = await signIn(browser, await browser.get(pushedUrl(uri)))
        expect(page.text).toContain('/consent"')
        return { browser, page }
      }),
    )
    const ends = await Promise.all(
      ready.map(({ browser, page }) => browser.submit(page, '/consent')),
    )
    const answers = ends.map(readAnswer)
    expect(answers.filter((answer) => answer.has('code'))).toHaveLength(1)
    expect(answers.filter((answer) => answer.has('error'))).toHaveLength(7)
  })

  test('comes to one code also where somebody takes long, and old rows are removed meanwhile', async () => {
    const { uri } = await pushGood()
    const browsers = [createBrowser(server.issuer), createBrowser(server.issuer)]
    const pages = await Promise.all(
      browsers.map(async (browser) => signIn(browser, await browser.get(pushedUrl(uri)))),
    )
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    await stores.models.purge(systemClock.now() + 300_000, 10_000)
    const codes: (string | null)[] = []
    for (const [index, browser] of browsers.entries()) {
      const page = pages[index]
      if (page) codes.push(readAnswer(await browser.submit(page, '/consent')).get('code'))
    }
    expect(codes.map((code) => code !== null)).toEqual([true, false])
  })
})

test('RFC 9126 §5: the metadata names the endpoint', async () => {
  const response = await fetch(`${server.issuer}/.well-known/oauth-authorization-server`)
  const metadata = (await response.json()) as Record<string, unknown>
  expect(metadata['pushed_authorization_request_endpoint']).toBe(`${server.issuer}/request`)
  expect(metadata['require_pushed_authorization_requests']).toBeUndefined()
})

describe('RFC 9126 §6: a client that has to push', () => {
  test('is refused without', async () => {
    const url = authorizationUrl(server.issuer, makePkce().challenge, { client_id: 'pushing' })
    const page = await createBrowser(server.issuer).get(url)
    expect(readAnswer(page).get('error')).toBe('invalid_request')
  })

  test('is served with', async () => {
    const { body } = await push(
      describeRequest(makePkce().challenge, { client_id: 'pushing' }),
      asPushing,
    )
    const query = { client_id: 'pushing', request_uri: String(body['request_uri']) }
    const answer = await finish(pushedUrl(query.request_uri, query))
    expect(answer.get('code')).not.toBeNull()
  })
})

describe('RFC 9449 §10.1: a proof beside a pushed request', () => {
  const redeem = (code: string, verifier: string, headers: Record<string, string>) =>
    requestToken(
      server.issuer,
      {
        grant_type: 'authorization_code',
        code,
        code_verifier: verifier,
        redirect_uri: REDIRECT,
      },
      { ...asWeb, ...headers },
    )

  test('makes the code good for that key alone', async () => {
    const [key, other] = [await createProofClient(), await createProofClient()]
    for (const [client, status] of [
      [other, 400],
      [undefined, 400],
      [key, 200],
    ] as const) {
      const { verifier, challenge } = makePkce()
      const dpop = prove(key, server.issuer, '/request')
      const { body } = await push(describeRequest(challenge), { ...asWeb, dpop })
      const answer = await finish(pushedUrl(String(body['request_uri'])))
      const proof = client ? { dpop: prove(client, server.issuer) } : {}
      const redeemed = await redeem(answer.get('code') ?? '', verifier, proof)
      expect(redeemed.status).toBe(status)
    }
  })

  test('is refused where it is for another page, another key, or comes twice', async () => {
    const [key, other] = [await createProofClient(), await createProofClient()]
    const request = describeRequest(makePkce().challenge)
    const dpop = prove(key, server.issuer, '/request')
    const answers = [
      await push(request, { ...asWeb, dpop: prove(key, server.issuer, '/token') }),
      await push({ ...request, dpop_jkt: other.thumbprint }, { ...asWeb, dpop }),
      await push(request, { ...asWeb, dpop }),
    ]
    expect(answers.map(refusal)).toEqual([
      [400, 'invalid_dpop_proof'],
      [400, 'invalid_request'],
      [400, 'invalid_dpop_proof'],
    ])
  })
})

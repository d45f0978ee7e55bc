import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createBrowser, type Page } from '../support/browser.ts'
import { introspect, post, withClients } from '../support/endpoints.ts'
import {
  authorizationUrl,
  basic,
  decodeJwt,
  makePkce,
  requestToken,
  signIn,
} from '../support/flow.ts'
import {
  BILLING,
  NOTES,
  REDIRECT,
  startServer,
  WEB_SECRET,
  type TestServer,
} from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc9396-rar.md. */

const PAYMENT = {
  type: 'payment',
  actions: ['initiate', 'status'],
  amount: 12.5,
  currency: 'EUR',
  creditor: 'Merchant & <Sons>',
}
const OTHER = { ...PAYMENT, amount: 99 }
const SHARING = { type: 'https://notes.example/sharing', notebook: 'Holidays' }
const asPayer = { authorization: basic('payer', WEB_SECRET) }

function withTypes(config: ConfigInput): ConfigInput {
  const resources = (config.resources ?? []).map((resource) => {
    if (resource.identifier === NOTES) {
      const sharing = {
        description: 'Share a notebook',
        scope: 'notes:write',
        members: { notebook: { name: 'Notebook', type: 'text' as const } },
      }
      return { ...resource, authorizationDetails: { [SHARING.type]: sharing } }
    }
    const payment = {
      description: 'Pay a bill',
      scope: 'billing:read',
      members: {
        creditor: { name: 'To', type: 'text' as const },
        amount: { name: 'Amount', type: 'number' as const },
        currency: { name: 'Currency', type: 'enum' as const, values: ['EUR', 'USD'] },
        actions: { name: 'What', type: 'list' as const, values: ['initiate', 'status', 'cancel'] },
        note: { name: 'Note', type: 'text' as const, required: false },
      },
    }
    return { ...resource, authorizationDetails: { payment } }
  })
  const roles = {
    ...config.roles,
    editor: { scopes: ['notes:read', 'notes:write', 'billing:read'] },
  }
  const payer = {
    id: 'payer',
    secret: { env: 'WEB_SECRET' },
    redirectUris: [REDIRECT],
    scopes: ['openid', 'offline_access', 'billing:read', 'notes:read', 'notes:write'],
    authorizationDetails: ['payment', SHARING.type],
    grants: [
      'authorization_code' as const,
      'refresh_token' as const,
      'client_credentials' as const,
    ],
    introspects: [BILLING],
  }
  return withClients(payer, { ...payer, id: 'own', firstParty: true })({
    ...config,
    resources,
    roles,
  })
}

let server: TestServer
beforeAll(async () => {
  server = await startServer(withTypes)
})
afterAll(() => server[Symbol.asyncDispose]())

type Request = Readonly<Record<string, string | readonly string[] | undefined>>

const json = (...details: readonly object[]) => JSON.stringify(details)

/** Signs in, and answers the page that comes after. */
async function ask(request: Request, who: 'alice' | 'bob' = 'alice') {
  const { verifier, challenge } = makePkce()
  const browser = createBrowser(server.issuer)
  const given = { client_id: 'payer', scope: undefined, ...request }
  const page = await browser.get(authorizationUrl(server.issuer, challenge, given))
  const next = page.text.includes('/sign-in"') ? await signIn(browser, page, who) : page
  return { verifier, browser, page: next }
}

async function obtain(request: Request, more: Record<string, string> = {}, client = 'payer') {
  const { verifier, browser, page } = await ask({ client_id: client, ...request })
  const end = page.text.includes('/consent"') ? await browser.submit(page, '/consent') : page
  const code = read(end).get('code') ?? ''
  const { status, body } = await requestToken(
    server.issuer,
    {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: REDIRECT,
      ...more,
    },
    { authorization: basic(client, WEB_SECRET) },
  )
  const details = (body as { authorization_details?: unknown }).authorization_details
  return { status, body, details }
}

const read = ({ location }: Page) => new URL(location ?? 'https://x.example/').searchParams

const claimsOf = (token: string) => decodeJwt(token).claims

const refreshPayer = async (token: string, more: Record<string, string> = {}) => {
  const form = { grant_type: 'refresh_token', refresh_token: token, ...more }
  const { status, body } = await requestToken(server.issuer, form, asPayer)
  const details = (body as { authorization_details?: unknown }).authorization_details
  return { status, body, details }
}

test('§10 the metadata name the types', async () => {
  const response = await fetch(`${server.issuer}/.well-known/oauth-authorization-server`)
  expect(await response.json()).toMatchObject({
    authorization_details_types_supported: [SHARING.type, 'payment'],
  })
  await using plain = await startServer()
  const without = await fetch(`${plain.issuer}/.well-known/oauth-authorization-server`)
  expect(await without.json()).not.toHaveProperty('authorization_details_types_supported')
})

describe('§4 the consent page', () => {
  test('says in words what is asked for, and holds it apart from what it is made of', async () => {
    const { page } = await ask({ authorization_details: json(PAYMENT) })
    const words = page.text.replaceAll(/<[^>]*>|\s+/g, ' ').replaceAll(/ +/g, ' ')
    expect(words).toContain('Billing : Pay a bill')
    expect(words).toContain('To Merchant &amp; &lt;Sons&gt; Amount 12.5 Currency EUR')
    expect(words).toContain('What initiate, status')
    expect(words).not.toContain('Note')
    expect(page.text).not.toContain('<Sons>')
  })

  test('asks each time, a client of the operator as well', async () => {
    for (const client_id of ['payer', 'own']) {
      const { page, browser } = await ask({ client_id, authorization_details: json(PAYMENT) })
      expect(page.text).toContain('Pay a bill')
      await browser.submit(page, '/consent')
      const { challenge } = makePkce()
      const again = { client_id, scope: undefined, authorization_details: json(PAYMENT) }
      const next = await browser.get(authorizationUrl(server.issuer, challenge, again))
      expect(next.text).toContain('Pay a bill')
      const silent = { ...again, prompt: 'none' }
      const { location } = await browser.get(authorizationUrl(server.issuer, challenge, silent))
      expect(location).toContain('error=consent_required')
    }
  })

  test('leads to no code where the person declines', async () => {
    const { page, browser } = await ask({ authorization_details: json(PAYMENT) })
    const end = await browser.submit(page, '/cancel')
    expect([read(end).get('error'), read(end).get('code')]).toEqual(['access_denied', null])
  })
})

describe('§6, §7, §9 what was granted', () => {
  test('is in the answer, in the token, and where it is introspected', async () => {
    const { status, body, details } = await obtain({ authorization_details: json(PAYMENT, OTHER) })
    expect([status, details]).toEqual([200, [PAYMENT, OTHER]])
    expect(claimsOf(body.access_token)).toMatchObject({
      aud: BILLING,
      scope: 'billing:read',
      authorization_details: [PAYMENT, OTHER],
    })
    const told = await introspect(server.issuer, body.access_token, asPayer)
    expect(told.body).toMatchObject({ active: true, authorization_details: [PAYMENT, OTHER] })
    const refreshToken = await introspect(server.issuer, body.refresh_token, asPayer)
    expect(refreshToken.body).toMatchObject({
      active: true,
      authorization_details: [PAYMENT, OTHER],
    })
  })

  test('is not there in a request that has not asked for it, though it was granted before', async () => {
    const first = await obtain({ authorization_details: json(PAYMENT) })
    expect(first.details).toEqual([PAYMENT])
    const { details, body } = await obtain({ scope: 'billing:read' })
    expect([details, claimsOf(body.access_token)['authorization_details']]).toEqual([
      undefined,
      undefined,
    ])
  })

  test('may be less in the token, and never more, at the code and at each refresh', async () => {
    const request = { authorization_details: json(PAYMENT, OTHER) }
    const { details, body } = await obtain(request, { authorization_details: json(OTHER) })
    expect(details).toEqual([OTHER])
    const both = await refreshPayer(body.refresh_token)
    expect(both.details).toEqual([PAYMENT, OTHER])
    const one = await refreshPayer(both.body.refresh_token, {
      authorization_details: json(PAYMENT),
    })
    expect(one.details).toEqual([PAYMENT])
    for (const more of [
      json({ ...PAYMENT, amount: 1000 }),
      json(PAYMENT, { ...OTHER, note: 'x' }),
      json(null as never),
      '{}',
      'x',
    ]) {
      const { status, body: refused } = await refreshPayer(one.body.refresh_token, {
        authorization_details: more,
      })
      expect([more, status, refused.error]).toEqual([more, 400, 'invalid_authorization_details'])
    }
    const elsewhere = await refreshPayer(one.body.refresh_token, {
      authorization_details: json(SHARING),
    })
    expect(elsewhere.body.error).toBe('invalid_target')
    // A refusal uses nothing up.
    expect((await refreshPayer(one.body.refresh_token)).details).toEqual([PAYMENT, OTHER])
  })

  test('goes with its scope: a token without that has none of it', async () => {
    const scope = 'openid offline_access billing:read'
    const { body } = await obtain({ scope, authorization_details: json(PAYMENT) })
    const { body: narrowed, details } = await refreshPayer(body.refresh_token, { scope: 'openid' })
    expect(details).toBeUndefined()
    expect(narrowed).not.toHaveProperty('authorization_details')
  })

  test('goes to its own API: of two, each is told its own', async () => {
    const request = { resource: [NOTES, BILLING], authorization_details: json(PAYMENT, SHARING) }
    const { body, details } = await obtain(request, { resource: BILLING })
    expect([details, claimsOf(body.access_token)['aud']]).toEqual([[PAYMENT], BILLING])
    const other = await refreshPayer(body.refresh_token, { resource: NOTES })
    expect(other.details).toEqual([SHARING])
  })

  test('cannot be had without a person', async () => {
    const form = {
      grant_type: 'client_credentials',
      scope: 'billing:read',
      authorization_details: json(PAYMENT),
    }
    const { status, body } = await requestToken(server.issuer, form, asPayer)
    expect([status, body.error]).toEqual([400, 'invalid_authorization_details'])
  })
})

describe('the rights of people and clients', () => {
  test('hold for details as for the scope that they go with', async () => {
    const { page } = await ask({ authorization_details: json(PAYMENT) }, 'bob')
    expect(read(page).get('error')).toBe('access_denied')
    const request = {
      scope: 'notes:read',
      resource: [NOTES],
      authorization_details: json(SHARING),
    }
    const { page: consent } = await ask(request, 'bob')
    expect(consent.text).not.toContain('Share a notebook')
    expect(consent.text).toContain('Read your notes')
  })

  test('a type that a client is not declared for it may not ask for', async () => {
    const { page } = await ask({ client_id: 'web', authorization_details: json(PAYMENT) })
    expect(read(page).get('error')).toBe('invalid_authorization_details')
  })

  test('what was declared otherwise since is not in the next token', async () => {
    await using first = await startServer(withTypes)
    const { verifier, challenge } = makePkce()
    const browser = createBrowser(first.issuer)
    const given = { client_id: 'payer', scope: undefined, authorization_details: json(PAYMENT) }
    const page = await signIn(
      browser,
      await browser.get(authorizationUrl(first.issuer, challenge, given)),
    )
    const end = await browser.submit(page, '/consent')
    const { body } = await requestToken(
      first.issuer,
      {
        grant_type: 'authorization_code',
        code: read(end).get('code') ?? '',
        code_verifier: verifier,
        redirect_uri: REDIRECT,
      },
      asPayer,
    )
    await using second = await first.startAnother({}, (config) =>
      withClients({ id: 'payer', authorizationDetails: [] })(config),
    )
    const form = { grant_type: 'refresh_token', refresh_token: body.refresh_token }
    const next = await requestToken(second.issuer, form, asPayer)
    expect([next.status, Object.keys(next.body).includes('authorization_details')]).toEqual([
      200,
      false,
    ])
  })
})

describe('§5 a request is refused', () => {
  const long = Array.from({ length: 10 }, () => ({ ...PAYMENT, creditor: 'x'.repeat(190) }))
  const many = Array.from({ length: 11 }, (_, index) => ({ ...SHARING, notebook: `n${index}` }))
  test.each<[string, string]>([
    ['for what is no JSON', 'x'],
    ['for what is no list', JSON.stringify(PAYMENT)],
    ['for a list of texts', '["payment"]'],
    ['without a type', json({ amount: 1 })],
    ['with a type of nobody', json({ ...PAYMENT, type: 'x' })],
    ['with a type that every object has', json({ ...PAYMENT, type: 'constructor' })],
    ['with an unknown member', json({ ...PAYMENT, more: 1 })],
    ['with a member that every object has', `[{"type":"payment","__proto__":{"amount":1}}]`],
    ['with a location, which is no member of the type', json({ ...PAYMENT, locations: ['x'] })],
    ['without a member that is required', json({ ...PAYMENT, amount: undefined })],
    ['with a text for a number', json({ ...PAYMENT, amount: '12.50' })],
    ['with no value of the choice', json({ ...PAYMENT, currency: 'GBP' })],
    ['with a list for a choice', json({ ...PAYMENT, currency: ['EUR'] })],
    ['with a choice for a list', json({ ...PAYMENT, actions: 'initiate' })],
    ['with an empty list', json({ ...PAYMENT, actions: [] })],
    ['with one twice in a list', json({ ...PAYMENT, actions: ['status', 'status'] })],
    ['with a number for a text', json({ ...PAYMENT, creditor: 1 })],
    ['with a text of several lines', json({ ...PAYMENT, creditor: 'A\nAmount 1' })],
    ['with a text that turns around', json({ ...PAYMENT, creditor: 'A \u202E 01' })],
    ['with a text without an end', json({ ...PAYMENT, creditor: 'x'.repeat(201) })],
    ['that is too large', json(...long)],
    [
      'that is too large in UTF-8',
      json(
        { ...PAYMENT, creditor: '書'.repeat(200), note: '書'.repeat(200) },
        { ...PAYMENT, creditor: '書'.repeat(200) },
        { ...PAYMENT, creditor: '書'.repeat(50) },
      ),
    ],
    ['with too many', json(...many)],
  ])('%s', async (_what, authorization_details) => {
    const { page } = await ask({ authorization_details })
    expect(read(page).get('error')).toBe('invalid_authorization_details')
    const { challenge } = makePkce()
    const form = {
      client_id: 'payer',
      response_type: 'code',
      redirect_uri: REDIRECT,
      code_challenge: challenge,
      code_challenge_method: 'S256',
      authorization_details,
    }
    const pushed = await post(server.issuer, '/request', form, asPayer)
    expect([pushed.status, pushed.body['error']]).toEqual([400, 'invalid_authorization_details'])
  })

  test('but not for an empty list, which asks for nothing', async () => {
    const { page } = await ask({ scope: 'notes:read', authorization_details: '[]' })
    expect(page.text).toContain('Read your notes')
  })

  test('§2.2, RFC 8707 whose details are for APIs that it has not named', async () => {
    const { page } = await ask({ authorization_details: json(PAYMENT, SHARING) })
    expect(read(page).get('error')).toBe('invalid_target')
  })
})

test('RFC 9126, RFC 9101 details that were pushed are asked for in words', async () => {
  const { challenge } = makePkce()
  const form = {
    client_id: 'payer',
    response_type: 'code',
    redirect_uri: REDIRECT,
    code_challenge: challenge,
    code_challenge_method: 'S256',
    authorization_details: json(PAYMENT),
  }
  const pushed = await post(server.issuer, '/request', form, asPayer)
  expect(pushed.status).toBe(201)
  const browser = createBrowser(server.issuer)
  const query = { client_id: 'payer', request_uri: String(pushed.body['request_uri']) }
  const first = await browser.get(`${server.issuer}/auth?${new URLSearchParams(query).toString()}`)
  expect((await signIn(browser, first)).text).toContain('Pay a bill')
})

import { createHash } from 'node:crypto'
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, type Page } from '../support/browser.ts'
import { askUserinfo, withClients } from '../support/endpoints.ts'
import {
  authorizationUrl,
  basic,
  makePkce,
  requestToken,
  signIn,
  type AuthorizationRequest,
} from '../support/flow.ts'
import { REDIRECT, startServer, WEB_SECRET, type TestServer } from '../support/server.ts'
import { secondsNow } from '../support/signing.ts'

/* The tables of the requirements are in docs/conformance/response-modes.md. */

let server: TestServer
beforeAll(async () => {
  const app = {
    secret: { env: 'WEB_SECRET' },
    redirectUris: [REDIRECT],
    scopes: ['openid', 'profile'],
    firstParty: true,
  }
  server = await startServer(
    withClients(
      { id: 'app', ...app },
      { id: 'es', ...app, algorithms: { idToken: 'ES256', response: 'ES256', userinfo: 'ES256' } },
      { id: 'strict', ...app, signedResponses: 'required' },
    ),
  )
})
afterAll(() => server[Symbol.asyncDispose]())

/** Signs in, and answers where the browser has come to with the verifier of the code. */
async function ask(request: AuthorizationRequest) {
  const { verifier, challenge } = makePkce()
  const browser = createBrowser(server.issuer)
  const given = { client_id: 'app', scope: 'openid profile', ...request }
  const page = await browser.get(authorizationUrl(server.issuer, challenge, given))
  return { verifier, page: page.text.includes('/sign-in"') ? await signIn(browser, page) : page }
}

const UNESCAPED: Readonly<Record<string, string>> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#39;': "'",
}

/** The form of a page that posts to the client, with what is in it. */
function readForm({ text }: Page) {
  const [, action] = /<form method="post" action="([^"]*)"/.exec(text) ?? []
  const inputs = [...text.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g)]
  const unescape = (value = '') =>
    value.replaceAll(/&(?:amp|lt|gt|quot|#39);/g, (mark) => UNESCAPED[mark] ?? mark)
  return {
    action: unescape(action),
    fields: Object.fromEntries(inputs.map(([, name = '', value]) => [name, unescape(value)])),
  }
}

function read(place: 'query' | 'fragment', { location = '' }: Page): URLSearchParams {
  const { searchParams, hash } = new URL(location)
  return place === 'query' ? searchParams : new URLSearchParams(hash.slice(1))
}

async function verify(response: string, audience = 'app') {
  const keys = createRemoteJWKSet(new URL(`${server.issuer}/jwks`))
  return jwtVerify(response, keys, { issuer: server.issuer, audience })
}

const redeem = (code: unknown, verifier: string, client = 'app') =>
  requestToken(
    server.issuer,
    {
      grant_type: 'authorization_code',
      code: String(code),
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    },
    { authorization: basic(client, WEB_SECRET) },
  )

test('the metadata name every mode, and what is signed with', async () => {
  const response = await fetch(`${server.issuer}/.well-known/openid-configuration`)
  expect(await response.json()).toMatchObject({
    response_modes_supported: [
      'form_post',
      'fragment',
      'query',
      'jwt',
      'query.jwt',
      'fragment.jwt',
      'form_post.jwt',
    ],
    authorization_signing_alg_values_supported: ['ES256', 'RS256'],
    userinfo_signing_alg_values_supported: ['ES256', 'RS256'],
    id_token_signing_alg_values_supported: ['ES256', 'RS256'],
  })
})

describe('Form Post §2: response_mode=form_post', () => {
  test('answers a form that posts the response to the client, and nothing in an address', async () => {
    const { page, verifier } = await ask({ response_mode: 'form_post', state: 'a "state" <&\'>' })
    const { action, fields } = readForm(page)
    expect([page.status, page.location, action]).toEqual([200, undefined, REDIRECT])
    expect(page.headers.get('cache-control')).toContain('no-store')
    expect(Object.keys(fields).toSorted()).toEqual(['code', 'iss', 'state'])
    expect([fields['state'], fields['iss']]).toEqual(['a "state" <&\'>', server.issuer])
    expect((await redeem(fields['code'], verifier)).status).toBe(200)
  })

  test('is sent by itself, by the one script that the policy lets run, or by a button', async () => {
    const { page } = await ask({ response_mode: 'form_post' })
    const scripts = [...page.text.matchAll(/<script[^>]*>([^<]*)<\/script>/g)]
    expect(scripts).toHaveLength(1)
    expect(scripts[0]?.[1]).toContain('document.forms[0].submit()')
    expect(page.text.match(/<form/g)).toHaveLength(1)
    const hash = createHash('sha256')
      .update(scripts[0]?.[1] ?? '')
      .digest('base64')
    const policy = page.headers.get('content-security-policy') ?? ''
    expect(policy).toContain(`script-src 'sha256-${hash}'`)
    expect(policy).not.toMatch(/unsafe|form-action/)
    expect(page.text).not.toContain('<noscript')
    expect(page.text).toMatch(/<button type="submit" autofocus>Continue to <bdi>app<\/bdi>/)
  })

  test('tells the client of a refusal in the same way', async () => {
    const { page } = await ask({ response_mode: 'form_post', prompt: 'none' })
    const { action, fields } = readForm(page)
    expect([page.status, action, fields['error']]).toEqual([400, REDIRECT, 'login_required'])
    expect(page.text).not.toContain('You are signed in')
  })

  test('goes nowhere that the client is not registered for', async () => {
    const { page } = await ask({
      response_mode: 'form_post',
      redirect_uri: 'https://attacker.example/',
    })
    expect([page.status, readForm(page).action]).toEqual([400, ''])
  })

  test('is not mixed up with a state that looks like the page', async () => {
    const state = '"/><noscript><input type="hidden" name="iss" value="x"/>'
    const { page } = await ask({ response_mode: 'form_post', state })
    const { fields } = readForm(page)
    expect([fields['state'], fields['iss']]).toEqual([state, server.issuer])
  })
})

describe('JARM §2.3: the response as a JWT', () => {
  test.each([
    ['jwt', 'query'],
    ['query.jwt', 'query'],
    ['fragment.jwt', 'fragment'],
  ] as const)('response_mode=%s puts it into the %s', async (response_mode, place) => {
    const { page, verifier } = await ask({ response_mode, state: 'mine' })
    const answer = read(place, page)
    expect([...answer.keys()]).toEqual(['response'])
    const { payload } = await verify(answer.get('response') ?? '')
    expect(Object.keys(payload).toSorted()).toEqual(['aud', 'code', 'exp', 'iss', 'state'])
    expect(payload['state']).toBe('mine')
    expect((await redeem(payload['code'], verifier)).status).toBe(200)
  })

  test('response_mode=form_post.jwt posts it', async () => {
    const { page, verifier } = await ask({ response_mode: 'form_post.jwt' })
    const { action, fields } = readForm(page)
    expect([action, Object.keys(fields)]).toEqual([REDIRECT, ['response']])
    const { payload } = await verify(fields['response'] ?? '')
    expect((await redeem(payload['code'], verifier)).status).toBe(200)
  })

  test('§2.1 lives for ten minutes at most, and is for its client alone', async () => {
    const { page } = await ask({ response_mode: 'jwt' })
    const response = read('query', page).get('response') ?? ''
    const { payload } = await verify(response)
    expect((payload.exp ?? Infinity) - secondsNow()).toBeLessThanOrEqual(600)
    await expect(verify(response, 'es')).rejects.toThrow('aud')
  })

  test('§2.1, §4.2 says that a request was refused, signed as well', async () => {
    const { page } = await ask({ response_mode: 'jwt', prompt: 'none', state: 'mine' })
    const answer = read('query', page)
    expect([...answer.keys()]).toEqual(['response'])
    const { payload } = await verify(answer.get('response') ?? '')
    expect(payload).toMatchObject({ error: 'login_required', state: 'mine' })
    expect(payload).not.toHaveProperty('code')
  })

  test('§3 is signed with what the client is registered for, RS256 otherwise', async () => {
    for (const [client_id, alg] of [
      ['app', 'RS256'],
      ['es', 'ES256'],
    ] as const) {
      const { page } = await ask({ client_id, response_mode: 'jwt' })
      const response = read('query', page).get('response') ?? ''
      expect(decodeProtectedHeader(response).alg).toBe(alg)
      await verify(response, client_id)
    }
  })

  test('of a client that has to have it is given in no other way', async () => {
    for (const response_mode of [undefined, 'query', 'fragment', 'form_post']) {
      const { page } = await ask({ client_id: 'strict', response_mode })
      expect(`${page.location} ${page.text}`).toContain('invalid_request')
      expect(`${page.location} ${page.text}`).not.toContain('code=')
    }
    const { page } = await ask({ client_id: 'strict', response_mode: 'jwt' })
    await verify(read('query', page).get('response') ?? '', 'strict')
  })

  test.each(['web_message', 'web_message.jwt', 'x', 'jwt.query'])(
    'is not given by response_mode=%s',
    async (response_mode) => {
      const { page } = await ask({ response_mode })
      expect(page.location).toContain('error=unsupported_response_mode')
    },
  )
})

describe('OpenID Connect Core §5.3.2: what is signed for a client to read', () => {
  async function obtain(client: string) {
    const { page, verifier } = await ask({ client_id: client })
    const { body } = await redeem(read('query', page).get('code'), verifier, client)
    return body
  }

  test('an ID token with the algorithm of its client', async () => {
    for (const [client, alg] of [
      ['app', 'RS256'],
      ['es', 'ES256'],
    ] as const) {
      const { id_token } = await obtain(client)
      expect(decodeProtectedHeader(id_token).alg).toBe(alg)
      await verify(id_token, client)
    }
  })

  test('userinfo as a JWT for its client, and as JSON for one that has not asked', async () => {
    const { access_token, id_token } = await obtain('es')
    const response = await fetch(`${server.issuer}/userinfo`, {
      headers: { authorization: `Bearer ${access_token}` },
    })
    expect(response.headers.get('content-type')).toContain('application/jwt')
    const { payload, protectedHeader } = await verify(await response.text(), 'es')
    expect([protectedHeader.alg, payload['name']]).toEqual(['ES256', 'Alice Adams'])
    expect(payload.sub).toBe((await verify(id_token, 'es')).payload.sub)
    const plain = await obtain('app')
    const { headers } = await askUserinfo(server.issuer, plain.access_token)
    expect(headers.get('content-type')).toContain('application/json')
  })
})

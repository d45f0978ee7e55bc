import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import {
  askUserinfo,
  introspect,
  post,
  prove,
  withClients,
  type Answer,
} from '../support/endpoints.ts'
import { authorize, basic, decodeJwt } from '../support/flow.ts'
import { createProofClient, makeProof, type ProofChange } from '../support/proof.ts'
import { REDIRECT, SERVICE_SECRET, startServer, type TestServer } from '../support/server.ts'

/* The table of the requirements is in docs/conformance/rfc9449-dpop.md. */

const asService = { authorization: basic('service', SERVICE_SECRET) }
const asBound = { authorization: basic('bound', SERVICE_SECRET) }
const SPA = 'https://spa.example/'
const key = await createProofClient()
const other = await createProofClient()

const change = withClients(
  { id: 'spa', scopes: ['openid', 'notes:read'] },
  {
    id: 'bound',
    dpop: 'required',
    grants: ['authorization_code', 'refresh_token', 'client_credentials'],
    redirectUris: [REDIRECT],
    secret: { env: 'SERVICE_SECRET' },
    scopes: ['openid', 'notes:read'],
  },
)

let server: TestServer
beforeAll(async () => {
  server = await startServer(change)
})
afterAll(() => server[Symbol.asyncDispose]())

type Headers = Readonly<Record<string, string>>

function askAsService(headers: Headers): Promise<Answer> {
  const form = { grant_type: 'client_credentials', scope: 'notes:read' }
  return post(server.issuer, '/token', form, { ...asService, ...headers })
}

const outcome = ({ status, body }: Answer) =>
  status === 200 ? String(body['token_type']) : `${status} ${String(body['error'])}`

async function askWith(proof: string): Promise<string> {
  return outcome(await askAsService({ dpop: proof }))
}

/** What a code of the public client comes to; `headers` carries the proof. */
async function redeemAsSpa(headers: Headers, request: Record<string, string> = {}) {
  const { code, verifier, answer } = await authorize(server.issuer, {
    client_id: 'spa',
    redirect_uri: SPA,
    ...request,
  })
  if (code === '') throw new Error(`refused: ${answer.toString()}`)
  const form = {
    grant_type: 'authorization_code',
    client_id: 'spa',
    code,
    code_verifier: verifier,
    redirect_uri: SPA,
  }
  return post(server.issuer, '/token', form, headers)
}

function refreshAsSpa(token: unknown, headers: Headers) {
  const form = { grant_type: 'refresh_token', client_id: 'spa', refresh_token: String(token) }
  return post(server.issuer, '/token', form, headers)
}

const now = () => Math.floor(systemClock.now() / 1000)

describe('RFC 9449 §4.3: a proof', () => {
  test('that is good is taken', async () => {
    expect(await askWith(prove(key, server.issuer))).toBe('DPoP')
  })

  test.each([
    ['with a query in htu', '/token?x=y', 0],
    ['with a fragment in htu', '/token#x', 0],
    ['from a clock four minutes behind', '/token', -240],
    ['from a clock four minutes ahead', '/token', 240],
  ])('%s is taken', async (_case, path, seconds) => {
    const proof = prove(key, server.issuer, path, { claims: { iat: now() + seconds } })
    expect(await askWith(proof)).toBe('DPoP')
  })

  test.each<[string, ProofChange]>([
    ['of another type', { header: { typ: 'jwt' } }],
    ['without a type', { header: { typ: undefined } }],
    ['that is not signed', { header: { alg: 'none' } }],
    ['of an algorithm with a shared secret', { header: { alg: 'HS256' } }],
    ['of an algorithm that is not offered', { header: { alg: 'ES512' } }],
    ['without a key', { header: { jwk: undefined } }],
    ['that another key has signed', { header: { jwk: other.jwk } }],
    ['that shows a private key', { header: { jwk: { ...key.jwk, d: key.jwk.x } } }],
    ['for another method', { claims: { htm: 'GET' } }],
    ['for a method in small letters', { claims: { htm: 'post' } }],
    ['without a method', { claims: { htm: undefined } }],
    ['for another host', { claims: { htu: 'https://other.example/token' } }],
    ['for another path', { claims: { htu: '{issuer}/userinfo' } }],
    ['for no URL', { claims: { htu: 'token' } }],
    ['without a URL', { claims: { htu: undefined } }],
    ['without an id', { claims: { jti: undefined } }],
    ['with an empty id', { claims: { jti: '' } }],
    ['without a time', { claims: { iat: undefined } }],
    ['with a time that is text', { claims: { iat: String(now()) } }],
    ['with a nonce that is none', { claims: { nonce: 7 } }],
  ])('%s is refused', async (_case, { claims = {}, header }) => {
    const { htu } = claims
    const at = typeof htu === 'string' ? { htu: htu.replace('{issuer}', server.issuer) } : {}
    const proof = prove(key, server.issuer, '/token', {
      claims: { ...claims, ...at },
      ...(header ? { header } : {}),
    })
    expect(await askWith(proof)).toBe('400 invalid_dpop_proof')
  })

  test.each([['x'], ['a.b.c'], ['e30.e30.e30']])(
    'that is no proof (%s) is refused',
    async (text) => {
      expect(await askWith(text)).toBe('400 invalid_dpop_proof')
    },
  )

  test('beside another one is refused', async () => {
    const [one, two] = [prove(key, server.issuer), prove(key, server.issuer)]
    expect(await askWith(`${one}, ${two}`)).toBe('400 invalid_dpop_proof')
  })

  test.each([-600, 600])('from a clock %i s off is told to use a nonce', async (seconds) => {
    const proof = prove(key, server.issuer, '/token', { claims: { iat: now() + seconds } })
    const answer = await askAsService({ dpop: proof })
    expect(outcome(answer)).toBe('400 use_dpop_nonce')
    const nonce = answer.headers.get('dpop-nonce') ?? ''
    const again = prove(key, server.issuer, '/token', { claims: { iat: now() + seconds, nonce } })
    expect(await askWith(again)).toBe('DPoP')
  })
})

describe('RFC 9449 §5: a proof binds', () => {
  test('the token of a service (§6.1)', async () => {
    const { body } = await askAsService({ dpop: prove(key, server.issuer) })
    const { claims } = decodeJwt(String(body['access_token']))
    expect(claims['cnf']).toEqual({ jkt: key.thumbprint })
  })

  test('the token of a code, and the refresh token of a public client', async () => {
    const { body } = await redeemAsSpa({ dpop: prove(key, server.issuer) })
    expect(body['token_type']).toBe('DPoP')
    expect(decodeJwt(String(body['access_token'])).claims['cnf']).toEqual({ jkt: key.thumbprint })
    const refreshToken = body['refresh_token']
    const refused = [
      await refreshAsSpa(refreshToken, {}),
      await refreshAsSpa(refreshToken, { dpop: prove(other, server.issuer) }),
    ]
    expect(refused.map(outcome)).toEqual(['400 invalid_grant', '400 invalid_grant'])
    const renewed = await refreshAsSpa(refreshToken, { dpop: prove(key, server.issuer) })
    expect(outcome(renewed)).toBe('DPoP')
    const again = await refreshAsSpa(renewed.body['refresh_token'], {
      dpop: prove(other, server.issuer),
    })
    expect(outcome(again)).toBe('400 invalid_grant')
  })

  test('not the refresh token of a client that proves who it is by its secret', async () => {
    const { code, verifier } = await authorize(server.issuer)
    const form = {
      grant_type: 'authorization_code',
      code,
      code_verifier: verifier,
      redirect_uri: REDIRECT,
    }
    const first = await post(server.issuer, '/token', form, {
      authorization: basic('web', 'a-web-client-secret-of-some-length'),
      dpop: prove(key, server.issuer),
    })
    expect(outcome(first)).toBe('DPoP')
    const renewed = await post(
      server.issuer,
      '/token',
      { grant_type: 'refresh_token', refresh_token: String(first.body['refresh_token']) },
      {
        authorization: basic('web', 'a-web-client-secret-of-some-length'),
        dpop: prove(other, server.issuer),
      },
    )
    const { claims } = decodeJwt(String(renewed.body['access_token']))
    expect(claims['cnf']).toEqual({ jkt: other.thumbprint })
  })

  test('nothing where there is none', async () => {
    const answer = await askAsService({})
    expect(outcome(answer)).toBe('Bearer')
    expect(decodeJwt(String(answer.body['access_token'])).claims).not.toHaveProperty('cnf')
  })

  test('and a refusal burns no code', async () => {
    const { code, verifier } = await authorize(server.issuer, {
      client_id: 'spa',
      redirect_uri: SPA,
    })
    const form = {
      grant_type: 'authorization_code',
      client_id: 'spa',
      code,
      code_verifier: verifier,
      redirect_uri: SPA,
    }
    const used = prove(key, server.issuer)
    expect(await askWith(used)).toBe('DPoP')
    // The engine keeps proofs apart by client: it is the same request twice that is refused.
    const first = await post(server.issuer, '/token', { ...form, code: 'wrong' }, { dpop: used })
    expect(outcome(first)).toBe('400 invalid_grant')
    const bad = prove(key, server.issuer, '/token', { claims: { htm: 'GET' } })
    expect(outcome(await post(server.issuer, '/token', form, { dpop: bad }))).toBe(
      '400 invalid_dpop_proof',
    )
    const good = await post(server.issuer, '/token', form, { dpop: prove(key, server.issuer) })
    expect(outcome(good)).toBe('DPoP')
  })
})

test('RFC 9449 §5.1: the metadata lists the algorithms of proofs', async () => {
  const response = await fetch(`${server.issuer}/.well-known/oauth-authorization-server`)
  expect(await response.json()).toMatchObject({
    dpop_signing_alg_values_supported: ['ES256', 'Ed25519', 'EdDSA'],
  })
})

describe('RFC 9449 §5.2: a client that has to prove a key', () => {
  const form = { grant_type: 'client_credentials', scope: 'notes:read' }
  const ask = (headers: Headers) => post(server.issuer, '/token', form, { ...asBound, ...headers })

  test('gets no token without a proof', async () => {
    expect(outcome(await ask({}))).toBe('400 invalid_grant')
  })

  test('is told a nonce, and gets its token with it (§8)', async () => {
    const first = await ask({ dpop: prove(key, server.issuer) })
    expect(outcome(first)).toBe('400 use_dpop_nonce')
    const nonce = first.headers.get('dpop-nonce') ?? ''
    const proof = prove(key, server.issuer, '/token', { claims: { nonce } })
    expect(outcome(await ask({ dpop: proof }))).toBe('DPoP')
  })

  test.each([['x'], [''], ['a'.repeat(43)]])('is refused with the nonce %j', async (nonce) => {
    const proof = prove(key, server.issuer, '/token', { claims: { nonce } })
    const answer = await ask({ dpop: proof })
    expect(outcome(answer)).toBe('400 use_dpop_nonce')
    expect(answer.headers.get('dpop-nonce')).toMatch(/^[\w-]{43}$/)
  })

  test('is refused with the nonce of another server', async () => {
    await using another = await startServer(change)
    const answer = await post(another.issuer, '/token', form, {
      ...asBound,
      dpop: prove(key, another.issuer),
    })
    const nonce = answer.headers.get('dpop-nonce') ?? ''
    expect(nonce).not.toBe('')
    const proof = prove(key, server.issuer, '/token', { claims: { nonce } })
    expect(outcome(await ask({ dpop: proof }))).toBe('400 use_dpop_nonce')
  })

  test('takes the nonce of one instance to another', async () => {
    await using second = await server.startAnother()
    const first = await ask({ dpop: prove(key, server.issuer) })
    const nonce = first.headers.get('dpop-nonce') ?? ''
    const proof = prove(key, second.issuer, '/token', { claims: { nonce } })
    const answer = await post(second.issuer, '/token', form, { ...asBound, dpop: proof })
    expect(outcome(answer)).toBe('DPoP')
  })
})

test('RFC 9449 §6.2: introspection says which key', async () => {
  const { body } = await askAsService({ dpop: prove(key, server.issuer) })
  const answer = await introspect(server.issuer, String(body['access_token']), asService)
  expect(answer.body).toMatchObject({
    active: true,
    token_type: 'DPoP',
    cnf: { jkt: key.thumbprint },
  })
})

describe('RFC 9449 §7: userinfo', () => {
  async function obtain(): Promise<string> {
    const { body } = await redeemAsSpa({ dpop: prove(key, server.issuer) })
    return String(body['access_token'])
  }
  const proofOf = (token: string, client = key, more: ProofChange = {}) =>
    makeProof(
      client,
      { method: 'GET', url: `${server.issuer}/userinfo`, accessToken: token },
      systemClock,
      more,
    )
  const ask = (token: string, dpop: string | undefined, scheme = 'DPoP') =>
    askUserinfo(server.issuer, token, {
      authorization: `${scheme} ${token}`,
      ...(dpop === undefined ? {} : { dpop }),
    })

  test('takes a bound token with its proof, once', async () => {
    const token = await obtain()
    const proof = proofOf(token)
    const answer = await ask(token, proof)
    expect([answer.status, answer.body['sub']]).toEqual([200, decodeJwt(token).claims['sub']])
    const replayed = await ask(token, proof)
    expect([replayed.status, replayed.body['error']]).toEqual([401, 'invalid_dpop_proof'])
    expect(replayed.headers.get('www-authenticate')).toContain('DPoP')
  })

  test('refuses it without, with the proof of another key, of another token, and of another page', async () => {
    const token = await obtain()
    const answers = [
      await ask(token, undefined),
      await ask(token, undefined, 'Bearer'),
      await ask(token, proofOf(token), 'Bearer'),
      await ask(token, proofOf(token, other)),
      await ask(token, proofOf(await obtain())),
      await ask(token, proofOf(token, key, { claims: { ath: undefined } })),
      await ask(token, prove(key, server.issuer)),
    ]
    expect(answers.map(({ status }) => status)).toEqual([400, 401, 400, 401, 401, 401, 401])
  })

  test('refuses a proof for a token that is bound to nothing', async () => {
    const { body } = await redeemAsSpa({})
    const token = String(body['access_token'])
    expect((await ask(token, proofOf(token))).status).toBe(401)
    expect((await ask(token, undefined, 'Bearer')).status).toBe(200)
  })
})

describe('RFC 9449 §8.2: a nonce', () => {
  test('comes with the answer, and need not be asked for again while it is used', async () => {
    const first = await askAsService({ dpop: prove(key, server.issuer) })
    const nonce = first.headers.get('dpop-nonce') ?? ''
    expect(nonce).toMatch(/^[\w-]{43}$/)
    const second = await askAsService({
      dpop: prove(key, server.issuer, '/token', { claims: { nonce } }),
    })
    expect([second.status, second.headers.get('dpop-nonce')]).toEqual([200, null])
  })

  test('may be read by scripts of a registered origin', async () => {
    const origin = 'https://spa.example'
    const preflight = await fetch(`${server.issuer}/token`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'dpop',
      },
    })
    expect(preflight.headers.get('access-control-allow-headers')).toBe('dpop')
    const answer = await redeemAsSpa({ origin, dpop: prove(key, server.issuer) })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('access-control-allow-origin')).toBe(origin)
    expect(answer.headers.get('access-control-expose-headers')).toContain('DPoP-Nonce')
  })
})

describe('RFC 9449 §10: a code that is for one key', () => {
  const request = { dpop_jkt: key.thumbprint }

  test('is redeemed by it', async () => {
    expect(outcome(await redeemAsSpa({ dpop: prove(key, server.issuer) }, request))).toBe('DPoP')
  })

  test('is refused without it, and to another', async () => {
    const answers = [
      await redeemAsSpa({}, request),
      await redeemAsSpa({ dpop: prove(other, server.issuer) }, request),
    ]
    expect(answers.map(outcome)).toEqual(['400 invalid_grant', '400 invalid_grant'])
  })
})

describe('RFC 9449 §11.1: a proof is used once', () => {
  test('one after the other', async () => {
    const proof = prove(key, server.issuer)
    expect([await askWith(proof), await askWith(proof)]).toEqual(['DPoP', '400 invalid_dpop_proof'])
  })

  test('by thirty at once', async () => {
    const proof = prove(key, server.issuer)
    const answers = await Promise.all(Array.from({ length: 30 }, () => askWith(proof)))
    expect(answers.toSorted()).toEqual([
      ...Array<string>(29).fill('400 invalid_dpop_proof'),
      'DPoP',
    ])
  })

  test('for as long as it could be used: also one from a clock that is ahead', async () => {
    const proof = prove(key, server.issuer, '/token', { claims: { iat: now() + 280 } })
    expect(await askWith(proof)).toBe('DPoP')
    await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
    await stores.models.purge(systemClock.now() + 570_000, 10_000)
    expect(await askWith(proof)).toBe('400 invalid_dpop_proof')
  })

  test('and another client may choose the same id', async () => {
    const claims = { jti: 'one' }
    const form = { grant_type: 'client_credentials', scope: 'notes:read' }
    const nonce =
      (
        await post(server.issuer, '/token', form, { ...asBound, dpop: prove(key, server.issuer) })
      ).headers.get('dpop-nonce') ?? ''
    const proof = prove(key, server.issuer, '/token', { claims: { ...claims, nonce } })
    expect(await askWith(proof)).toBe('DPoP')
    const answer = await post(server.issuer, '/token', form, { ...asBound, dpop: proof })
    expect(outcome(answer)).toBe('DPoP')
  })
})

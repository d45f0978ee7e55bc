import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  createIntrospectionVerifier,
  type IntrospectionOptions,
  type IssuerError,
} from '../../resource-server/index.ts'
import { judge } from '../support/introspection.ts'
import {
  API,
  createKey,
  fail,
  KEYS_PATH,
  sendJson,
  signToken,
  startIssuer,
  type IssuerKey,
  type TestIssuer,
} from '../support/issuer.ts'
import { createTurnableClock } from '../support/turnable-clock.ts'

/** RFC 9701, at the side of the API. */

const ALGORITHMS = ['ES256', 'ES384', 'ES512', 'RS256', 'PS256', 'EdDSA']
const TYPE = 'token-introspection+jwt'
const keys = new Map(
  await Promise.all(ALGORITHMS.map(async (alg) => [alg, await createKey(alg)] as const)),
)
const foreign = await createKey('ES256')

const clock = createTurnableClock()
let issuer: TestIssuer
beforeAll(async () => {
  issuer = await startIssuer(clock, ...keys.values())
  issuer.published.metadata['introspection_endpoint'] = `${issuer.url}/introspect`
})
afterAll(() => issuer[Symbol.asyncDispose]())

function keyOf(alg: string): IssuerKey {
  const key = keys.get(alg)
  if (!key) throw new Error(`no key for ${alg}`)
  return key
}

const now = () => Math.floor(clock.now() / 1000)
const said = (change: Record<string, unknown> = {}) => ({
  ...issuer.claims(),
  active: true,
  token_type: 'Bearer',
  ...change,
})
const claims = (change: Record<string, unknown> = {}) => ({
  iss: issuer.url,
  aud: 'the api',
  iat: now(),
  token_introspection: said(),
  ...change,
})

function answerBy(text: string, type = `application/${TYPE}`): void {
  issuer.answers.set('/introspect', (response) => {
    response.setHeader('content-type', type).end(text)
  })
}

function createVerifier(options: Partial<IntrospectionOptions> = {}) {
  return createIntrospectionVerifier({
    issuer: issuer.url,
    audience: API,
    clientId: 'the api',
    clientSecret: 'its secret',
    signedAnswers: true,
    cache: false,
    clock,
    ...options,
  })
}

async function ask(text: string, type?: string): Promise<string> {
  answerBy(text, type)
  await using verifier = createVerifier()
  return await judge(verifier, 'opaque')
}

/** Why an answer counts for nothing: the caller reads a 503, the operator the code. */
async function refuse(text: string, type?: string) {
  answerBy(text, type)
  await using verifier = createVerifier()
  const result = await verifier.verify('opaque')
  if (result.ok || result.reason.kind !== 'introspection_unavailable') return ['taken']
  return [result.reason.kind, (result.reason.cause as IssuerError).code]
}

describe('an answer that is signed', () => {
  test.each(ALGORITHMS)('with %s counts', async (alg) => {
    expect(await ask(signToken(keyOf(alg), claims(), { typ: TYPE }))).toBe('allowed')
  })

  test.each<[string, () => [Record<string, unknown>, Record<string, unknown>?]]>([
    ['of the whole name of its type', () => [{}, { typ: `application/${TYPE}` }]],
    ['for several, this API among them', () => [{ aud: ['another', 'the api'] }]],
    ['of a minute ago', () => [{ iat: now() - 60 }]],
    ['of a clock that is ahead a little', () => [{ iat: now() + 5 }]],
  ])('counts: one %s', async (_what, change) => {
    const [changed, header] = change()
    const text = signToken(keyOf('ES256'), claims(changed), { typ: TYPE, ...header })
    expect(await ask(text)).toBe('allowed')
  })

  test('says that a token is not active', async () => {
    const text = signToken(keyOf('ES256'), claims({ token_introspection: { active: false } }), {
      typ: TYPE,
    })
    expect(await ask(text)).toBe('inactive')
  })

  test('is checked as one that is not: for its audience', async () => {
    const other = claims({ token_introspection: said({ aud: 'https://other.example/' }) })
    const text = signToken(keyOf('ES256'), other, { typ: TYPE })
    expect(await ask(text)).toBe('wrong_audience')
  })

  test.each<[string, () => string]>([
    ['by a key that is not published', () => sign({}, {}, foreign)],
    ['by another key than it names', () => sign({}, { kid: foreign.jwk.kid }, keyOf('ES256'))],
    ['and changed since', () => sign().replace(/\.[^.]+\./, `.${encodeClaims()}.`)],
    ['with alg none', () => sign({}, { alg: 'none' }).replace(/[^.]+$/, '')],
    ['with a secret', () => sign({}, { alg: 'HS256' })],
    ['as an access token', () => sign({}, { typ: 'at+jwt' })],
    ['as a JWT of no kind', () => sign({}, { typ: 'JWT' })],
    ['with critical extensions', () => sign({}, { crit: ['exp'] })],
    ['by another issuer', () => sign({ iss: 'https://other.example' })],
    ['for another API', () => sign({ aud: 'another' })],
    ['for nobody', () => sign({ aud: undefined })],
    ['two minutes ago', () => sign({ iat: now() - 120 })],
    ['in the future', () => sign({ iat: now() + 60 })],
    ['at no time', () => sign({ iat: undefined })],
    ['about nothing', () => sign({ token_introspection: undefined })],
    ['about a list', () => sign({ token_introspection: [] })],
    ['with what says it at the top', () => sign({ token_introspection: {}, active: true })],
    ['without an end', () => sign({ more: 'x'.repeat(70_000) })],
    ['encrypted', () => `${sign()}.AAAA.AAAA`],
  ])('counts for nothing %s', async (_what, make) => {
    expect(await refuse(make())).toEqual(['introspection_unavailable', 'bad_answer'])
  })

  function sign(
    change: Record<string, unknown> = {},
    header: Record<string, unknown> = {},
    key = keyOf('ES256'),
  ): string {
    return signToken(key, claims(change), { typ: TYPE, ...header })
  }

  function encodeClaims(): string {
    return Buffer.from(JSON.stringify(claims())).toString('base64url').slice(0, -4)
  }
})

describe('an API that wants answers signed', () => {
  test('asks for that, and takes no others', async () => {
    const accepted: (string | undefined)[] = []
    await using verifier = createVerifier()
    issuer.answers.set('/introspect', (response) => {
      accepted.push(response.req.headers.accept)
      sendJson(response, said())
    })
    expect(await judge(verifier, 'opaque')).toBe('introspection_unavailable')
    expect(accepted).toEqual([`application/${TYPE}`])
    const signed = signToken(keyOf('ES256'), claims(), { typ: TYPE })
    expect(await refuse(signed, 'application/json')).toEqual([
      'introspection_unavailable',
      'bad_answer',
    ])
  })

  test('learns nothing while the keys cannot be had, and goes on when they can', async () => {
    answerBy(signToken(keyOf('ES256'), claims(), { typ: TYPE }))
    issuer.answers.set(KEYS_PATH, fail(500))
    await using verifier = createVerifier()
    expect(await judge(verifier, 'opaque')).toBe('introspection_unavailable')
    issuer.answers.delete(KEYS_PATH)
    await clock.advance(31_000)
    answerBy(signToken(keyOf('ES256'), claims(), { typ: TYPE }))
    expect(await judge(verifier, 'opaque')).toBe('allowed')
  })

  test('is told at the start what is missing', () => {
    const authorization = () => 'Bearer x'
    const nobody = { clientId: undefined, clientSecret: undefined, authorization } as never
    expect(() => createVerifier(nobody)).toThrow('signedAnswers: expected clientId')
    expect(() => createVerifier({ signedAnswers: 'yes' as never })).toThrow(
      'signedAnswers: expected true or false',
    )
  })

  test('that does not, asks for JSON', async () => {
    const accepted: (string | undefined)[] = []
    issuer.answers.set('/introspect', (response) => {
      accepted.push(response.req.headers.accept)
      sendJson(response, said())
    })
    await using verifier = createVerifier({ signedAnswers: false })
    expect(await judge(verifier, 'opaque')).toBe('allowed')
    expect(accepted).toEqual(['application/json'])
  })
})

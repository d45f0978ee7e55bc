import { Agent, createServer, request as httpRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import Koa from 'koa'
import { describe, expect, test } from 'vitest'
import {
  createDpopVerifier,
  createIntrospectionVerifier,
  createProtect,
  type Decision,
  type IntrospectionOptions,
  type IssuerError,
  type ProtectOptions,
  type Revocations,
  type RoutePolicy,
  type Verifier,
} from '../../resource-server/index.ts'
import {
  CLIENT_ID,
  CLIENT_SECRET,
  judge,
  startOpaqueIssuer,
  type OpaqueIssuer,
  type Question,
} from '../support/introspection.ts'
import { API, fail, hang, type Answer } from '../support/issuer.ts'
import { createProofClient, makeProof } from '../support/proof.ts'

const SECOND = 1000

interface Api extends AsyncDisposable {
  readonly url: string
  readonly decisions: readonly Decision[]
  /** `undefined`: without a token. */
  send(token: string | undefined, headers?: Record<string, string>, agent?: Agent): Promise<Reply>
}

interface Reply {
  readonly status: number | undefined
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** An API with one route, behind `protect`. */
async function startApi(
  verifier: Verifier,
  policy: RoutePolicy = {},
  options: (url: string) => ProtectOptions = () => ({}),
): Promise<Api> {
  const decisions: Decision[] = []
  const app = new Koa()
  const server = createServer((request, response) => void app.callback()(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const onDecision = (decision: Decision) => void decisions.push(decision)
  const protect = createProtect(verifier, { onDecision, ...options(url) })
  app.use(protect(policy)).use((ctx) => {
    const { kind, issuer, subject, clientId, scopes, claims } = ctx.state.auth
    ctx.body = { kind, issuer, subject, clientId, scopes: [...scopes], claims }
  })
  return {
    url,
    decisions,
    send: (token, headers = {}, agent) =>
      new Promise((resolve, reject) => {
        const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
        httpRequest(url, { headers: { ...authorization, ...headers }, agent }, (response) => {
          const { statusCode: status, headers: answered } = response
          text(response).then((body) => resolve({ status, headers: answered, body }), reject)
        })
          .on('error', reject)
          .end()
      }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** What the operator reads of why the issuer could not be asked. */
async function failureOf(verifier: Verifier, token: string): Promise<IssuerError> {
  const result = await verifier.verify(token)
  if (result.ok || result.reason.kind !== 'introspection_unavailable') {
    throw new Error(`the issuer was asked: ${JSON.stringify(result)}`)
  }
  return result.reason.cause as IssuerError
}

function many(issuer: OpaqueIssuer, count: number): string[] {
  return Array.from({ length: count }, () => issuer.issue())
}

describe('an opaque token that the issuer says is good', () => {
  test('is let in, with what the issuer says of it', async () => {
    await using issuer = await startOpaqueIssuer()
    await using api = await startApi(issuer.verifier(), { scope: 'notes:read' })
    const { status, body } = await api.send(issuer.issue({ username: 'alice', iss: undefined }))
    expect(status).toBe(200)
    const auth = JSON.parse(body) as Record<string, unknown>
    expect(auth).toMatchObject({
      kind: 'person',
      issuer: issuer.url,
      subject: 'acc_alice',
      clientId: 'web',
      scopes: ['notes:read', 'notes:write'],
      claims: { iss: issuer.url, username: 'alice', aud: API },
    })
    expect(auth['claims']).not.toHaveProperty('active')
  })

  test('was asked about as RFC 7662 says, at the place that the metadata name', async () => {
    await using issuer = await startOpaqueIssuer()
    const token = issuer.issue()
    expect(await judge(issuer.verifier(), token)).toBe('allowed')
    expect(issuer.questions).toMatchObject([{ method: 'POST', url: '/introspect' }])
    const { headers, form } = issuer.questions[0] as Question
    expect(headers).toMatchObject({
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded;charset=UTF-8',
    })
    expect([...form]).toEqual([
      ['token', token],
      ['token_type_hint', 'access_token'],
    ])
    const [scheme, credentials = ''] = headers.authorization?.split(' ') ?? []
    const decoded = Buffer.from(credentials, 'base64').toString()
    const [id = '', secret = ''] = decoded.split(':')
    const decode = (part: string) => new URLSearchParams(`x=${part}`).get('x')
    expect([scheme, decode(id), decode(secret)]).toEqual(['Basic', CLIENT_ID, CLIENT_SECRET])
  })

  test('is asked about with the header that a function answers, made anew each time', async () => {
    await using issuer = await startOpaqueIssuer()
    let count = 0
    const authorization = async () => `Bearer own-token-${(count += 1)}`
    const verifier = issuer.verifier({ endpoint: `${issuer.url}/elsewhere`, authorization })
    for (const token of many(issuer, 2)) expect(await judge(verifier, token)).toBe('allowed')
    expect(issuer.questions.map(({ url, headers }) => [url, headers.authorization])).toEqual([
      ['/elsewhere', 'Bearer own-token-1'],
      ['/elsewhere', 'Bearer own-token-2'],
    ])
  })

  test('goes through the same guards as a JWT', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    await using api = await startApi(verifier, { scope: 'notes:delete', roles: ['admin'] })
    const challengeOf = async (token?: string) => {
      const { status, headers } = await api.send(token)
      return [status, headers['www-authenticate']]
    }
    const admin = { scope: 'notes:delete', roles: ['admin'] }
    expect((await api.send(issuer.issue(admin))).status).toBe(200)
    expect(await challengeOf()).toEqual([401, 'Bearer'])
    expect(await challengeOf('not~known')).toEqual([401, 'Bearer error="invalid_token"'])
    expect(await challengeOf('no token')).toEqual([400, 'Bearer error="invalid_request"'])
    expect(await challengeOf(issuer.issue({ ...admin, aud: 'https://other.example/' }))).toEqual([
      401,
      'Bearer error="invalid_token"',
    ])
    expect(await challengeOf(issuer.issue({ ...admin, scope: 'notes:read' }))).toEqual([
      403,
      'Bearer error="insufficient_scope", scope="notes:delete"',
    ])
    expect(await challengeOf(issuer.issue({ ...admin, roles: ['editor'] }))).toEqual([
      403,
      'Bearer error="insufficient_scope"',
    ])
    expect(issuer.questions).toHaveLength(5)
  })

  test('and is bound to a key needs its proof with each request, kept or not', async () => {
    await using issuer = await startOpaqueIssuer()
    const { clock } = issuer
    await using api = await startApi(issuer.verifier(), {}, (publicUrl) => ({
      sender: { dpop: createDpopVerifier({ clock }), publicUrl },
    }))
    const client = await createProofClient()
    const token = issuer.issue({ token_type: 'DPoP', cnf: { jkt: client.thumbprint } })
    const prove = (by = client) => ({
      authorization: `DPoP ${token}`,
      dpop: makeProof(by, { method: 'GET', url: api.url, accessToken: token }, clock),
    })
    expect((await api.send(undefined, prove())).status).toBe(200)
    expect((await api.send(undefined, prove())).status).toBe(200)
    expect((await api.send(token)).status).toBe(401)
    expect((await api.send(undefined, prove(await createProofClient()))).status).toBe(401)
    expect(issuer.questions).toHaveLength(1)
  })

  test('serves only the connection and the request that it came with', async () => {
    await using issuer = await startOpaqueIssuer()
    await using api = await startApi(issuer.verifier())
    const [first, second] = [new Agent({ keepAlive: true }), new Agent({ keepAlive: true })]
    const [alice, bob] = [issuer.issue(), issuer.issue({ sub: 'acc_bob' })]
    const ask = async (agent: Agent, token?: string) => {
      const { status, body } = await api.send(token, {}, agent)
      return status === 200 ? (JSON.parse(body) as { subject: string }).subject : status
    }
    for (let round = 0; round < 3; round += 1) {
      expect(await ask(first, alice)).toBe('acc_alice')
      expect(await ask(first)).toBe(401)
      expect(await ask(second)).toBe(401)
      expect(await ask(second, bob)).toBe('acc_bob')
      expect(await ask(first, bob)).toBe('acc_bob')
      expect(await ask(first, 'unknown')).toBe(401)
    }
    first.destroy()
    second.destroy()
  })
})

describe('what was found good', () => {
  test('is kept for a minute, and asked about again then', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    const token = issuer.issue()
    const start = issuer.clock.now()
    for (const seconds of [0, 30, 59]) {
      await issuer.clock.advance(start + seconds * SECOND - issuer.clock.now())
      expect(await judge(verifier, token)).toBe('allowed')
    }
    expect(issuer.questions).toHaveLength(1)
    issuer.tokens.delete(token)
    await issuer.clock.advance(1 * SECOND)
    expect(await judge(verifier, token)).toBe('inactive')
    expect(issuer.questions).toHaveLength(2)
  })

  test('is kept from the moment of the question, not of the answer', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier({ cache: { maxAgeSeconds: 3 } })
    const token = issuer.issue()
    const release = issuer.hold()
    const outcome = judge(verifier, token)
    await issuer.until(1)
    await issuer.clock.advance(2 * SECOND)
    release()
    expect(await outcome).toBe('allowed')
    await issuer.clock.advance(1 * SECOND)
    expect(await judge(verifier, token)).toBe('allowed')
    expect(issuer.questions).toHaveLength(2)
  })

  test('is never kept beyond its expiry, not even within the tolerance', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    const iat = Math.floor(issuer.clock.now() / 1000)
    const token = issuer.issue({ iat, exp: iat + 10 })
    expect(await judge(verifier, token)).toBe('allowed')
    await issuer.clock.advance(9 * SECOND)
    expect(await judge(verifier, token)).toBe('allowed')
    expect(issuer.questions).toHaveLength(1)
    await issuer.clock.advance(1 * SECOND)
    issuer.tokens.delete(token)
    expect(await judge(verifier, token)).toBe('inactive')
    expect(verifier.state).toMatchObject([{ keptTokens: 0 }])
  })

  test('is compared with the time of day again, which may have been set', async () => {
    await using issuer = await startOpaqueIssuer()
    let wrong = 0
    const clock = { ...issuer.clock, now: () => issuer.clock.now() + wrong }
    const verifier = issuer.verifier({ clock })
    const token = issuer.issue()
    const judgeAt = (milliseconds: number) => {
      wrong = milliseconds
      return judge(verifier, token)
    }
    expect(await judgeAt(0)).toBe('allowed')
    expect(await judgeAt(3600 * SECOND)).toBe('expired')
    expect(await judgeAt(-3600 * SECOND)).toBe('not_yet_valid')
    expect(await judgeAt(0)).toBe('allowed')
    expect(issuer.questions).toHaveLength(1)
  })

  test('is not what was found bad, or could not be found out', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    for (let count = 1; count <= 3; count += 1) {
      expect(await judge(verifier, 'unknown')).toBe('inactive')
      expect(issuer.questions).toHaveLength(count)
    }
    expect(await judge(verifier, issuer.issue({ exp: 1 }))).toBe('expired')
    expect(verifier.state).toMatchObject([{ keptTokens: 0 }])
    const late = 'late'
    expect(await judge(verifier, late)).toBe('inactive')
    issuer.tokens.set(late, issuer.describe())
    expect(await judge(verifier, late)).toBe('allowed')
  })

  test('is forgotten when there is too much of it, the oldest first', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier({ cache: { maxTokens: 3 } })
    const tokens = many(issuer, 5)
    for (const token of tokens) expect(await judge(verifier, token)).toBe('allowed')
    expect(verifier.state).toMatchObject([{ keptTokens: 3 }])
    for (const token of tokens.slice(2)) expect(await judge(verifier, token)).toBe('allowed')
    expect(issuer.questions).toHaveLength(5)
    expect(await judge(verifier, tokens[0] ?? '')).toBe('allowed')
    expect(issuer.questions).toHaveLength(6)
  })

  test('is bounded in bytes as well: of long answers fewer are kept', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier({ cache: { maxTokens: 100 } })
    for (let count = 0; count < 10; count += 1) {
      const token = issuer.issue({ note: 'x'.repeat(100_000) })
      expect(await judge(verifier, token)).toBe('allowed')
    }
    expect(verifier.state).toMatchObject([{ keptTokens: 2 }])
  })

  test('is bounded by what answers hold, and not by how they are written', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier({ cache: { maxTokens: 100 } })
    for (let count = 0; count < 10; count += 1) {
      const token = issuer.issue({ lists: Array.from({ length: 1000 }, () => []) })
      expect(await judge(verifier, token)).toBe('allowed')
    }
    expect(verifier.state).toMatchObject([{ keptTokens: 1 }])
  })

  test('is not kept at all where the cache is off', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier({ cache: false })
    const token = issuer.issue()
    for (let count = 1; count <= 3; count += 1) {
      expect(await judge(verifier, token)).toBe('allowed')
      expect(issuer.questions).toHaveLength(count)
    }
  })

  test('is refused at once when it has been revoked', async () => {
    await using issuer = await startOpaqueIssuer()
    const revoked = new Set<unknown>()
    const revocations = { epoch: 0, isRevoked: ({ sub }: { sub: string }) => revoked.has(sub) }
    const verifier = issuer.verifier({ revocations: revocations satisfies Revocations })
    const token = issuer.issue()
    expect(await judge(verifier, token)).toBe('allowed')
    revoked.add('acc_alice')
    revocations.epoch += 1
    expect(await judge(verifier, token)).toBe('revoked')
    expect(await judge(verifier, issuer.issue())).toBe('revoked')
    expect(await judge(verifier, issuer.issue({ sub: 'acc_bob' }))).toBe('allowed')
  })

  test('is refused, and it is 503, while nobody can say whether it has been revoked', async () => {
    await using issuer = await startOpaqueIssuer()
    const revocations = { epoch: 0, isRevoked: () => false }
    const verifier = issuer.verifier({ revocations })
    const token = issuer.issue()
    expect(await judge(verifier, token)).toBe('allowed')
    for (const epoch of [-1, undefined, Number.NaN] as number[]) {
      revocations.epoch = epoch
      expect(await judge(verifier, token)).toBe('revocations_unavailable')
      expect(await judge(verifier, issuer.issue())).toBe('revocations_unavailable')
    }
    expect(() => issuer.verifier({ revocations })).toThrow(/^revocations: /)
    revocations.epoch = 1
    expect(await judge(verifier, token)).toBe('allowed')
  })

  test.each([undefined, null, 5, {}, ['a']])('is no token as %j', async (token) => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    expect(await judge(verifier, token as string)).toBe('malformed')
    expect((await verifier.explain(token as string)).refusal).toMatchObject({ kind: 'malformed' })
    expect(issuer.questions).toHaveLength(0)
  })

  test('cannot be changed by a handler', async () => {
    await using issuer = await startOpaqueIssuer()
    const result = await issuer.verifier().verify(issuer.issue({ aud: [API] }))
    if (!result.ok) throw new Error(result.reason.kind)
    const { claims } = result.value
    expect(() => Object.assign(claims, { sub: 'acc_mallory' })).toThrow(TypeError)
    expect(() => (claims.aud as string[]).push('x')).toThrow(TypeError)
  })
})

describe('questions', () => {
  test('are one for all who come with the same token', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    const token = issuer.issue()
    const release = issuer.hold()
    const outcomes = Array.from({ length: 50 }, () => judge(verifier, token))
    await issuer.until(1)
    release()
    expect(new Set(await Promise.all(outcomes))).toEqual(new Set(['allowed']))
    expect(issuer.questions).toHaveLength(1)
  })

  test('are 50 at the same time at most; a thousand wait, and others are sent away', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    const release = issuer.hold()
    const outcomes = many(issuer, 1050).map((token) => judge(verifier, token))
    await issuer.until(50)
    const cause = await failureOf(verifier, issuer.issue())
    expect([cause.code, cause.message]).toEqual([
      'turned_away',
      'too many tokens wait for the issuer to be asked',
    ])
    expect(issuer.questions).toHaveLength(50)
    release()
    expect(new Set(await Promise.all(outcomes))).toEqual(new Set(['allowed']))
    expect(issuer.questions).toHaveLength(1050)
  })

  test('that have waited for more than 5 seconds are not asked any more', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    const releaseFirst = issuer.hold()
    const outcomes = many(issuer, 101).map((token) => judge(verifier, token))
    await issuer.until(50)
    await issuer.clock.advance(4 * SECOND)
    const releaseSecond = issuer.hold()
    releaseFirst()
    await issuer.until(100)
    await issuer.clock.advance(4 * SECOND)
    releaseSecond()
    const ended = await Promise.all(outcomes)
    expect(new Set(ended.slice(0, 100))).toEqual(new Set(['allowed']))
    expect(ended[100]).toBe('introspection_unavailable')
    expect(issuer.questions).toHaveLength(100)
  })

  test('that wait are not asked when those in front found the issuer out', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    issuer.hold()
    const outcomes = many(issuer, 60).map((token) => judge(verifier, token))
    await issuer.until(50)
    await issuer.clock.advance(5 * SECOND)
    expect(new Set(await Promise.all(outcomes))).toEqual(new Set(['introspection_unavailable']))
    expect(issuer.questions).toHaveLength(50)
  })

  test('are asked again where a connection that was kept open was closed just then', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    const token = issuer.issue()
    const once: Answer = (response) => {
      issuer.tokens.set(token, issuer.describe())
      response.destroy()
    }
    issuer.tokens.set(token, once)
    expect(await judge(verifier, token)).toBe('allowed')
    expect(issuer.questions).toHaveLength(2)
  })

  test('end when the verifier is disposed of, and none is asked then', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    issuer.hold()
    const outcomes = many(issuer, 60).map((token) => judge(verifier, token))
    await issuer.until(50)
    await verifier[Symbol.asyncDispose]()
    expect(new Set(await Promise.all(outcomes))).toEqual(new Set(['introspection_unavailable']))
    const cause = await failureOf(verifier, issuer.issue())
    expect(cause.message).toBe('this verifier was disposed of')
    expect(issuer.questions).toHaveLength(50)
  })
})

describe('an issuer that cannot be asked', () => {
  const closed: Answer = (response) => void response.destroy()

  test.each<readonly [string, Answer, string]>([
    ['does not let this API ask', fail(401), 'turned_away'],
    ['has had too many questions', fail(429), 'turned_away'],
    ['is down behind its proxy', fail(503), 'turned_away'],
    ['closes the connection', closed, 'unreachable'],
  ])('because it %s is left alone, twice as long each time', async (_row, answer, code) => {
    await using issuer = await startOpaqueIssuer()
    await using api = await startApi(issuer.verifier())
    issuer.answerAll = answer
    const questions = () => issuer.questions.length
    for (const seconds of [1, 2, 4, 8, 16, 30, 30]) {
      const before = questions()
      const replies = await Promise.all(many(issuer, 10).map((token) => api.send(token)))
      for (const { status, headers } of replies) {
        expect([status, headers['www-authenticate']]).toEqual([503, undefined])
        expect(Number(headers['retry-after'])).toBeGreaterThan(0)
        expect(Number(headers['retry-after'])).toBeLessThanOrEqual(seconds)
      }
      const asked = questions()
      // All ten at first, when nothing is known of it; later one.
      expect(asked - before).toBeLessThanOrEqual(seconds === 1 ? 20 : 2)
      await issuer.clock.advance(seconds * SECOND - 1)
      expect((await api.send(issuer.issue())).status).toBe(503)
      expect(questions()).toBe(asked)
      await issuer.clock.advance(1)
    }
    const { refusal } = api.decisions[0] ?? {}
    expect(refusal).toMatchObject({ kind: 'introspection_unavailable', cause: { code } })
    issuer.answerAll = undefined
    expect((await api.send(issuer.issue())).status).toBe(200)
    expect((await api.send(issuer.issue())).status).toBe(200)
  })

  test('and hangs is given 5 seconds, then asked by one at a time', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    issuer.answerAll = hang
    const outcomes = many(issuer, 3).map((token) => failureOf(verifier, token))
    await issuer.until(3)
    await issuer.clock.advance(5 * SECOND)
    expect(new Set((await Promise.all(outcomes)).map(({ code }) => code))).toEqual(
      new Set(['timed_out']),
    )
    await issuer.clock.advance(1 * SECOND)
    const probe = judge(verifier, issuer.issue())
    await issuer.until(4)
    for (const token of many(issuer, 5)) {
      expect(await judge(verifier, token)).toBe('introspection_unavailable')
    }
    expect(issuer.questions).toHaveLength(4)
    await issuer.clock.advance(5 * SECOND)
    expect(await probe).toBe('introspection_unavailable')
  })

  test('still lets in what is kept', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    const token = issuer.issue()
    expect(await judge(verifier, token)).toBe('allowed')
    issuer.answerAll = fail(503)
    expect(await judge(verifier, issuer.issue())).toBe('introspection_unavailable')
    expect(await judge(verifier, token)).toBe('allowed')
    await issuer.clock.advance(60 * SECOND)
    expect(await judge(verifier, token)).toBe('introspection_unavailable')
  })

  test('about one token is asked about others, and about this one a second later', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    const poison = '../../etc/passwd'
    issuer.tokens.set(poison, fail(500))
    for (let count = 0; count < 5; count += 1) {
      expect(await judge(verifier, poison)).toBe('introspection_unavailable')
      expect(await judge(verifier, issuer.issue())).toBe('allowed')
    }
    expect(issuer.questions).toHaveLength(6)
    await issuer.clock.advance(1 * SECOND)
    issuer.tokens.set(poison, issuer.describe())
    expect(await judge(verifier, poison)).toBe('allowed')
  })

  test.each<readonly [string, (issuer: OpaqueIssuer) => unknown, string]>([
    ['has no metadata', ({ metadata }) => delete metadata['issuer'], 'issuer_mismatch'],
    [
      'has those of another',
      ({ metadata }) => (metadata['issuer'] = 'https://evil.example'),
      'issuer_mismatch',
    ],
    [
      'names no endpoint',
      ({ metadata }) => delete metadata['introspection_endpoint'],
      'turned_away',
    ],
    [
      'names one that is not https',
      ({ metadata }) => (metadata['introspection_endpoint'] = 'http://login.example/'),
      'insecure_url',
    ],
  ])('because it %s is an outage', async (_row, spoil, code) => {
    await using issuer = await startOpaqueIssuer()
    const before = { ...issuer.metadata }
    spoil(issuer)
    const verifier = issuer.verifier()
    expect(await failureOf(verifier, issuer.issue())).toMatchObject({ code })
    Object.assign(issuer.metadata, before)
    expect(await judge(verifier, issuer.issue())).toBe('introspection_unavailable')
    expect(issuer.questions).toHaveLength(0)
    await issuer.clock.advance(1 * SECOND)
    expect(await judge(verifier, issuer.issue())).toBe('allowed')
  })

  test('because its metadata name no endpoint says what to do', async () => {
    await using issuer = await startOpaqueIssuer()
    delete issuer.metadata['introspection_endpoint']
    const { message } = await failureOf(issuer.verifier(), issuer.issue())
    expect(message).toMatch(
      /names no introspection_endpoint: name it as endpoint, if there is one$/,
    )
  })

  test('because its endpoint has moved is found at the new place', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    expect(await judge(verifier, issuer.issue())).toBe('allowed')
    issuer.answerAll = fail(503)
    issuer.metadata['introspection_endpoint'] = `${issuer.url}/new`
    expect(await judge(verifier, issuer.issue())).toBe('introspection_unavailable')
    issuer.answerAll = undefined
    await issuer.clock.advance(1 * SECOND)
    expect(await judge(verifier, issuer.issue())).toBe('allowed')
    expect(issuer.questions.map(({ url }) => url)).toEqual(['/introspect', '/introspect', '/new'])
  })

  test.each<readonly [string, NonNullable<IntrospectionOptions['authorization']>]>([
    ['throws', () => Promise.reject(new Error('no token for us'))],
    ['answers nothing', () => ''],
    ['answers another header as well', () => 'Bearer x\r\nx-admin: 1'],
  ])('because the function for its header %s is an outage', async (_row, authorization) => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier({ authorization })
    const { code, message } = await failureOf(verifier, issuer.issue())
    expect(code).toBe('turned_away')
    expect(message).not.toContain('admin')
    expect(issuer.questions).toHaveLength(0)
  })

  test('because that function never answers is an outage after 5 seconds', async () => {
    await using issuer = await startOpaqueIssuer()
    const asked = Promise.withResolvers<void>()
    const authorization = () => {
      asked.resolve()
      return new Promise<string>(() => {})
    }
    const verifier = issuer.verifier({ authorization, endpoint: `${issuer.url}/introspect` })
    const failure = failureOf(verifier, issuer.issue())
    await asked.promise
    await issuer.clock.advance(5 * SECOND)
    expect((await failure).code).toBe('turned_away')
  })
})

describe('what the operator reads', () => {
  test('holds neither token nor secret, whatever happened', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    await using api = await startApi(verifier)
    const tokens = [issuer.issue(), issuer.issue({ aud: 'x' }), issuer.issue({ exp: 1 })]
    for (const token of tokens) await api.send(token)
    issuer.answerAll = fail(500)
    const poison = issuer.issue()
    await api.send(poison)
    issuer.answerAll = (response) => void response.destroy()
    const last = issuer.issue()
    await api.send(last)
    const told = api.decisions.map((decision) => {
      const { cause } = (decision.refusal ?? {}) as { cause?: Error }
      return JSON.stringify([decision, String(cause), cause?.stack, String(cause?.cause)])
    })
    expect(told).toHaveLength(5)
    const basic = issuer.questions[0]?.headers.authorization?.split(' ')[1] ?? 'nothing'
    for (const secret of [...tokens, poison, last, CLIENT_SECRET, basic, 's3cret']) {
      expect(told.join('\n')).not.toContain(secret)
    }
  })

  test('are all checks, in order', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    const token = issuer.issue()
    const { outcome, checks, subject } = await verifier.explain(token)
    expect([outcome, subject]).toEqual(['allowed', 'acc_alice'])
    expect(checks.map(({ check }) => check)).toEqual([
      'form',
      'introspection',
      'type',
      'claims',
      'issuer',
      'times',
      'audience',
    ])
    expect(verifier.state).toMatchObject([{ keptTokens: 0 }])
    const refused = await verifier.explain(issuer.issue({ exp: 1 }))
    expect(refused).toMatchObject({ outcome: 'refused', refusal: { kind: 'expired' } })
    issuer.answerAll = fail(503)
    const { checks: last } = await verifier.explain(token)
    expect(last.at(-1)).toMatchObject({
      check: 'introspection',
      passed: false,
      received: `${issuer.url}/introspect answered 503`,
    })
  })

  test('counts questions and failures', async () => {
    await using issuer = await startOpaqueIssuer()
    const verifier = issuer.verifier()
    await judge(verifier, issuer.issue())
    issuer.answerAll = fail(500)
    await judge(verifier, issuer.issue())
    await issuer.clock.advance(7 * SECOND)
    expect(verifier.state).toEqual([
      {
        issuer: issuer.url,
        keys: 0,
        keptTokens: 1,
        ageSeconds: 7,
        fetches: 2,
        failedFetches: 1,
      },
    ])
  })
})

describe('an introspection verifier is not made', () => {
  const good = {
    issuer: 'https://login.example',
    audience: API,
    clientId: 'api',
    clientSecret: 'a very secret text',
  }

  test.each<readonly [string, Record<string, unknown>, RegExp]>([
    ['without an issuer', { issuer: undefined }, /^issuer: /],
    ['for an issuer on plain http', { issuer: 'http://login.example' }, /^issuer: /],
    ['without an audience', { audience: undefined }, /^audience: /],
    ['without a client', { clientId: undefined }, /^clientId: /],
    ['without a secret', { clientSecret: '' }, /^clientSecret: .*Verifier .*not empty/],
    ['with two ways to ask', { authorization: () => 'Bearer x' }, /^authorization: /],
    ['with a header that is not made anew', { authorization: 'Bearer x' }, /^authorization: /],
    ['with an endpoint on plain http', { endpoint: 'http://login.example/i' }, /^endpoint: /],
    ['with credentials in the endpoint', { endpoint: 'https://a:b@login.example' }, /^endpoint: /],
    ['with an endpoint that is none', { endpoint: 'introspect' }, /^endpoint: /],
    ['with a member that it never spares', { mayLack: ['aud'] }, /^mayLack: /],
    ['with an age out of range', { cache: { maxAgeSeconds: 0 } }, /^cache\.maxAgeSeconds: /],
    ['with an option that is misspelt', { audiance: API }, /has no option audiance/],
  ])('%s', (_row, change, message) => {
    const options = { ...good, ...change } as IntrospectionOptions
    expect(() => createIntrospectionVerifier(options)).toThrow(TypeError)
    expect(() => createIntrospectionVerifier(options)).toThrow(message)
    expect(() => createIntrospectionVerifier(options)).not.toThrow(/very secret/)
  })
})

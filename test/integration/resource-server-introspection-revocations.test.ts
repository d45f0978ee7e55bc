import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import {
  createIntrospectionVerifier,
  type IntrospectionOptions,
} from '../../resource-server/index.ts'
import { CREDENTIALS } from '../support/feed-issuer.ts'
import { startFeedWorld, type FeedWorld } from '../support/feed-world.ts'
import { judge } from '../support/introspection.ts'
import { API, createKey, sendJson, signToken } from '../support/issuer.ts'

/*
 * Tokens that their issuer is asked about, by an API that follows what it revokes. What is kept of an
 * answer is a minute old at most: that is not at once.
 */

/** An issuer that is asked, and answers as `active` says; of opaque tokens it names neither grant nor id. */
async function startAsking(options: Partial<IntrospectionOptions> = {}, isFresh = true) {
  await using cleanUp = new AsyncDisposableStack()
  const world = cleanUp.use(
    await startFeedWorld({}, (issuer) => void (issuer.isMute = !isFresh), isFresh),
  )
  const { issuer, clock, feed } = world
  issuer.published.metadata['introspection_endpoint'] = `${issuer.url}/introspect`
  const it = { active: true, questions: 0, held: undefined as Promise<void> | undefined }
  const asked: (() => void)[] = []
  issuer.answers.set('/introspect', async (request, response) => {
    const token = new URLSearchParams(await text(request)).get('token') ?? ''
    it.questions += 1
    const answer = it.active
      ? { active: true, token_type: 'Bearer', ...readToken(world, token) }
      : { active: false }
    for (const resolve of asked.splice(0)) resolve()
    await it.held
    sendJson(response, answer)
  })
  const verifier = cleanUp.use(
    createIntrospectionVerifier({
      issuer: issuer.url,
      audience: API,
      ...CREDENTIALS,
      clock,
      revocations: feed,
      ...options,
    }),
  )
  const running = cleanUp.move()
  return Object.assign(it, {
    world,
    verifier,
    nextQuestion: () => new Promise<void>((resolve) => asked.push(resolve)),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  })
}

function readToken({ issuer, clock }: FeedWorld, token: string): Record<string, unknown> {
  const [, payload, signature] = token.split('.')
  if (payload !== undefined && signature !== undefined) {
    return JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>
  }
  const iat = Math.floor(clock.now() / 1000)
  return { iss: issuer.url, sub: 'alice', aud: API, client_id: 'web', iat, exp: iat + 600 }
}

describe('a token that is asked about, at an API that follows', () => {
  test('is refused when the key that has signed it is withdrawn', async () => {
    await using it = await startAsking()
    const { world, verifier } = it
    const [, payload = ''] = world.token().split('.')
    const claims = Buffer.from(payload, 'base64url')
    const token = signToken(await createKey('ES256', { kid: 'stolen' }), claims)
    expect(await judge(verifier, token)).toBe('allowed')
    await world.learns(() => world.issuer.revoke('key', 'stolen'))
    expect(await judge(verifier, token)).toBe('revoked')
  })

  test('is kept while what is revoked is about others', async () => {
    await using it = await startAsking()
    const { world, verifier } = it
    const token = world.token()
    expect(await judge(verifier, token)).toBe('allowed')
    await world.learns(() => world.issuer.revoke('grant', 'another'))
    expect(await judge(verifier, token)).toBe('allowed')
    expect(it.questions).toBe(1)
  })

  test.each(['opaque', 'a JWT that names no key'])(
    'is asked about again after each piece of news where nobody can tell what it hangs on: %s',
    async (kind) => {
      await using it = await startAsking()
      const { world, verifier } = it
      const [, payload = ''] = world.token().split('.')
      const nameless = await createKey('ES256', { kid: undefined })
      const jwt = signToken(nameless, Buffer.from(payload, 'base64url'))
      const token = kind === 'opaque' ? kind : jwt
      const askTwice = async () => [await judge(verifier, token), await judge(verifier, token)]
      expect(await askTwice()).toEqual(['allowed', 'allowed'])
      expect(it.questions).toBe(1)
      await world.learns(() => world.issuer.revoke('grant', 'another'))
      expect(await askTwice()).toEqual(['allowed', 'allowed'])
      expect(it.questions).toBe(2)
      it.active = false
      await world.learns(() => world.issuer.revoke('grant', 'its own'))
      expect(await judge(verifier, token)).toBe('inactive')
    },
  )

  test('is not kept by an answer that news have overtaken, nor is anybody let in by it', async () => {
    await using it = await startAsking()
    const { world, verifier } = it
    const { promise, resolve } = Promise.withResolvers<void>()
    it.held = promise
    const asked = it.nextQuestion()
    const early = judge(verifier, 'opaque')
    await asked
    it.active = false
    await world.learns(() => world.issuer.revoke('grant', 'its own'))
    const late = judge(verifier, 'opaque')
    resolve()
    await early
    expect(await late).toBe('inactive')
    expect(await judge(verifier, 'opaque')).toBe('inactive')
  })
})

test.each([
  ['nothing is kept', { cache: false }, true],
  ['it is not known what is revoked', {}, false],
] as const)(
  'a question that was asked before says nothing to who comes later, where %s',
  async (_where, options, isFresh) => {
    await using it = await startAsking(options, isFresh)
    const { world, verifier } = it
    const token = world.token()
    const { promise, resolve } = Promise.withResolvers<void>()
    it.held = promise
    const asked = it.nextQuestion()
    const early = judge(verifier, token)
    await asked
    // It is revoked, and that is answered, while the first answer is still on its way.
    it.active = false
    const late = [judge(verifier, token), judge(verifier, token)]
    resolve()
    await early
    expect(await Promise.all(late)).toEqual(['inactive', 'inactive'])
    expect(it.questions).toBe(2)
  },
)

test('an answer that is signed is worth nothing once its key is withdrawn', async () => {
  await using it = await startAsking({ cache: false, signedAnswers: true })
  const { issuer, clock } = it.world
  const stolen = await createKey('ES256')
  issuer.published.keys.push(stolen.jwk)
  issuer.answers.set('/introspect', (_request, response) => {
    const iat = Math.floor(clock.now() / 1000)
    const said = { active: true, token_type: 'Bearer', ...readToken(it.world, 'opaque') }
    const answer = { iss: issuer.url, aud: CREDENTIALS.clientId, iat, token_introspection: said }
    const type = 'token-introspection+jwt'
    response.setHeader('content-type', `application/${type}`)
    response.end(signToken(stolen, answer, { typ: type }))
  })
  expect(await judge(it.verifier, 'opaque')).toBe('allowed')
  issuer.published.keys.pop()
  const fetched = issuer.nextRequest('/keys')
  await clock.advance(100)
  issuer.beat()
  await fetched
  await expect
    .poll(() => judge(it.verifier, 'opaque'), { timeout: 5000 })
    .toBe('introspection_unavailable')
})

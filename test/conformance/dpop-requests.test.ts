import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { calculateJwkThumbprint, exportJWK } from 'jose'
import Koa from 'koa'
import * as oauth from 'openid-client'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../resource-server/clock.ts'
import {
  createDpopNonces,
  createDpopVerifier,
  createMemoryReplayStore,
  createProtect,
  createVerifier,
  describeProtectedResource,
  type DpopOptions,
  type Refusal,
  type RoutePolicy,
  type SenderOptions,
} from '../../resource-server/index.ts'
import { API, createKey, signToken, startIssuer } from '../support/issuer.ts'
import { createProofClient, makeProof, type ProofChange } from '../support/proof.ts'
import { sendRaw, type RawAnswer } from '../support/raw.ts'

const key = await createKey('ES256')
const client = await createProofClient()

interface Setting {
  readonly dpop?: DpopOptions
  readonly sender?: SenderOptions
  readonly policy?: RoutePolicy
  /** Of two more guards in front of the same route, one of them behind what reads bodies. */
  readonly more?: RoutePolicy
}

interface Api extends AsyncDisposable {
  readonly url: string
  readonly token: string
  readonly refusals: readonly Refusal[]
  tokenFor(thumbprint: string, subject?: string): string
  /** A good proof for `GET /notes` at the API's own address, but for the change. */
  prove(change?: ProofChange): string
  /** Sends lines as they stand. `target`: what is asked for. */
  send(lines: readonly string[], target?: string): Promise<RawAnswer>
}

/** An API in the time of the system, as other people's clients are. */
async function startApi({ dpop, sender, policy, more }: Setting = {}): Promise<Api> {
  await using made = new AsyncDisposableStack()
  const issuer = made.use(await startIssuer(systemClock, key))
  const verifier = made.use(createVerifier({ issuer: issuer.url, audience: API }))
  const app = new Koa()
  const server = createServer((req, res) => void app.callback()(req, res)).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  made.defer(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const metadata = describeProtectedResource({
    resource: `${url}/`,
    authorizationServers: [issuer.url],
  })
  const refusals: Refusal[] = []
  const protect = createProtect(verifier, {
    sender: { dpop: createDpopVerifier(dpop), publicUrl: url, ...sender },
    resourceMetadata: metadata.url,
    onRefusal: (refusal) => refusals.push(refusal),
  })
  app.use(async (ctx, next) => {
    if (ctx.path === metadata.path) ctx.body = metadata.document
    else await next()
  })
  app.use(protect(policy))
  if (more) {
    app.use(protect(more))
    app.use((ctx, next) => {
      Object.assign(ctx.request, { body: {} })
      return next()
    })
    app.use(protect(more))
  }
  app.use((ctx) => {
    ctx.body = { subject: ctx.state['auth'].subject }
  })
  const tokenFor = (jkt: string, sub?: string) =>
    signToken(key, issuer.claims({ cnf: { jkt }, ...(sub === undefined ? {} : { sub }) }))
  const token = tokenFor(client.thumbprint)
  const request = { method: 'GET', url: `${url}/notes`, accessToken: token }
  const running = made.move()
  return {
    url,
    token,
    refusals,
    tokenFor,
    prove: (change) => makeProof(client, request, systemClock, change),
    send: (lines, target = '/notes') => sendRaw(url, [`GET ${target} HTTP/1.1`, ...lines]),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

const challengeOf = ({ headers }: RawAnswer) => headers['www-authenticate'] ?? ''

/** The lines of a request as it should be. */
function sign(api: Api, change?: ProofChange): string[] {
  return [`Authorization: DPoP ${api.token}`, `DPoP: ${api.prove(change)}`]
}

describe('a client of somebody else (openid-client)', () => {
  async function createClient(api: Api, alg = 'ES256') {
    const config = new oauth.Configuration({ issuer: 'https://as.example' }, 'web')
    oauth.allowInsecureRequests(config)
    const pair = await oauth.randomDPoPKeyPair(alg, { extractable: true })
    const token = api.tokenFor(await calculateJwkThumbprint(await exportJWK(pair.publicKey)))
    const DPoP = oauth.getDPoPHandle(config, pair)
    const url = new URL('/notes?page=2', api.url)
    return async (sent = token) => {
      const options = { DPoP }
      const args = [config, sent, url, 'GET', undefined, undefined, options] as const
      return (await oauth.fetchProtectedResource(...args)).status
    }
  }

  test.each(['ES256', 'Ed25519', 'PS256', 'RS256'])(
    'is let in again and again by %s',
    async (alg) => {
      await using api = await startApi()
      const send = await createClient(api, alg)
      expect([await send(), await send(), await send()]).toEqual([200, 200, 200])
    },
  )

  test('is let in where a nonce is asked for, and is sent back once', async () => {
    await using api = await startApi({ dpop: { nonces: createDpopNonces() } })
    const send = await createClient(api)
    expect([await send(), await send(), await send()]).toEqual([200, 200, 200])
    expect(api.refusals.map(({ kind }) => kind)).toEqual(['use_dpop_nonce'])
  })

  test('is not let in with the token of another one', async () => {
    await using api = await startApi()
    const send = await createClient(api)
    await expect(send(api.token)).rejects.toMatchObject({ status: 401 })
  })
})

test('one subject with many keys leaves room for the proofs of others', async () => {
  const replays = createMemoryReplayStore({ maxEntries: 100 })
  await using api = await startApi({ dpop: { replays } })
  const ask = async (subject: string) => {
    const own = await createProofClient()
    const accessToken = api.tokenFor(own.thumbprint, subject)
    const request = { method: 'GET', url: `${api.url}/notes`, accessToken }
    const proof = makeProof(own, request, systemClock)
    return (await api.send([`Authorization: DPoP ${accessToken}`, `DPoP: ${proof}`])).status
  }
  const statuses = await Promise.all(Array.from({ length: 101 }, () => ask('mallory')))
  expect(statuses.filter((status) => status === 200)).toHaveLength(10)
  expect(api.refusals.every(({ kind }) => kind === 'replays_unavailable')).toBe(true)
  expect(await ask('alice')).toBe(200)
})

describe('of fifty requests at once with one proof', () => {
  test.each(['DPoP', 'dpop'])('one is let in, after the scheme %s', async (scheme) => {
    await using api = await startApi()
    const lines = [`Authorization: ${scheme} ${api.token}`, `DPoP: ${api.prove()}`]
    const answers = await Promise.all(Array.from({ length: 50 }, () => api.send(lines)))
    const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b)
    expect(statuses).toEqual([200, ...Array.from({ length: 49 }, () => 401)])
  })
})

describe('several guards in front of one route', () => {
  test('ask for one proof, which is used once all the same', async () => {
    await using api = await startApi({ more: { scope: 'notes:read' } })
    const lines = sign(api)
    expect((await api.send(lines)).status).toBe(200)
    expect((await api.send(lines)).status).toBe(401)
    expect(api.refusals).toMatchObject([{ kind: 'invalid_dpop_proof', part: 'jti' }])
  })

  test('let nobody in where one of them does not', async () => {
    await using api = await startApi({ more: { scope: 'notes:burn' } })
    expect((await api.send(sign(api))).status).toBe(403)
  })

  test('see a replay in the next request of the same connection', async () => {
    await using api = await startApi({ more: { scope: 'notes:read' } })
    const headers = { authorization: `DPoP ${api.token}`, dpop: api.prove() }
    const statuses: number[] = []
    for (let count = 0; count < 2; count += 1) {
      const answer = await fetch(`${api.url}/notes`, { headers })
      await answer.text()
      statuses.push(answer.status)
    }
    expect(statuses).toEqual([200, 401])
  })
})

describe('a token that is bound to a key', () => {
  test('is refused after Bearer, be there a proof or not', async () => {
    await using api = await startApi()
    for (const proofs of [[], [`DPoP: ${api.prove()}`]]) {
      for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
        const answer = await api.send([`Authorization: ${scheme} ${api.token}`, ...proofs])
        expect(answer.status).toBe(401)
        expect(challengeOf(answer)).toContain('Bearer error="invalid_token"')
      }
    }
    expect(new Set(api.refusals.map(({ kind }) => kind))).toEqual(new Set(['sender_constrained']))
  })

  test.each<readonly [string, (api: Api) => readonly string[]]>([
    ['without a proof', () => []],
    ['with an empty one', () => ['DPoP: ']],
    ['with two', (api) => [`DPoP: ${api.prove()}`, `DPoP: ${api.prove()}`]],
    ['with two in one header', (api) => [`DPoP: ${api.prove()}, ${api.prove()}`]],
    ['with a good one and an empty one', (api) => [`DPoP: ${api.prove()}`, 'dpop: ']],
    ['with one in another header', (api) => [`DPoP-Proof: ${api.prove()}`]],
    ['with one for another method', (api) => [`DPoP: ${api.prove({ claims: { htm: 'POST' } })}`]],
  ])('is refused %s', async (_row, makeLines) => {
    await using api = await startApi()
    const answer = await api.send([`Authorization: DPoP ${api.token}`, ...makeLines(api)])
    expect(answer.status).toBe(401)
    expect(challengeOf(answer)).toContain('DPoP error="invalid_dpop_proof"')
    expect(JSON.parse(answer.body)).toMatchObject({ error: 'invalid_dpop_proof' })
  })

  test('is answered without what a stranger could use', async () => {
    await using api = await startApi()
    const proof = api.prove({ claims: { ath: 'wrong' } })
    const answer = await api.send([`Authorization: DPoP ${api.token}`, `DPoP: ${proof}`])
    const text = JSON.stringify(answer)
    for (const secret of [...proof.split('.'), api.token, client.thumbprint, '"ath', 'wrong']) {
      expect(text).not.toContain(secret)
    }
  })
})

describe('a nonce', () => {
  test('is given in the header of its kind, and taken once it is in the proof', async () => {
    await using api = await startApi({ dpop: { nonces: createDpopNonces() } })
    const first = await api.send(sign(api))
    expect(first.status).toBe(401)
    expect(challengeOf(first)).toContain('DPoP error="use_dpop_nonce"')
    const { 'dpop-nonce': nonce } = first.headers
    const second = await api.send(sign(api, { claims: { nonce } }))
    expect([second.status, second.headers['dpop-nonce']]).toEqual([200, nonce])
  })

  test.each(['x\r\nSet-Cookie: a=b', '", error="none', 'x\0', '\u{1F511}', '\\'])(
    'that a client makes up, %j, comes back in no header',
    async (nonce) => {
      await using api = await startApi({ dpop: { nonces: createDpopNonces() } })
      const { status, headers } = await api.send(sign(api, { claims: { nonce } }))
      expect(status).toBe(401)
      expect(headers['dpop-nonce']).toMatch(/^[\w-]{43}$/)
      expect(headers).not.toHaveProperty('set-cookie')
      expect(headers['www-authenticate']).not.toContain('none')
    },
  )
})

test('a store that is away is 503 with Retry-After, and says no more', async () => {
  const replays = { take: () => Promise.reject<boolean>(new Error('redis://user:password@host')) }
  await using api = await startApi({ dpop: { replays } })
  const answer = await api.send(sign(api))
  expect([answer.status, answer.headers['retry-after']]).toEqual([503, '5'])
  expect(answer.headers).not.toHaveProperty('www-authenticate')
  expect(answer.body).not.toContain('redis')
})

test('a store is shared by the APIs that it is given to', async () => {
  const replays = createMemoryReplayStore()
  const publicUrl = 'https://api.example'
  await using first = await startApi({ dpop: { replays }, sender: { publicUrl } })
  const lines = sign(first, { claims: { htu: `${publicUrl}/notes` } })
  const outcomes = [await first.send(lines), await first.send(lines)]
  expect(outcomes.map(({ status }) => status)).toEqual([200, 401])
})

describe('the address in a proof', () => {
  const urls = ['https://api.example/v1', 'https://other.example']
  const behind: SenderOptions = { publicUrl: urls, trustedProxies: ['127.0.0.1'] }
  const inFront: SenderOptions = { publicUrl: urls, trustedProxies: ['10.0.0.0/8'] }
  const forwarded = ['X-Forwarded-Proto: https', 'X-Forwarded-Host: other.example']

  test.each<readonly [string, SenderOptions, string, readonly string[], string, number]>([
    ['is the public one', behind, 'https://api.example/v1/notes', [], '/notes', 200],
    [
      'is the one that the proxy names',
      behind,
      'https://other.example/notes',
      forwarded,
      '/notes',
      200,
    ],
    [
      'is not another than the proxy names',
      behind,
      'https://api.example/v1/notes',
      forwarded,
      '/notes',
      401,
    ],
    ['is not what anybody names', inFront, 'https://other.example/notes', forwarded, '/notes', 401],
    [
      'is not what Host says',
      inFront,
      'https://evil.example/notes',
      ['Host: evil.example'],
      '/notes',
      401,
    ],
    [
      'is not what the request line says',
      inFront,
      'http://evil.example/notes',
      ['Host: evil.example'],
      'http://evil.example/notes',
      401,
    ],
    [
      'is not what a proxy says that lets everything through',
      behind,
      'https://evil.example/notes',
      ['X-Forwarded-Proto: https', 'X-Forwarded-Host: evil.example'],
      '/notes',
      401,
    ],
    ['is not that of another path', behind, 'https://api.example/v1/notes', [], '/notes/1', 401],
    ['is not that of a longer way', behind, 'https://api.example/v1/notes', [], '/x/../notes', 401],
  ])('%s', async (_row, sender, htu, lines, target, status) => {
    await using api = await startApi({ sender })
    const answer = await api.send([...sign(api, { claims: { htu } }), ...lines], target)
    expect(answer.status).toBe(status)
  })
})

test('a challenge leads to the metadata of the API, and these to its issuer (RFC 9728)', async () => {
  await using api = await startApi()
  const answer = await api.send([])
  const [, place = ''] =
    /^Bearer resource_metadata="([^"]+)", DPoP /.exec(challengeOf(answer)) ?? []
  const document = (await (await fetch(place)).json()) as Record<string, unknown>
  expect(document['resource']).toBe(`${api.url}/`)
  expect(document['authorization_servers']).toEqual([expect.stringMatching(/^http:\/\/127/)])
})

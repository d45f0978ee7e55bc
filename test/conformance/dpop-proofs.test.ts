import { createHmac, hash, sign } from 'node:crypto'
import * as fc from 'fast-check'
import { calculateJwkThumbprint, type JWK } from 'jose'
import { describe, expect, test } from 'vitest'
import {
  createDpopVerifier,
  type DpopOptions,
  type DpopRequest,
  type DpopVerifier,
} from '../../resource-server/dpop.ts'
import { createDpopNonces } from '../../resource-server/nonce.ts'
import { createMemoryReplayStore } from '../../resource-server/replay.ts'
import type { ProofAlgorithm } from '../../resource-server/proof-key.ts'
import { encode, signToken } from '../support/issuer.ts'
import {
  createProofClient,
  makeProof,
  type ProofChange,
  type ProofClient,
} from '../support/proof.ts'
import { createTurnableClock, type TurnableClock } from '../support/turnable-clock.ts'

const client = await createProofClient()
const other = await createProofClient()
const rsa = await createProofClient('RS256')

const HEADER = { typ: 'dpop+jwt', alg: 'ES256', jwk: client.jwk }
const REQUEST = {
  method: 'POST',
  url: 'https://api.example/notes/1',
  accessToken: 'header.payload.signature',
} as const

interface World {
  readonly clock: TurnableClock
  readonly dpop: DpopVerifier
  /** A good proof for `REQUEST`, but for the change. */
  proof(change?: ProofChange, by?: ProofClient): string
  /** A good request with a good proof, but for the change. */
  request(change?: Partial<DpopRequest>): DpopRequest
  verify(change?: Partial<DpopRequest>): Promise<Awaited<ReturnType<DpopVerifier['verify']>>>
}

function start(options: DpopOptions = {}): World {
  const clock = createTurnableClock()
  const dpop = createDpopVerifier({ clock, ...options })
  const proof: World['proof'] = (change, by = client) => makeProof(by, REQUEST, clock, change)
  const request: World['request'] = (change) => ({
    ...REQUEST,
    proof: proof(),
    thumbprint: client.thumbprint,
    ...change,
  })
  return { clock, dpop, proof, request, verify: async (change) => dpop.verify(request(change)) }
}

const seconds = ({ clock }: World) => Math.floor(clock.now() / 1000)
const claims = (change: Record<string, unknown>) => (world: World) =>
  world.proof({ claims: change })
const header = (change: Record<string, unknown>) => (world: World) =>
  world.proof({ header: change })
const at = (offset: number) => (world: World) => claims({ iat: seconds(world) + offset })(world)
const split = (proof: string) => proof.split('.') as [string, string, string]

/** The client's proof, with something else in the place of its signature. */
function resigned(world: World, alg: string, signInput: (input: string) => string): string {
  const payload = split(world.proof())[1]
  const input = `${encode({ typ: 'dpop+jwt', alg, jwk: client.jwk })}.${payload}`
  return `${input}.${signInput(input)}`
}

/** The same bytes, written with other spare bits in the last character. */
function twinOf(segment: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const twin = segment.slice(0, -1) + alphabet[alphabet.indexOf(segment.at(-1) ?? '') + 1]
  expect(Buffer.from(twin, 'base64url')).toEqual(Buffer.from(segment, 'base64url'))
  return twin
}

/** The signature (r, s) as its other form (r, n - s). */
function mirrorOf(signature: string): string {
  const bytes = Buffer.from(signature, 'base64url')
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const s = BigInt(`0x${bytes.subarray(32).toString('hex')}`)
  const mirrored = Buffer.from((order - s).toString(16).padStart(64, '0'), 'hex')
  return Buffer.concat([bytes.subarray(0, 32), mirrored]).toString('base64url')
}

type Row = readonly [string, (world: World) => string | undefined, string]

describe('a proof is refused that', () => {
  test.each<Row>([
    ['is missing', () => undefined, 'form'],
    ['is empty', () => '', 'form'],
    ['has two parts', (w) => split(w.proof()).slice(0, 2).join('.'), 'form'],
    ['has four parts', (w) => `${w.proof()}.`, 'form'],
    ['stands twice, with a comma between', (w) => `${w.proof()}, ${w.proof()}`, 'form'],
    ['has a space behind it', (w) => `${w.proof()} `, 'form'],
    ['is padded', (w) => `${w.proof()}==`, 'form'],
    ['has a junk character behind it', (w) => `${w.proof()}!`, 'form'],
    ['has more than 8192 characters', claims({ more: 'x'.repeat(8192) }), 'form'],
    ['has a header of more than 4096 characters', header({ more: 'x'.repeat(3072) }), 'form'],
    ['is no JSON', () => signToken(client.key, 'x', HEADER), 'form'],
    ['has jti twice', () => signToken(client.key, '{"jti":"a","jti":"b"}', HEADER), 'form'],
    ['has a twin of its signature', withTwin, 'form'],
    ['is encrypted, in five parts', (w) => `${w.proof()}..`, 'form'],

    ['is of another type', header({ typ: 'JWT' }), 'typ'],
    ['is of no type', header({ typ: undefined }), 'typ'],
    ['is an access token', header({ typ: 'at+jwt' }), 'typ'],
    ['says b64, which is not for JWTs', header({ b64: false }), 'form'],
    ['has a critical header', header({ crit: ['b64'], b64: false }), 'crit'],

    ['is signed with none', (w) => resigned(w, 'none', () => ''), 'alg'],
    ['is signed with HS256 under the public key', withPublicKeyAsSecret, 'alg'],
    ['says ES384 of a key of P-256', header({ alg: 'ES384' }), 'alg'],
    ['says RS256 of a key of P-256', header({ alg: 'RS256' }), 'alg'],
    ['says ES256 of an RSA key', (w) => w.proof({ header: { alg: 'ES256' } }, rsa), 'alg'],
    ['says another alg than its key', header({ jwk: { ...client.jwk, alg: 'ES384' } }), 'alg'],

    ['is by a key of somebody else', (w) => w.proof({}, other), 'jwk'],
    [
      'names the key of somebody else',
      (w) => w.proof({ header: { jwk: client.jwk } }, other),
      'signature',
    ],
    ['has another payload than was signed', withOtherPayload, 'signature'],
    ['has a signature in DER', withDer, 'signature'],
    ['has no signature', (w) => resigned(w, 'ES256', () => ''), 'signature'],
    ['has a signature of zeros', (w) => resigned(w, 'ES256', zeros), 'signature'],

    ['has no jti', claims({ jti: undefined }), 'jti'],
    ['has an empty jti', claims({ jti: '' }), 'jti'],
    ['has a number as its jti', claims({ jti: 1 }), 'jti'],
    ['has a jti of 257 characters', claims({ jti: 'x'.repeat(257) }), 'jti'],
    ['has half a character as its jti', claims({ jti: '\uD800' }), 'jti'],
    ['is for another method', claims({ htm: 'GET' }), 'htm'],
    ['writes the method small', claims({ htm: 'post' }), 'htm'],
    ['names no method', claims({ htm: undefined }), 'htm'],
    ['is for another path', claims({ htu: 'https://api.example/notes/2' }), 'htu'],
    ['is for a longer path', claims({ htu: 'https://api.example/notes/1/' }), 'htu'],
    ['is for a path in capitals', claims({ htu: 'https://api.example/Notes/1' }), 'htu'],
    ['is for another host', claims({ htu: 'https://other.example/notes/1' }), 'htu'],
    [
      'is for a host of the same beginning',
      claims({ htu: 'https://api.example.evil/notes/1' }),
      'htu',
    ],
    ['is for the host as a user', claims({ htu: 'https://api.example@evil/notes/1' }), 'htu'],
    ['names a user', claims({ htu: 'https://user@api.example/notes/1' }), 'htu'],
    ['is for another port', claims({ htu: 'https://api.example:8443/notes/1' }), 'htu'],
    ['is for http', claims({ htu: 'http://api.example/notes/1' }), 'htu'],
    ['names the path alone', claims({ htu: '/notes/1' }), 'htu'],
    ['names an escaped slash', claims({ htu: 'https://api.example/notes%2F1' }), 'htu'],
    ['turns its slashes', claims({ htu: 'https:\\\\api.example\\notes\\1' }), 'htu'],
    ['has a line break in its address', claims({ htu: 'https://api.example/not\nes/1' }), 'htu'],
    ['has no address', claims({ htu: undefined }), 'htu'],
    ['has a list of addresses', claims({ htu: [REQUEST.url] }), 'htu'],
    ['is for another token', claims({ ath: hash('sha256', 'another', 'base64url') }), 'ath'],
    ['is for no token', claims({ ath: undefined }), 'ath'],
    ['has a prefix of the hash', claims({ ath: tokenHash().slice(0, -1) }), 'ath'],
    ['has the hash padded', claims({ ath: `${tokenHash()}=` }), 'ath'],
    ['was made 61 seconds ago', at(-61), 'iat'],
    ['is from 6 seconds ahead', at(6), 'iat'],
    ['does not say when it was made', claims({ iat: undefined }), 'iat'],
    ['says when it was made as a text', (w) => claims({ iat: String(seconds(w)) })(w), 'iat'],
    ['says when it was made in milliseconds', (w) => claims({ iat: w.clock.now() })(w), 'iat'],
  ])('%s', async (_row, make, part) => {
    const world = start()
    const outcome = await world.verify({ proof: make(world) })
    expect(outcome).toMatchObject({ ok: false, reason: { kind: 'invalid_dpop_proof', part } })
    // What is refused has used up nothing, and nothing of it is kept.
    expect(await world.verify()).toEqual({ ok: true, value: undefined })
  })

  test.each<readonly [string, unknown]>([
    ['has no key', undefined],
    ['has a key that is a text', JSON.stringify(client.jwk)],
    ['has a list of keys', [client.jwk]],
    ['shows its private key', privateJwk()],
    ['shows a member of a private key', { ...client.jwk, d: '' }],
    ['has a symmetric key', { ...client.jwk, k: 'AAAA' }],
    ['has a key for encryption', { ...client.jwk, use: 'enc' }],
    ['has a key to derive', { ...client.jwk, key_ops: ['deriveKey'] }],
    ['has a key that is no point', { ...client.jwk, y: client.jwk.x }],
    ['has a key with a short coordinate', { ...client.jwk, x: 'AAAA' }],
    ['has a key with a number in it', { ...client.jwk, x: 1 }],
    ['has a twin of its key', { ...client.jwk, x: twinOf(client.jwk.x ?? '') }],
  ])('%s', async (_row, jwk) => {
    const world = start()
    const proof = world.proof({ header: { jwk } })
    const outcome = await world.verify({ proof })
    expect(outcome).toMatchObject({ ok: false, reason: { part: 'jwk' } })
    // Not only because it is not the key of the token.
    expect(outcome).not.toMatchObject({ reason: { expected: client.thumbprint } })
    expect(JSON.stringify(outcome)).not.toContain(privateJwk().d)
  })

  const modulus = Buffer.from(rsa.jwk.n ?? '', 'base64url')
  const write = (bytes: Buffer) => bytes.toString('base64url')
  test.each<readonly [string, Partial<Record<'n' | 'e', string>>]>([
    ['1024 bits', { n: write(modulus.subarray(0, 128)) }],
    ['8192 bits', { n: write(Buffer.concat(Array.from({ length: 4 }, () => modulus))) }],
    ['an exponent that costs as much as signing', { e: rsa.jwk.n ?? '' }],
    ['an even exponent', { e: 'AQAA' }],
    ['the exponent 1', { e: 'AQ' }],
    ['a zero before its modulus', { n: write(Buffer.concat([Buffer.alloc(1), modulus])) }],
  ])('is by an RSA key with %s', async (_row, change) => {
    const jwk: JWK = { ...rsa.jwk, ...change }
    const world = start()
    const proof = world.proof({ header: { jwk } }, rsa)
    const thumbprint = await calculateJwkThumbprint(jwk)
    const outcome = await world.verify({ proof, thumbprint })
    expect(outcome).toMatchObject({ ok: false, reason: { part: 'jwk' } })
    expect(outcome).not.toMatchObject({ reason: { expected: thumbprint } })
  })

  test('is by an algorithm that the API does not take', async () => {
    const world = start({ algorithms: ['PS256'] })
    expect(await world.verify()).toMatchObject({ ok: false, reason: { part: 'alg' } })
  })
})

function tokenHash(): string {
  return hash('sha256', REQUEST.accessToken, 'base64url')
}

function zeros(): string {
  return Buffer.alloc(64).toString('base64url')
}

function privateJwk() {
  return client.key.privateKey.export({ format: 'jwk' })
}

function withTwin(world: World): string {
  const [head, payload, signature] = split(world.proof())
  return `${head}.${payload}.${twinOf(signature)}`
}

function withPublicKeyAsSecret(world: World): string {
  const secret = client.key.publicKey.export({ type: 'spki', format: 'pem' })
  return resigned(world, 'HS256', (input) =>
    createHmac('sha256', secret).update(input).digest('base64url'),
  )
}

function withOtherPayload(world: World): string {
  const [head, , signature] = split(world.proof())
  return `${head}.${split(world.proof())[1]}.${signature}`
}

function withDer(world: World): string {
  return resigned(world, 'ES256', (input) =>
    sign('sha256', Buffer.from(input), client.key.privateKey).toString('base64url'),
  )
}

describe('a proof is refused although its key is known by then, and', () => {
  async function startWarm(options: DpopOptions = {}): Promise<World> {
    const world = start(options)
    expect(await world.verify()).toMatchObject({ ok: true })
    return world
  }

  test.each<Row>([
    [
      'it is signed by somebody else',
      (w) => w.proof({ header: { jwk: client.jwk } }, other),
      'signature',
    ],
    ['its payload is another', withOtherPayload, 'signature'],
    ['its header is written in another way', withTwinOfHeader, 'form'],
    ['it is made for another method', claims({ htm: 'GET' }), 'htm'],
    ['it is old', at(-61), 'iat'],
  ])('%s', async (_row, make, part) => {
    const world = await startWarm()
    expect(await world.verify({ proof: make(world) })).toMatchObject({ reason: { part } })
  })

  test('the token is another than the one that it is made for', async () => {
    const world = await startWarm()
    for (const accessToken of ['another', '', `${REQUEST.accessToken} `]) {
      for (const proof of [world.proof(), world.proof({ claims: { ath: '' } })]) {
        const outcome = await world.verify({ accessToken, proof })
        expect(outcome).toMatchObject({ ok: false, reason: { part: 'ath' } })
      }
      const ath = hash('sha256', accessToken, 'base64url')
      const proof = world.proof({ claims: { ath } })
      expect(await world.verify({ proof })).toMatchObject({ reason: { part: 'ath' } })
      expect(await world.verify()).toMatchObject({ ok: true })
    }
  })

  test('the token is bound to another key', async () => {
    const world = await startWarm()
    const outcome = await world.verify({ thumbprint: other.thumbprint })
    expect(outcome).toMatchObject({ ok: false, reason: { part: 'jwk' } })
  })

  test.each(['', 'x', `${client.thumbprint}x`, client.thumbprint.toLowerCase()])(
    'the token is bound to %j',
    async (thumbprint) => {
      const world = await startWarm()
      expect(await world.verify({ thumbprint })).toMatchObject({
        ok: false,
        reason: { part: 'jwk' },
      })
    },
  )
})

function withTwinOfHeader(world: World): string {
  const [, payload, signature] = split(world.proof())
  // One space more, so that its last character has spare bits.
  const padded = [0, 1, 2].map((count) => encode(JSON.stringify(HEADER) + ' '.repeat(count)))
  const head = padded.find((text) => text.length % 4 !== 0) ?? ''
  return `${twinOf(head)}.${payload}.${signature}`
}

describe('a proof is accepted', () => {
  test.each(['ES256', 'EdDSA', 'PS256', 'RS256'])('signed with %s', async (alg) => {
    const own = await createProofClient(alg)
    const world = start()
    for (let time = 0; time < 2; time += 1) {
      const outcome = await world.verify({
        proof: world.proof({}, own),
        thumbprint: own.thumbprint,
      })
      expect(outcome).toEqual({ ok: true, value: undefined })
    }
  })

  test('signed with Ed25519, as RFC 9864 calls it', async () => {
    const own = await createProofClient('EdDSA')
    const world = start()
    const payload = { ...claimsOf(world.proof()) }
    const head = { typ: 'dpop+jwt', alg: 'Ed25519', jwk: own.jwk }
    const proof = signToken(own.key, payload, head, 'EdDSA')
    expect(await world.verify({ proof, thumbprint: own.thumbprint })).toMatchObject({ ok: true })
  })

  test('whose key has a name and a purpose', async () => {
    const world = start()
    const jwk = { ...client.jwk, kid: 'mine', use: 'sig', alg: 'ES256', key_ops: ['verify'] }
    expect(await world.verify({ proof: world.proof({ header: { jwk } }) })).toMatchObject({
      ok: true,
    })
  })

  test.each([-60, 0, 5])('made %d seconds from now', async (offset) => {
    const world = start()
    expect(await world.verify({ proof: at(offset)(world) })).toMatchObject({ ok: true })
  })

  test.each([
    'https://API.example/notes/1',
    'HTTPS://api.example:443/notes/1',
    'https://api.example/notes/1?page=2',
    'https://api.example/notes/1#top',
    'https://api.example/x/../notes/1',
    'https://api.example/%6Eotes/1',
  ])('for %s, which is another spelling', async (htu) => {
    const world = start()
    expect(await world.verify({ proof: claims({ htu })(world) })).toMatchObject({ ok: true })
  })

  test('for a request whose address has a query', async () => {
    const world = start()
    const url = `${REQUEST.url}?path=/../x`
    expect(await world.verify({ url })).toMatchObject({ ok: true })
  })

  test('with the longest jti, and whatever else the client says', async () => {
    const world = start()
    const proof = claims({ jti: 'x'.repeat(256), nonce: 'not asked for', exp: 1 })(world)
    expect(await world.verify({ proof })).toMatchObject({ ok: true })
  })
})

function claimsOf(proof: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(split(proof)[1], 'base64url').toString()) as Record<string, unknown>
}

test.each([
  'https://api.example/x/../notes/1',
  'https://api.example/x/%2e%2E/notes/1',
  'https://api.example/notes/./1',
  'https://api.example/notes/1/.',
  'https://api.example/notes\\1',
  'api.example/notes/1',
  '',
])(
  'a request to %j, which no client sends, is not what a proof for its short form is for',
  async (url) => {
    const outcome = await start().verify({ url })
    expect(outcome).toMatchObject({ ok: false, reason: { part: 'htu' } })
  },
)

test('an RSA key signs with the algorithm that the header names and no other', async () => {
  const world = start()
  const payload = claimsOf(world.proof())
  for (const [said, done] of [
    ['PS256', 'RS256'],
    ['RS256', 'PS256'],
  ] as const) {
    const proof = signToken(rsa.key, payload, { ...HEADER, alg: said, jwk: rsa.jwk }, done)
    const outcome = await world.verify({ proof, thumbprint: rsa.thumbprint })
    expect(outcome).toMatchObject({ ok: false, reason: { part: 'signature' } })
  }
})

describe('a proof is good once', () => {
  const replayed = { ok: false, reason: { kind: 'invalid_dpop_proof', part: 'jti' } }

  test('by itself', async () => {
    const world = start()
    const request = world.request()
    expect(await world.dpop.verify(request)).toMatchObject({ ok: true })
    expect(await world.dpop.verify(request)).toMatchObject(replayed)
  })

  test('also when its signature is written in the other form that ECDSA allows', async () => {
    const world = start()
    const request = world.request()
    const [head, payload, signature] = split(request.proof ?? '')
    const mirrored = `${head}.${payload}.${mirrorOf(signature)}`
    expect(await world.dpop.verify({ ...request, proof: mirrored })).toMatchObject({ ok: true })
    expect(await world.dpop.verify(request)).toMatchObject(replayed)
  })

  test('also when another proof has its jti', async () => {
    const world = start()
    expect(await world.verify({ proof: claims({ jti: 'a' })(world) })).toMatchObject({ ok: true })
    expect(await world.verify({ proof: claims({ jti: 'a' })(world) })).toMatchObject(replayed)
  })

  test('and keeps nobody else from the same jti', async () => {
    const world = start()
    const proof = world.proof({ claims: { jti: 'a' } }, other)
    expect(await world.verify({ proof: claims({ jti: 'a' })(world) })).toMatchObject({ ok: true })
    expect(await world.verify({ proof, thumbprint: other.thumbprint })).toMatchObject({ ok: true })
  })

  test('for as long as it is fresh, and one that is from ahead for longer', async () => {
    const world = start()
    const request = world.request({ proof: at(5)(world) })
    expect(await world.dpop.verify(request)).toMatchObject({ ok: true })
    for (let second = 0; second <= 65; second += 1) {
      expect(await world.dpop.verify(request), `after ${second} s`).toMatchObject(replayed)
      await world.clock.advance(1000)
    }
    expect(await world.dpop.verify(request)).toMatchObject({ reason: { part: 'iat' } })
  })

  test('also when the clock was ahead meanwhile, by more than it is fresh', async () => {
    const clock = createTurnableClock()
    let wrong = 0
    const settable = { ...clock, now: () => clock.now() + wrong }
    const dpop = createDpopVerifier({ clock: settable })
    const prove = () => makeProof(client, REQUEST, settable)
    const ask = (proof: string) => dpop.verify({ ...REQUEST, proof, thumbprint: client.thumbprint })
    const proof = prove()
    expect(await ask(proof)).toMatchObject({ ok: true })
    wrong = 120_000
    expect(await ask(prove())).toMatchObject({ ok: true })
    wrong = 0
    expect(await ask(proof)).toMatchObject(replayed)
  })

  test('also when the clock is set back meanwhile', async () => {
    const world = start()
    const request = world.request()
    expect(await world.dpop.verify(request)).toMatchObject({ ok: true })
    await world.clock.advance(59_000)
    expect(await world.verify()).toMatchObject({ ok: true })
    await world.clock.advance(-59_000)
    expect(await world.dpop.verify(request)).toMatchObject(replayed)
  })

  test('when fifty send it at once, and the store is far away', async () => {
    const near = createMemoryReplayStore({ clock: createTurnableClock() })
    const replays = {
      async take(key: string, expiresAt: number, holder: string) {
        await new Promise(setImmediate)
        return near.take(key, expiresAt, holder)
      },
    }
    const world = start({ replays })
    const request = world.request()
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, async () => world.dpop.verify(request)),
    )
    const losers = outcomes.filter(({ ok }) => !ok)
    expect(losers).toHaveLength(49)
    for (const loser of losers) expect(loser).toMatchObject(replayed)
  })
})

test('one client that sends many proofs keeps no other from being let in', async () => {
  const clock = createTurnableClock()
  const replays = createMemoryReplayStore({ clock, maxEntries: 20 })
  const world = start({ replays })
  for (let count = 0; count < 20; count += 1) await world.verify()
  expect(await world.verify()).toMatchObject({ reason: { kind: 'replays_unavailable' } })
  const proof = world.proof({}, other)
  expect(await world.verify({ proof, thumbprint: other.thumbprint })).toMatchObject({ ok: true })
})

describe('a request of what is no text', () => {
  test.each<[string, Record<string, unknown>]>([
    ['a list of proofs', { proof: ['a.b.c'] }],
    ['an object as its proof', { proof: {} }],
    ['null as its proof', { proof: null }],
    ['no method', { method: undefined }],
    ['no address', { url: undefined }],
    ['a number as its address', { url: [1] }],
    ['no token', { accessToken: undefined }],
    ['no thumbprint', { thumbprint: undefined }],
  ])('is refused and no more: %s', async (_case, change) => {
    const outcome = await start().verify(change)
    expect(outcome).toMatchObject({ reason: { kind: 'invalid_dpop_proof', part: 'form' } })
  })
})

test('of several addresses that a request may have had, the proof is for one', async () => {
  const world = start()
  const urls = ['https://api.example/v1/notes', 'https://api.example/v2/notes']
  const ask = async (htu: string) => {
    const outcome = await world.verify({ url: urls, proof: claims({ htu })(world) })
    return outcome.ok
  }
  expect(await ask('https://api.example/v1/notes')).toBe(true)
  expect(await ask('https://api.example/v2/notes')).toBe(true)
  expect(await ask('https://api.example/notes')).toBe(false)
  expect(await ask('https://api.example/v1/notes,https://api.example/v2/notes')).toBe(false)
  const { ok } = await world.verify({ url: [] })
  expect(ok).toBe(false)
})

describe('a store that cannot say whether a proof is new', () => {
  const full = createMemoryReplayStore({ maxEntries: 1, clock: createTurnableClock() })
  void full.take('x', Number.MAX_SAFE_INTEGER, 'y')
  test.each([
    ['is full', full],
    ['throws', { take: () => fail('away') }],
    ['rejects', { take: async () => fail('away') }],
    ['rejects with what is no error', { take: () => Promise.reject<boolean>('away') }],
  ])('and %s lets nobody in', async (_row, replays) => {
    const outcome = await start({ replays }).verify()
    const reason = { kind: 'replays_unavailable', retryAfterSeconds: 5, cause: expect.any(Error) }
    expect(outcome).toEqual({ ok: false, reason })
  })
})

function fail(message: string): never {
  throw new Error(message)
}

describe('where a nonce is asked for', () => {
  function startWithNonces(): World & { readonly nonce: () => string } {
    const clock = createTurnableClock()
    const nonces = createDpopNonces({ clock, secret: Buffer.alloc(32, 1), lifetimeSeconds: 60 })
    const world = start({ clock, nonces })
    const proof: World['proof'] = (change, by = client) => makeProof(by, REQUEST, clock, change)
    const request: World['request'] = (change) => ({
      ...world.request(),
      proof: proof(),
      ...change,
    })
    return {
      ...world,
      clock,
      proof,
      request,
      verify: async (change) => world.dpop.verify(request(change)),
      nonce: () => world.dpop.currentNonce() ?? '',
    }
  }

  test.each([undefined, '', 'x', 1, ['x'], null, 'x\r\nSet-Cookie: a=b'])(
    'a proof with the nonce %j is answered the one to use',
    async (nonce) => {
      const world = startWithNonces()
      const outcome = await world.verify({ proof: claims({ nonce })(world) })
      const reason = { kind: 'use_dpop_nonce', nonce: world.nonce() }
      expect(outcome).toEqual({ ok: false, reason })
      expect(world.nonce()).toMatch(/^[\w-]{43}$/)
    },
  )

  test('a proof with the next one is accepted, which a clock that is ahead gives out', async () => {
    const world = startWithNonces()
    const ahead = (milliseconds: number) => {
      const clock = { ...world.clock, now: () => world.clock.now() + milliseconds }
      return createDpopNonces({ clock, secret: Buffer.alloc(32, 1), lifetimeSeconds: 60 }).current()
    }
    const outcomes = await Promise.all(
      [60_000, 120_000].map((milliseconds) =>
        world.verify({ proof: claims({ nonce: ahead(milliseconds) })(world) }),
      ),
    )
    expect(outcomes.map(({ ok }) => ok)).toEqual([true, false])
    // And is the one that is given out when its time has come.
    const next = ahead(60_000)
    await world.clock.advance(60_000)
    expect(world.nonce()).toBe(next)
  })

  test('a proof with it is accepted until the one after the next has come', async () => {
    const world = startWithNonces()
    const nonce = world.nonce()
    for (const expected of [true, true, false]) {
      const { ok } = await world.verify({ proof: claims({ nonce })(world) })
      expect(ok).toBe(expected)
      await world.clock.advance(60_000)
    }
    expect(world.nonce()).not.toBe(nonce)
  })

  test('a proof that was sent without is not used up', async () => {
    const world = startWithNonces()
    const jti = 'a'
    expect(await world.verify({ proof: claims({ jti })(world) })).toMatchObject({ ok: false })
    const proof = claims({ jti, nonce: world.nonce() })(world)
    expect(await world.verify({ proof })).toMatchObject({ ok: true })
  })

  test('a stranger is told none: the proof must be right otherwise', async () => {
    const world = startWithNonces()
    const outcome = await world.verify({ proof: world.proof({}, other) })
    expect(outcome).toMatchObject({ ok: false, reason: { kind: 'invalid_dpop_proof' } })
  })

  test('processes that share a secret accept what the others gave out', async () => {
    const clock = createTurnableClock()
    const secret = Buffer.alloc(32, 7)
    const [one, two] = [createDpopNonces({ clock, secret }), createDpopNonces({ clock, secret })]
    expect(two.isAccepted(one.current())).toBe(true)
    expect(createDpopNonces({ clock }).isAccepted(one.current())).toBe(false)
  })
})

test('a thousand keys and more are not too many', async () => {
  const world = start()
  for (let count = 0; count < 1001; count += 1) {
    const proof = world.proof({ header: { more: count } })
    expect(await world.verify({ proof })).toMatchObject({ ok: true })
  }
  expect(await world.verify()).toMatchObject({ ok: true })
})

test('the example of RFC 9449 §7.1 is accepted, at its time', () => {
  const proof = [
    'eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUkl',
    'DUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2',
    'R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR',
    '0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZ',
    'lVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimP',
    'PToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA',
  ].join('')
  const clock = { ...createTurnableClock(), now: () => 1_562_262_618_000 }
  const outcome = createDpopVerifier({ clock }).verify({
    proof,
    method: 'GET',
    url: 'https://resource.example.org/protectedresource',
    accessToken: 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU',
    thumbprint: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I',
  })
  expect(outcome).toEqual({ ok: true, value: undefined })
})

describe('whatever the header holds', () => {
  test('a good proof with a change is never accepted, and never too much', async () => {
    const world = start()
    const good = world.proof()
    const change = fc.record({
      position: fc.nat(good.length),
      remove: fc.nat(3),
      insert: fc.oneof(fc.stringMatching(/^[\w.-]{0,3}$/), fc.string({ maxLength: 3 })),
    })
    const property = fc.asyncProperty(change, async ({ position, remove, insert }) => {
      const proof = good.slice(0, position) + insert + good.slice(position + remove)
      fc.pre(proof !== good)
      expect(await world.verify({ proof })).toMatchObject({
        reason: { kind: 'invalid_dpop_proof' },
      })
    })
    await fc.assert(property, { numRuns: 1000 })
    expect(await world.verify({ proof: good })).toMatchObject({ ok: true })
  })

  test('signed claims of any kind are never too much', async () => {
    const world = start()
    const property = fc.asyncProperty(fc.jsonValue(), fc.jsonValue(), async (payload, jwk) => {
      for (const head of [HEADER, { ...HEADER, jwk }]) {
        const proof = signToken(client.key, JSON.stringify(payload), head)
        const outcome = await world.verify({ proof })
        expect(outcome).toMatchObject({ reason: { kind: 'invalid_dpop_proof' } })
      }
    })
    await fc.assert(property, { numRuns: 100 })
  })
})

describe('an option that cannot be right is refused:', () => {
  test.each<[string, () => unknown]>([
    ['algorithms', () => createDpopVerifier({ algorithms: [] })],
    ['algorithms', () => createDpopVerifier({ algorithms: ['HS256' as ProofAlgorithm] })],
    ['maxAgeSeconds', () => createDpopVerifier({ maxAgeSeconds: 0 })],
    ['maxAgeSeconds', () => createDpopVerifier({ maxAgeSeconds: 301 })],
    ['maxAgeSeconds', () => createDpopVerifier({ maxAgeSeconds: Number.NaN })],
    ['clockToleranceSeconds', () => createDpopVerifier({ clockToleranceSeconds: -1 })],
    ['no option nonce', () => createDpopVerifier({ nonce: true } as DpopOptions)],
    ['secret: createDpopNonces', () => createDpopNonces({ secret: Buffer.alloc(31) })],
    ['lifetimeSeconds', () => createDpopNonces({ lifetimeSeconds: 9 })],
    ['no option lifetime', () => createDpopNonces({ lifetime: 9 } as never)],
    ['maxEntries', () => createMemoryReplayStore({ maxEntries: 0 })],
  ])('%s', (message, make) => {
    expect(make).toThrow(TypeError)
    expect(make).toThrow(message)
  })
})

import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { createVerifier, type Verifier, type VerifierOptions } from '../../resource-server/index.ts'
import {
  API,
  createKey,
  encode,
  signToken,
  startIssuer,
  type TestIssuer,
} from '../support/issuer.ts'
import { createTurnableClock, type TurnableClock } from '../support/turnable-clock.ts'

const key = await createKey('ES256')
const kid = String(key.jwk.kid)

interface World extends AsyncDisposable {
  readonly clock: TurnableClock
  readonly issuer: TestIssuer
  readonly verifier: Verifier
}

async function start(options: Partial<VerifierOptions> = {}): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const clock = createTurnableClock()
  const issuer = cleanUp.use(await startIssuer(clock, key))
  const settings = { issuer: issuer.url, audience: API, clock, ...options }
  const verifier = cleanUp.use(createVerifier(settings))
  const running = cleanUp.move()
  return { clock, issuer, verifier, [Symbol.asyncDispose]: () => running.disposeAsync() }
}

async function refusalOf({ verifier }: World, token: string): Promise<unknown> {
  const result = await verifier.verify(token)
  return result.ok ? 'accepted' : result.reason
}

const HEADER = { alg: 'ES256', typ: 'at+jwt', kid }
const headerText = JSON.stringify(HEADER)

/** A raw payload: the good claims with `more` written behind them. */
function payloadText({ issuer }: World, more: string): string {
  return `${JSON.stringify(issuer.claims()).slice(0, -1)},${more}}`
}

describe('the form of a token', () => {
  test.each<[string, (good: string) => string, string]>([
    ['empty', () => '', 'token'],
    ['of two parts', (good) => good.split('.').slice(0, 2).join('.'), 'token'],
    ['of four parts', (good) => `${good}.`, 'token'],
    ['of five parts, as an encrypted one', (good) => `${good}.a.b`, 'token'],
    ['of more than 8 KiB', (good) => good + 'A'.repeat(8192), 'token'],
    ['with a space in it', (good) => good.replace('.', ' .'), 'header'],
    ['with padding', (good) => good.replace(/$/, '='), 'signature'],
    ['in the alphabet of plain base64', (good) => `${good.slice(0, -2)}+/`, 'signature'],
    ['with a header that is no JSON', (good) => good.replace(/^[^.]*/, encode('{')), 'header'],
    ['with a header that is no object', (good) => good.replace(/^[^.]*/, encode('[]')), 'header'],
    [
      'with a header of more than 1024 characters',
      (good) => good.replace(/^[^.]*/, encode({ ...HEADER, x5c: 'A'.repeat(1024) })),
      'header',
    ],
    [
      'with a key id that is a number',
      (good) => good.replace(/^[^.]*/, encode({ ...HEADER, kid: 1 })),
      'header',
    ],
    [
      'with alg twice in its header',
      (good) => good.replace(/^[^.]*/, encode(`{"alg":"none",${headerText.slice(1)}`)),
      'header',
    ],
  ])('is refused when it is %s', async (_case, change, part) => {
    await using world = await start()
    const good = signToken(key, world.issuer.claims())
    expect(await refusalOf(world, good)).toBe('accepted')
    expect(await refusalOf(world, change(good))).toMatchObject({ kind: 'malformed', part })
  })

  test.each<[string, (world: World) => string | Buffer, string]>([
    ['a member twice', (w) => payloadText(w, '"sub":"acc_bob"'), 'a member twice'],
    [
      'a member twice, once in other letters',
      (w) => payloadText(w, String.raw`"\u0073ub":"acc_bob"`),
      'a member twice',
    ],
    [
      'a member twice, behind an object that has ended',
      (w) => payloadText(w, '"x":{"y":[]},"sub":"acc_bob"'),
      'a member twice',
    ],
    [
      'a member twice, behind a text with quotes',
      (w) => payloadText(w, String.raw`"x":"\"\\","sub":"acc_bob"`),
      'a member twice',
    ],
    ['a member twice further down', (w) => payloadText(w, '"x":[{"a":1,"a":2}]'), 'a member twice'],
    ['__proto__', (w) => payloadText(w, '"__proto__":{"scope":"x"}'), 'a member __proto__'],
    [
      '__proto__ in other letters, further down',
      (w) => payloadText(w, String.raw`"x":{"__pr\u006fto__":{}}`),
      'a member __proto__',
    ],
    ['a number that is no double', (w) => payloadText(w, '"x":1e400'), 'a number out of range'],
    [
      'a number that changes when it is read',
      (w) => payloadText(w, '"account":9007199254740993'),
      'a number out of range',
    ],
    [
      'depth without end',
      (w) => payloadText(w, `"x":${'['.repeat(500)}${']'.repeat(500)}`),
      'more than 32 levels',
    ],
    ['a list', () => '[]', 'not an object'],
    ['null', () => 'null', 'not an object'],
    ['no JSON', () => '{"sub":', 'not JSON'],
    ['a byte order mark', (w) => `\uFEFF${JSON.stringify(w.issuer.claims())}`, 'not JSON'],
    [
      'bytes that are not UTF-8',
      (w) => Buffer.from(payloadText(w, '"x":"\u00FF"'), 'latin1'),
      'not UTF-8',
    ],
  ])('is refused when its signed payload holds %s', async (_case, payload, why) => {
    await using world = await start()
    const token = signToken(key, payload(world), headerText)
    expect(await refusalOf(world, token)).toEqual({ kind: 'malformed', part: 'payload', why })
  })

  test('may hold the same name at different places, and text that looks like JSON', async () => {
    await using world = await start()
    const more = String.raw`"act":{"sub":"a","act":{"sub":"b"}},"note":"{\"sub\":1,\"sub\":2}","n":-1.5e3`
    const result = await world.verifier.verify(signToken(key, payloadText(world, more), headerText))
    expect(result).toMatchObject({ ok: true, value: { claims: { n: -1500 } } })
  })
})

describe('the type of a token', () => {
  test.each(['at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/AT+jwt'])(
    'may be %s',
    async (typ) => {
      await using world = await start()
      expect(await refusalOf(world, signToken(key, world.issuer.claims(), { typ }))).toBe(
        'accepted',
      )
    },
  )

  test.each([undefined, 'JWT', 'dpop+jwt', 'logout+jwt', 'secevent+jwt', 'text/at+jwt', 1, null])(
    'must not be %s',
    async (typ) => {
      await using world = await start()
      const refusal = await refusalOf(world, signToken(key, world.issuer.claims(), { typ }))
      expect(refusal).toMatchObject({ kind: 'wrong_type', expected: ['at+jwt'] })
    },
  )

  test('may be JWT where the API says so, and at+jwt as well', async () => {
    await using world = await start({ tokenType: 'JWT' })
    for (const typ of ['JWT', 'jwt', 'at+jwt']) {
      expect(await refusalOf(world, signToken(key, world.issuer.claims(), { typ }))).toBe(
        'accepted',
      )
    }
  })

  test.each<[string, Record<string, unknown>, string]>([
    ['has no client_id', { client_id: undefined }, 'missing_claim'],
    ['has no jti', { jti: undefined }, 'missing_claim'],
    ['has no scope', { scope: undefined }, 'missing_claim'],
    ['has a nonce', { nonce: 'x' }, 'not_an_access_token'],
    ['has an at_hash', { at_hash: 'x' }, 'not_an_access_token'],
    ['tells events, as a logout token does', { events: {} }, 'not_an_access_token'],
    ['is for its own client', { aud: [API, 'web'] }, 'not_an_access_token'],
  ])('JWT does not let an ID token through: it %s', async (_case, change, kind) => {
    await using world = await start({ tokenType: 'JWT' })
    const token = signToken(key, world.issuer.claims(change), { typ: 'JWT' })
    expect(await refusalOf(world, token)).toMatchObject({ kind })
  })
})

describe('the signature', () => {
  test.each<[string, (world: World) => string]>([
    ['another payload', (w) => swap(w, 1, encode(w.issuer.claims({ sub: 'acc_bob' })))],
    ['another header', (w) => swap(w, 0, encode({ ...HEADER, x: 1 }))],
    ['no signature', (w) => swap(w, 2, '')],
    ['a shorter signature', (w) => swap(w, 2, encode(Buffer.alloc(63, 1)))],
    ['a longer signature', (w) => swap(w, 2, encode(Buffer.alloc(65, 1)))],
    ['a signature of zeros', (w) => swap(w, 2, encode(Buffer.alloc(64)))],
  ])('does not fit %s', async (_case, make) => {
    await using world = await start()
    expect(await refusalOf(world, make(world))).toMatchObject({ kind: 'bad_signature', keyId: kid })
  })

  test("of somebody else's key under the same key id does not fit", async () => {
    await using world = await start()
    const other = await createKey('ES256', { kid })
    const token = signToken(other, world.issuer.claims(), {
      jwk: other.jwk,
      jku: 'https://evil.example',
    })
    expect(await refusalOf(world, token)).toMatchObject({ kind: 'bad_signature' })
  })

  test('is made with the algorithm of the key, whatever the token says', async () => {
    await using world = await start()
    const rsa = await createKey('RS256')
    world.issuer.published.keys = [key.jwk, rsa.jwk]
    const token = signToken(rsa, world.issuer.claims(), { alg: 'PS256' }, 'PS256')
    const expected = { kind: 'wrong_algorithm', expected: 'RS256', actual: 'PS256' }
    expect(await refusalOf(world, token)).toEqual(expected)
  })

  test.each(['HS256', 'none', 'RS512', 'ES256K', 'ed25519', 'Ed448', 'toString', '', undefined, 1])(
    'is not looked at with the algorithm %s',
    async (alg) => {
      await using world = await start()
      const token = signToken(key, world.issuer.claims(), { alg })
      expect(await refusalOf(world, token)).toEqual({ kind: 'unsupported_algorithm', actual: alg })
    },
  )
})

test.each([false, true, null])(
  'a header with b64 %j, which no JWT has, is refused',
  async (b64) => {
    await using world = await start()
    const token = signToken(key, world.issuer.claims(), { b64 })
    expect(await refusalOf(world, token)).toMatchObject({ kind: 'malformed', part: 'header' })
  },
)

describe('Ed25519', () => {
  test.each([undefined, 'EdDSA', 'Ed25519'])(
    'is what a key with the alg %s is for',
    async (alg) => {
      const own = await createKey('EdDSA', { alg })
      await using world = await start()
      world.issuer.published.keys = [own.jwk]
      for (const said of ['EdDSA', 'Ed25519']) {
        const token = signToken(own, world.issuer.claims(), { alg: said })
        expect(await world.verifier.verify(token)).toMatchObject({ ok: true })
      }
      const token = signToken(own, world.issuer.claims(), { alg: 'ES256' })
      expect(await refusalOf(world, token)).toMatchObject({ kind: 'wrong_algorithm' })
    },
  )

  test('is not what a key of another kind is for', async () => {
    await using world = await start()
    const rsa = await createKey('RS256', { alg: 'Ed25519' })
    world.issuer.published.keys = [key.jwk, rsa.jwk]
    const byRsa = signToken(rsa, world.issuer.claims(), { alg: 'RS256' }, 'RS256')
    expect(await refusalOf(world, byRsa)).toMatchObject({ kind: 'unknown_key' })
    const said = signToken(key, world.issuer.claims(), { alg: 'Ed25519' })
    const expected = { kind: 'wrong_algorithm', expected: 'ES256', actual: 'Ed25519' }
    expect(await refusalOf(world, said)).toEqual(expected)
  })

  test.each(['ed25519', 'EDDSA', 'Ed448', ''])('is not the alg %j of a key', async (alg) => {
    const own = await createKey('EdDSA', { alg })
    await using world = await start()
    world.issuer.published.keys = [own.jwk]
    const token = signToken(own, world.issuer.claims(), { alg: 'EdDSA' }, 'EdDSA')
    expect(await refusalOf(world, token)).toMatchObject({ kind: 'unknown_key' })
  })
})

function swap({ issuer }: World, part: number, text: string): string {
  return signToken(key, issuer.claims()).split('.').with(part, text).join('.')
}

describe('the claims', () => {
  test.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ['no sub', { sub: undefined }, { kind: 'missing_claim', claim: 'sub' }],
    ['no client_id', { client_id: undefined }, { kind: 'missing_claim', claim: 'client_id' }],
    ['no iat', { iat: undefined }, { kind: 'missing_claim', claim: 'iat' }],
    ['no jti', { jti: undefined }, { kind: 'missing_claim', claim: 'jti' }],
    ['an empty sub', { sub: '' }, { kind: 'malformed_claim', claim: 'sub' }],
    ['a sub that is a number', { sub: 1 }, { kind: 'malformed_claim', claim: 'sub' }],
    ['half a character as sub', { sub: '\uD800' }, { kind: 'malformed_claim', claim: 'sub' }],
    ['an exp that is a text', { exp: '9999999999' }, { kind: 'malformed_claim', claim: 'exp' }],
    ['a negative exp', { exp: -1 }, { kind: 'malformed_claim', claim: 'exp' }],
    ['null as iat', { iat: null }, { kind: 'malformed_claim', claim: 'iat' }],
    ['an nbf that is a text', { nbf: '0' }, { kind: 'malformed_claim', claim: 'nbf' }],
    ['no audience', { aud: [] }, { kind: 'malformed_claim', claim: 'aud' }],
    ['a number among audiences', { aud: [API, 1] }, { kind: 'malformed_claim', claim: 'aud' }],
    ['an object as audience', { aud: { 0: API } }, { kind: 'malformed_claim', claim: 'aud' }],
    ['a list as scope', { scope: ['a'] }, { kind: 'malformed_claim', claim: 'scope' }],
    ['a text as roles', { roles: 'admin' }, { kind: 'malformed_claim', claim: 'roles' }],
    ['objects as roles', { roles: [{}] }, { kind: 'malformed_claim', claim: 'roles' }],
    ['another issuer', { iss: 'https://evil.example' }, { kind: 'wrong_issuer' }],
    ['another audience', { aud: 'https://b.example/' }, { kind: 'wrong_audience' }],
    ['an audience that begins like ours', { aud: `${API}x` }, { kind: 'wrong_audience' }],
    ['cnf of null', { cnf: null }, { kind: 'sender_constrained' }],
  ])('are refused with %s', async (_case, change, reason) => {
    await using world = await start()
    expect(await refusalOf(world, signToken(key, world.issuer.claims(change)))).toMatchObject(
      reason,
    )
  })

  test('must name the issuer to the letter', async () => {
    await using world = await start()
    const token = signToken(key, world.issuer.claims({ iss: `${world.issuer.url}/` }))
    expect(await refusalOf(world, token)).toMatchObject({ kind: 'wrong_issuer' })
  })

  test.each([
    ['one of the audiences of the token', { aud: ['https://b.example/', API] }, API],
    ['one of its own audiences', { aud: API }, ['https://b.example/', API]],
  ])('may name the API as %s', async (_case, change, audience) => {
    await using world = await start({ audience })
    expect(await refusalOf(world, signToken(key, world.issuer.claims(change)))).toBe('accepted')
  })

  test('may leave scope and roles out: then the token allows nothing by itself', async () => {
    await using world = await start()
    const result = await world.verifier.verify(
      signToken(key, world.issuer.claims({ scope: undefined })),
    )
    if (!result.ok) throw new Error(result.reason.kind)
    expect([result.value.scopes.size, result.value.roles.size]).toEqual([0, 0])
  })
})

describe('the times', () => {
  test.each([
    [{}, 604_999, 'accepted'],
    [{}, 605_000, 'expired'],
    [{ clockToleranceSeconds: 0 }, 599_999, 'accepted'],
    [{ clockToleranceSeconds: 0 }, 600_000, 'expired'],
  ])('end a token after its life and the tolerance: %o, %i ms', async (options, later, outcome) => {
    await using world = await start(options)
    const token = signToken(key, world.issuer.claims())
    await world.clock.advance(later)
    const refusal = await refusalOf(world, token)
    expect((refusal as { kind?: string }).kind ?? refusal).toBe(outcome)
  })

  test.each(['iat', 'nbf'])('may be %s five seconds ahead, and no more', async (claim) => {
    await using world = await start()
    const now = world.clock.now() / 1000
    const at = (value: number) => signToken(key, world.issuer.claims({ [claim]: value }))
    expect(await refusalOf(world, at(now + 5))).toBe('accepted')
    const expected = { kind: 'not_yet_valid', claim, value: now + 6, now }
    expect(await refusalOf(world, at(now + 6))).toEqual(expected)
  })
})

describe('what a verified token says', () => {
  test('is a person, or a service where the subject is the client', async () => {
    await using world = await start()
    const verify = async (change: Record<string, unknown>) => {
      const result = await world.verifier.verify(signToken(key, world.issuer.claims(change)))
      if (!result.ok) throw new Error(result.reason.kind)
      return result.value
    }
    const person = await verify({ roles: ['admin'] })
    expect(person).toMatchObject({ kind: 'person', subject: 'acc_alice', clientId: 'web' })
    expect([...person.scopes]).toEqual(['notes:read', 'notes:write'])
    expect([...person.roles]).toEqual(['admin'])
    expect(await verify({ sub: 'web' })).toMatchObject({ kind: 'service', subject: 'web' })
  })

  test('cannot be changed', async () => {
    await using world = await start()
    const token = signToken(key, world.issuer.claims({ act: { sub: 'x', chain: [{}] } }))
    const result = await world.verifier.verify(token)
    if (!result.ok) throw new Error(result.reason.kind)
    const { value } = result
    const { act } = value.claims as { act?: { sub: string; chain: object[] } }
    for (const part of [value, value.claims, act, act?.chain, act?.chain[0]]) {
      expect(Object.isFrozen(part)).toBe(true)
    }
  })

  test('grants what nobody can add to, nor take away, for this request or another', async () => {
    await using world = await start()
    const claims = { scope: 'notes:read notes:write', roles: ['reader'] }
    const verify = async () => {
      const result = await world.verifier.verify(signToken(key, world.issuer.claims(claims)))
      if (!result.ok) throw new Error(result.reason.kind)
      return result.value
    }
    const { scopes, roles } = await verify()
    for (const granted of [scopes, roles]) {
      const set = granted as Set<string>
      const before = [...granted]
      const attempts: (() => unknown)[] = [
        () => set.add('admin'),
        () => set.delete('notes:read'),
        () => set.clear(),
        () => Set.prototype.add.call(set, 'admin'),
        () => Set.prototype.delete.call(set, 'notes:read'),
        () => Set.prototype.clear.call(set),
        () => granted.forEach((_name, _same, all) => Set.prototype.add.call(all, 'admin')),
        () => Object.assign(set, { has: () => true }),
        () => Object.assign(Object.getPrototypeOf(set) as object, { has: () => true }),
        () => Object.defineProperty(set, 'has', { value: () => true }),
        () => Object.setPrototypeOf(set, new Set(['admin'])),
      ]
      for (const attempt of attempts) expect(attempt).toThrow(TypeError)
      expect([...granted]).toEqual(before)
      expect(granted.has('admin')).toBe(false)
    }
    const again = await verify()
    expect(again.scopes).toBe(scopes)
    expect(again.scopes.has('admin')).toBe(false)
  })

  test('grants what reads as any set does', async () => {
    await using world = await start()
    const result = await world.verifier.verify(signToken(key, world.issuer.claims()))
    if (!result.ok) throw new Error(result.reason.kind)
    const { scopes } = result.value
    const names = ['notes:read', 'notes:write']
    const seen: unknown[] = []
    scopes.forEach(function (this: unknown, name, same, all) {
      seen.push([this, name, same, all === scopes])
    }, 'x')
    expect(seen).toEqual(names.map((name) => ['x', name, name, true]))
    expect(scopes.size).toBe(2)
    expect([scopes.has('notes:read'), scopes.has('notes:admin')]).toEqual([true, false])
    expect([[...scopes.keys()], [...scopes.values()]]).toEqual([names, names])
    expect([...scopes.entries()]).toEqual(names.map((name) => [name, name]))
    expect(inspect(scopes)).toBe(inspect(new Set(names)))
    // What Sets can do since Node 22, the types of which this project does not load.
    const algebra = scopes as unknown as {
      isSubsetOf(other: Set<string>): boolean
      union(other: Set<string>): Set<string>
    }
    expect(algebra.isSubsetOf(new Set([...names, 'x']))).toBe(true)
    expect(algebra.union(new Set(['x']))).toEqual(new Set([...names, 'x']))
    expect([...scopes]).toEqual(names)
  })
})

describe('a verifier is not made', () => {
  const good = { issuer: 'https://as.example', audience: API }
  test.each<[string, Record<string, unknown>, RegExp]>([
    ['without an issuer', { issuer: undefined }, /^issuer: /],
    ['for an issuer that is no URL', { issuer: 'as.example' }, /^issuer: /],
    ['for an issuer with a query', { issuer: 'https://as.example?x' }, /^issuer: /],
    ['for an issuer with spaces', { issuer: ' https://as.example' }, /^issuer: /],
    ['for an issuer with a password', { issuer: 'https://a:b@as.example' }, /^issuer: /],
    ['for plain http', { issuer: 'http://as.example' }, /^issuer: .*https/],
    ['for what only looks like loopback', { issuer: 'http://127.0.0.1.evil.example' }, /^issuer: /],
    ['without an audience', { audience: undefined }, /^audience: /],
    ['with no audience in a list', { audience: [] }, /^audience: /],
    ['with an empty audience', { audience: [API, ''] }, /^audience: /],
    ['with an unknown type', { tokenType: 'jwt' }, /^tokenType: /],
    ['with a negative tolerance', { clockToleranceSeconds: -1 }, /^clockToleranceSeconds: /],
    ['with a tolerance of an hour', { clockToleranceSeconds: 3600 }, /^clockToleranceSeconds: /],
    ['with a tolerance that is no number', { clockToleranceSeconds: NaN }, /^clockToleranceSeco/],
    ['with a misspelt option', { audiences: API }, /no option audiences; .*audience/],
  ])('%s', (_case, change, message) => {
    const options = { ...good, ...change } as unknown as VerifierOptions
    expect(() => createVerifier(options)).toThrow(TypeError)
    expect(() => createVerifier(options)).toThrow(message)
  })

  test.each(['https://as.example/tenant/', 'http://localhost:3000', 'http://[::1]:3000'])(
    'but for %s it is',
    async (issuer) => {
      await using verifier = createVerifier({ ...good, issuer })
      expect(verifier.issuers).toEqual([issuer])
    },
  )
})

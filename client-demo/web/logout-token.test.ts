import { createLocalJWKSet, exportJWK, generateKeyPair, SignJWT, type JWTPayload } from 'jose'
import { describe, expect, test } from 'vitest'
import { verifyLogoutToken } from './logout-token.ts'

const EVENT = 'http://schemas.openid.net/event/backchannel-logout'
const parties = { issuer: 'https://as.example', clientId: 'web' }
const own = await generateKeyPair('RS256')
const foreign = await generateKeyPair('RS256')
const jwk = await exportJWK(own.publicKey)
const keys = createLocalJWKSet({ keys: [{ ...jwk, kid: 'a', alg: 'RS256' }] })

const GOOD = {
  iss: 'https://as.example',
  aud: 'web',
  jti: 'j',
  sub: 'acc_a',
  sid: 'sid_a',
  events: { [EVENT]: {} },
}

interface Making {
  readonly typ?: string
  readonly key?: typeof own.privateKey
  readonly age?: number
}

function sign(
  claims: JWTPayload,
  { typ = 'logout+jwt', key = own.privateKey, age = 0 }: Making = {},
) {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'RS256', kid: 'a', typ })
    .setIssuedAt(`${-age}s`)
    .setExpirationTime(`${120 - age}s`)
    .sign(key)
}

function without(name: keyof typeof GOOD): JWTPayload {
  return Object.fromEntries(Object.entries(GOOD).filter(([member]) => member !== name))
}

const [header = '', payload = ''] = (await sign(GOOD)).split('.')
const none = Buffer.from('{"alg":"none","typ":"logout+jwt"}').toString('base64url')

describe('a logout token (§2.6)', () => {
  test('names the session that is over', async () => {
    expect(await verifyLogoutToken(await sign(GOOD), keys, parties)).toBe('sid_a')
    expect(await verifyLogoutToken(await sign({ ...GOOD, more: 1 }), keys, parties)).toBe('sid_a')
  })

  test.each([
    ['of another key', sign(GOOD, { key: foreign.privateKey })],
    ['without a signature', `${header}.${payload}.`],
    ['of alg none', `${none}.${payload}.`],
    ['of another type', sign(GOOD, { typ: 'JWT' })],
    ['that is an access token', sign(GOOD, { typ: 'at+jwt' })],
    ['of another server', sign({ ...GOOD, iss: 'https://as.example/' })],
    ['for another client', sign({ ...GOOD, aud: 'spa' })],
    ['that has expired', sign(GOOD, { age: 181 })],
    ['with a nonce', sign({ ...GOOD, nonce: 'n' })],
    ['without a session', sign(without('sid'))],
    ['with a session that is no text', sign({ ...GOOD, sid: 1 })],
    ['without a jti', sign(without('jti'))],
    ['without events', sign(without('events'))],
    ['of another event', sign({ ...GOOD, events: { 'https://x.example/': {} } })],
    ['whose event is no object', sign({ ...GOOD, events: { [EVENT]: true } })],
    ['whose events are a list', sign({ ...GOOD, events: [EVENT] })],
  ])('%s is refused', async (_what, token) => {
    await expect(verifyLogoutToken(await token, keys, parties)).rejects.toMatchObject({
      status: 400,
      code: 'invalid_request',
    })
  })

  test('by a key that is not known yet is not refused for good', async () => {
    const [, ...rest] = (await sign(GOOD)).split('.')
    const head = { alg: 'RS256', kid: 'next', typ: 'logout+jwt' }
    const other = Buffer.from(JSON.stringify(head)).toString('base64url')
    await expect(
      verifyLogoutToken([other, ...rest].join('.'), keys, parties),
    ).rejects.toMatchObject({ code: 'ERR_JWKS_NO_MATCHING_KEY' })
  })

  test('is not refused where the keys are away: the server tries again', async () => {
    const away = () => Promise.reject(new TypeError('fetch failed'))
    await expect(verifyLogoutToken(await sign(GOOD), away, parties)).rejects.toThrow('fetch failed')
  })
})

import { expect, test } from 'vitest'
import { conceal, concealBody, concealText, concealTexts, concealUrl } from './conceal.ts'

const JWT = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhY2NfMTIzNDU2Nzg5MCJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ'
const LONG = 'abcdefghijklMNOPqrstuvwxyz0123456789_-ABCDE'

test.each([
  ['access_token', JWT, 'eyJhbGciOiJF…'],
  ['refresh_token', LONG, 'abcdefghijkl…'],
  ['password', 'short', '(hidden)'],
  ['authorization', `Bearer ${JWT}`, 'Bearer eyJhbGciOiJF…'],
  ['authorization', `Basic ${btoa('robot:a-secret')}`, 'Basic (robot:…)'],
  ['request_uri', `urn:x:request_uri:${'a1B2'.repeat(11)}`, 'urn:x:request_uri:a1B2a1B2a1B2…'],
  ['location', `/callback?code=${JWT}&state=s`, '/callback?code=eyJhbGciOiJF…&state=s'],
])('shows of %s no more than it may', (name, value, shown) => {
  expect(conceal(name, value)).toBe(shown)
})

test.each([
  'api-key',
  'api_key',
  'apiKey',
  'X-API-Key',
  'key',
  'token',
  'Token',
  'access_token',
  'refresh_token',
  'id_token_jwt',
  'subject_token',
  'code',
  'device_code',
  'recovery_codes',
  'code_verifier',
  'client_secret',
  'clientSecret',
  'client_assertion',
  'otp',
  'pin',
  'csrf',
  'session',
  'DPoP',
  'd',
  'k',
])('shows nothing of a short %s', (name) => {
  expect(conceal(name, 'ABCDE')).toBe('(hidden)')
  // A third of it would be too much.
  expect(conceal(name, 'A1b2C3d4E5f6G7h8I9j0K1l2M3n4')).toBe('(hidden)')
  expect(concealUrl(`http://127.0.0.1:1/?${name}=ABCDE#${name}=ABCDE`)).not.toContain('ABCDE')
  expect(concealTexts({ [name]: ['ABCDE'] })).toEqual({ [name]: ['(hidden)'] })
})

test.each(['password', 'new_password', 'passwordConfirmation', 'passphrase'])(
  'shows nothing of a %s, however long, whatever is in it',
  (name) => {
    expect(conceal(name, LONG)).toBe('(hidden)')
    expect(conceal(name, { first: ['short', 1234] })).toEqual({ first: ['(hidden)', '(hidden)'] })
  },
)

test.each([
  ['scope', 'openid profile email notes:read notes:write'],
  ['aud', 'https://notes.example/'],
  ['error_description', 'a text in words, however long it may be, is what helps'],
  ['expires_in', 600],
  ['error', 'invalid_token'],
  ['error_code', 'PR120'],
  // In the answer of an API that says its status there.
  ['code', 200],
  ['client_id', 'portreeve-demo'],
  // For the eye of a person at another device (RFC 8628 §3.3).
  ['user_code', 'WDJB-MJHT'],
  ['token_type', 'Bearer'],
  ['issued_token_type', 'urn:ietf:params:oauth:token-type:access_token'],
  ['token_type_hint', 'refresh_token'],
  ['token_endpoint', 'http://127.0.0.1:1/token'],
  ['code_challenge_method', 'S256'],
  ['response_type', 'code'],
  ['grant_type', 'urn:portreeve:params:oauth:grant-type:api-key'],
  ['client_secret_expires_at', 0],
  ['verification_uri_complete', 'http://127.0.0.1:1/device?user_code=WDJB-MJHT'],
  ['www-authenticate', 'Bearer error="insufficient_scope", scope="notes:write"'],
  ['refresh_token', null],
  ['token', ''],
])('shows %s as it is', (name, value) => {
  expect(conceal(name, value)).toBe(value)
})

test('a number is a secret where a text would be', () => {
  expect(conceal('otp', 123456)).toBe('(hidden)')
  expect(conceal('password', 200)).toBe('(hidden)')
})

test.each([
  ['authorization', 'Bearer ABCDE', 'Bearer (hidden)'],
  ['Authorization', 'bearer  ABCDE', 'bearer (hidden)'],
  ['authorization', `DPoP ${LONG}`, 'DPoP abcdefghijkl…'],
  ['authorization', 'ApiKey ABCDE', 'ApiKey (hidden)'],
  ['authorization', 'Digest username="naren", response="6629fae4"', 'Digest (hidden)'],
  ['authorization', 'ABCDE', '(hidden)'],
  ['authorization', `Basic ${btoa('a-secret-without-a-name')}`, 'Basic (hidden)'],
  ['authorization', `Basic ${btoa('a-key-as-a-name:')}`, 'Basic (hidden)'],
  ['proxy-authorization', `Basic ${btoa('robot:ABCDE')}`, 'Basic (robot:…)'],
  ['cookie', 'session=ABCDE; theme=dark', 'session=(hidden); theme=(hidden)'],
  ['cookie', 'ABCDE', '(hidden)'],
  ['cookie', 'interaction-V1StGXR8_Z5jdHi6B-myT=1', 'interaction-…=(hidden)'],
  ['set-cookie', 'session=ABCDE; Path=/; HttpOnly', 'session=(hidden); Path=/; HttpOnly'],
  [
    'request_uri',
    `urn:ietf:params:oauth:request_uri:${LONG}`,
    'urn:ietf:params:oauth:request_uri:abcdefghijkl…',
  ],
  [
    'request_uri',
    'urn:ietf:params:oauth:request_uri:ABCDE',
    'urn:ietf:params:oauth:request_uri:(hidden)',
  ],
  ['location', 'com.example.app:/cb?code=ABCDE', 'com.example.app:/cb?code=(hidden)'],
  ['location', '/cb#access_token=ABCDE&token_type=x', '/cb#access_token=(hidden)&token_type=x'],
  ['uri', 'http://robot:ABCDE@127.0.0.1:1/', 'http://(hidden)@127.0.0.1:1/'],
])('of the header or parameter %s: %s shows %s', (name, value, shown) => {
  expect(conceal(name, value)).toBe(shown)
})

test('shortens what is inside lists and objects, however deep, and keeps their form', () => {
  const kid = 'k'.repeat(20) + 'K12345'
  const hidden = { password: ['short', 1234], authorization: [`Bearer ${JWT}`], ends: null }
  expect(conceal('keys', [{ kid, alg: 'ES256', tokens: [[JWT]], use: 1 }, hidden])).toEqual([
    { kid: 'kkkkkkkkkkkk…', alg: 'ES256', tokens: [['eyJhbGciOiJF…']], use: 1 },
    { password: ['(hidden)', '(hidden)'], authorization: ['Bearer eyJhbGciOiJF…'], ends: null },
  ])
  const answer = { code: 200, token: { value: 'ABCDE' }, keys: [{ key: 'ABCDE', name: 'mine' }] }
  expect(conceal('data', answer)).toEqual({
    code: 200,
    token: { value: '(hidden)' },
    keys: [{ key: '(hidden)', name: 'mine' }],
  })
})

test('shortens tokens inside what was compared', () => {
  expect(concealTexts({ list: [`of ${JWT}`, true] })).toEqual({ list: ['of eyJhbGciOiJF…', true] })
})

test('shortens identifiers in the path of a URL, and no words', () => {
  const url = 'http://127.0.0.1:1/interaction/AbcdefghijklMnopqrst1/sign-in'
  expect(concealUrl(url)).toBe('http://127.0.0.1:1/interaction/Abcdefghijkl…/sign-in')
  const words = 'http://127.0.0.1:1/.well-known/openid-configuration'
  expect(concealUrl(words)).toBe(words)
})

test.each([
  [`no good: ${JWT}!`, 'no good: eyJhbGciOiJF…!'],
  ['client_id=robot&client_secret=ABCDE&scope=x', 'client_id=robot&client_secret=(hidden)&scope=x'],
  ['see http://127.0.0.1:1/?code=ABCDE now', 'see http://127.0.0.1:1/?code=(hidden) now'],
  ['{"api-key": "ABCDE", "a": "b"', '{"api-key": "(hidden)", "a": "b"'],
  [`{'api-key': 'AB"CDE'}`, `{'api-key': '(hidden)'}`],
  ['{"pin":123456}', '{"pin":(hidden)}'],
  ['{"token":"ABC\\"DE', '{"token":"(hidden)'],
  ['password="ABCDE', 'password=(hidden)'],
  [
    'HTTP/1.1 200 OK\nset-cookie: a=ABCDE; Path=/',
    'HTTP/1.1 200 OK\nset-cookie: a=(hidden); Path=/',
  ],
  ['x-api-key: ABCDE', 'x-api-key: (hidden)'],
])('of the text %j shows %j', (text, shown) => {
  expect(concealText(text)).toBe(shown)
})

test.each([
  'the refresh token: status: expected 400, got 200',
  'code: expected 1, got 2',
  'Access Denied; Please check the access token',
  '{"Alert!":"Token is missing!"}',
  '{"data":{"message":"invalid api key","code":400}}',
  `delete from engine_model where model = 'Session' and key = …`,
])('shows the text %j as it is', (text) => {
  expect(concealText(text)).toBe(text)
})

test('a body may be nothing but a token', () => {
  expect(concealBody(JWT)).toBe('eyJhbGciOiJF…')
  expect(concealBody('a1b2c3d4')).toBe('(hidden)')
  expect(concealBody('hello world')).toBe('hello world')
})

test('reads a text in bounded time, however it is made', () => {
  for (const piece of ['a', 'a=', '"a":"', 'eyJ', 'x-', 'Aa1-']) {
    const text = piece.repeat(64 * 1024)
    expect(concealText(text).length).toBeLessThan(10_000)
    expect(JSON.stringify(conceal('text', text)).length).toBeLessThan(10_000)
  }
})

import { expect, test } from 'vitest'
import { createCertificate, type Certificate } from './certificates.ts'
import { describeExchange, type SentRequest } from './exchange.ts'
import type { Exchange } from './report.ts'

interface Answer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly text?: string
}

function describe(sent: SentRequest, { status = 200, headers = {}, text = '' }: Answer): Exchange {
  const response = new Response(text, { status, headers })
  return describeExchange('the API', 'http://127.0.0.1:1/there?pin=1234', sent, response, text)
}

const FORM = { 'content-type': 'application/x-www-form-urlencoded' }
const JSON_TYPE = { 'content-type': 'application/json' }

test.each<[string, SentRequest, Record<string, unknown>]>([
  [
    'a form',
    { headers: FORM, body: 'username=naren&password=passme' },
    { username: 'naren', password: '(hidden)' },
  ],
  [
    'a form of the library',
    { body: new URLSearchParams({ grant_type: 'x', client_secret: 'ABCDE' }) },
    { grant_type: 'x', client_secret: '(hidden)' },
  ],
  [
    'a JSON document',
    { headers: JSON_TYPE, body: ' {"api-key":"ABCDE"}' },
    { 'api-key': '(hidden)' },
  ],
  [
    'JSON that is none',
    { headers: JSON_TYPE, body: '{"api-key":"ABCDE",}' },
    { body: '{"api-key":"(hidden)",}' },
  ],
  ['a text', { body: 'a1b2c3d4e5' }, { body: '(hidden)' }],
  ['headers of older APIs', { headers: { access_token: 'a.b.c' } }, { access_token: '(hidden)' }],
  ['others of them', { headers: { Token: 'a.b.c' } }, { token: '(hidden)' }],
])('shows what was sent in %s, and no secret', (_case, sent, shown) => {
  const exchange = describe({ method: 'POST', ...sent }, {})
  expect(exchange.sent).toEqual({ pin: '(hidden)', ...shown })
  expect(exchange.url).toBe('http://127.0.0.1:1/there')
})

test.each<[string, Answer, Record<string, unknown>]>([
  [
    'JSON',
    { headers: JSON_TYPE, text: '{"data":{"code":200,"token":"a.b.c","message":"fine"}}' },
    { data: { code: 200, token: '(hidden)', message: 'fine' } },
  ],
  [
    'text',
    { status: 401, headers: { 'content-type': 'text/plain' }, text: 'Invalid Credentials' },
    { body: 'Invalid Credentials' },
  ],
  [
    'a bare token',
    { headers: { 'content-type': 'text/plain; charset=utf-8' }, text: 'eyJhbGciOiJub25lIn0.e30.' },
    { body: '(hidden)' },
  ],
  [
    'a redirect',
    { status: 303, headers: { location: '/cb?code=ABCDE&state=s', 'set-cookie': 'a=ABCDE' } },
    { location: '/cb?code=(hidden)&state=s' },
  ],
  [
    'a page',
    { headers: { 'content-type': 'text/html' }, text: '<title>Hello code=ABCDE</title>' },
    { page: 'Hello code=(hidden)' },
  ],
])('shows an answer that is %s, and no secret', (_case, answer, shown) => {
  expect(describe({}, answer).received).toEqual(shown)
})

test('shows a parameter that is there several times as a list, and no secret in it', () => {
  const url = 'http://127.0.0.1:1/auth?resource=a&resource=b&code=ABCDE&code=FGHIJ'
  const { sent } = describeExchange('the API', url, {}, new Response(''), '')
  expect(sent).toEqual({ resource: ['a', 'b'], code: ['(hidden)', '(hidden)'] })
})

test('shows of an answer with dozens of members those that were asked for', () => {
  const answer = { headers: JSON_TYPE, text: '{"issuer":"x","a":1,"token_endpoint":"y"}' }
  expect(describe({ members: ['issuer', 'a'] }, answer).received).toEqual({ issuer: 'x', a: 1 })
})

test('shows which certificate a connection had, and that it had none', async () => {
  const times = { notBefore: 1_700_000_000_000, notAfter: 4_000_000_000_000 }
  const authority = await createCertificate({ name: 'CN=Us', isAuthority: true, ...times })
  const signed = await createCertificate({ name: 'CN=me,O=Here', signer: authority, ...times })
  const shown = ({ pem }: Certificate) => describe({ tls: { cert: pem } }, {}).sent['certificate']
  expect(shown(signed)).toMatch(/^CN=me,O=Here, signed by CN=Us \([\w-]{12}…\)$/)
  expect(shown(authority)).toMatch(/^CN=Us, signed by itself \(/)
  expect(describe({ tls: {} }, {}).sent['certificate']).toBe('none')
  expect(describe({}, {}).sent).not.toHaveProperty('certificate')
})

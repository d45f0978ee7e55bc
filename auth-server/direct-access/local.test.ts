import { expect, test } from 'vitest'
import { isSentByLocalProgram } from './local.ts'

const host = '127.0.0.1:8080'

test.each([
  ['127.0.0.1', { host }],
  ['::1', { host: '[::1]:8080' }],
  ['::ffff:127.0.0.1', { host: 'localhost:8080' }],
  ['127.0.0.1', { host, 'sec-fetch-site': 'none' }],
])('knows a program on this machine, from %s with %j', (address, headers) => {
  expect(isSentByLocalProgram({ address, url: '/', headers })).toBe(true)
})

test.each([
  ['another machine', '192.0.2.7', { host }],
  ['nobody', undefined, { host }],
  ['a proxy', '127.0.0.1', { host, 'x-forwarded-for': '127.0.0.1' }],
  ['a proxy of today', '127.0.0.1', { host, forwarded: 'for=127.0.0.1' }],
  ['a proxy that says no more than that', '127.0.0.1', { host, via: '1.1 proxy' }],
  ['a name that somebody made point here', '127.0.0.1', { host: 'attacker.example:8080' }],
  ['a name that only begins so', '127.0.0.1', { host: '127.0.0.1.attacker.example' }],
  ['no name', '127.0.0.1', {}],
  ['a page', '127.0.0.1', { host, origin: 'https://attacker.example' }],
  ['a page that hides where it is', '127.0.0.1', { host, origin: 'null' }],
  ['an image in a page', '127.0.0.1', { host, 'sec-fetch-site': 'cross-site' }],
  ['a page of another port', '127.0.0.1', { host, 'sec-fetch-site': 'same-site' }],
  ['a page of its own name', '127.0.0.1', { host, 'sec-fetch-site': 'same-origin' }],
])('takes none from %s', (_who, address, headers) => {
  expect(isSentByLocalProgram({ address, url: '/', headers })).toBe(false)
})

test.each([
  ['the target names another host', 'http://evil.example/', {}],
  ['the host comes with a name of somebody', '/', { host: 'evil@127.0.0.1' }],
  ['a page elsewhere has a link to it', '/', { referer: 'http://evil.example/' }],
  ['a referer is no address', '/', { referer: 'evil' }],
  ['Cloudflare passes it on', '/', { 'cf-connecting-ip': '192.0.2.1' }],
  ['Akamai passes it on', '/', { 'true-client-ip': '192.0.2.1' }],
  ['another proxy passes it on', '/', { 'x-client-ip': '192.0.2.1' }],
])('is not sent by a local program where %s', (_case, url, more) => {
  const headers = { host: '127.0.0.1', ...more }
  expect(isSentByLocalProgram({ address: '127.0.0.1', url, headers })).toBe(false)
})

test('believes a target and a referer that name this machine', () => {
  const headers = { host: '127.0.0.1', referer: 'http://localhost:8080/' }
  const url = 'http://127.0.0.1/'
  expect(isSentByLocalProgram({ address: '127.0.0.1', url, headers })).toBe(true)
})

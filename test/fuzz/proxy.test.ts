import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTrustedProxies, readOrigin } from '../../auth-server/http/proxy.ts'
import { tryOut } from './seed.ts'

const RUNS = 2000
const isTrusted = createTrustedProxies(['10.0.0.0/8', '::1', 'fd00::/8'])

const address = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.ipV4().map((ip) => `::ffff:${ip}`),
)
const proxy = fc.oneof(
  fc.ipV4().map((ip) => ip.replace(/^\d+/, '10')),
  fc.constant('::1'),
)
const noise = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom('.', ':', '[', ']', ',', ' ', '/', '@', '%', '0', 'a') }),
  fc.constantFrom('', ' ', ',', '::', '[', 'id.example', 'id.example:443', 'unknown', '10.0.0.1'),
)
const host = fc.oneof(noise, fc.domain(), fc.webAuthority())
const list = fc.array(fc.oneof(address, noise), { maxLength: 5 }).map((hops) => hops.join(', '))

const headers = fc.record(
  {
    host,
    'x-forwarded-host': host,
    'x-forwarded-proto': fc.oneof(fc.constantFrom('http', 'https', 'https, http', 'data'), noise),
    'x-forwarded-for': list,
    forwarded: noise,
  },
  { requiredKeys: [] },
)
const url = fc.oneof(fc.webPath(), noise, fc.webUrl())

function makeRequest(remoteAddress: string, given: object, target: string): IncomingMessage {
  return { socket: { remoteAddress }, headers: given, url: target } as IncomingMessage
}

describe('where a request comes from', () => {
  test('is an address and an origin, or unknown, whatever the headers', () =>
    tryOut(
      fc.property(fc.oneof(address, proxy), headers, url, (peer, given, target) => {
        const origin = readOrigin(makeRequest(peer, given, target), isTrusted)
        expect(isIP(origin.address)).not.toBe(0)
        expect(origin.url === undefined || new URL(origin.url).origin === origin.url).toBe(true)
      }),
      RUNS,
    ))

  test('is not what a peer that is not trusted has forwarded', () =>
    tryOut(
      fc.property(address, headers, headers, url, (peer, given, forged, target) => {
        fc.pre(!isTrusted(peer.replace(/^::ffff:/, '')))
        const own = { host: given.host }
        const plain = readOrigin(makeRequest(peer, own, target), isTrusted)
        const forwarded = readOrigin(makeRequest(peer, { ...forged, ...own }, target), isTrusted)
        expect(forwarded).toEqual(plain)
      }),
      RUNS,
    ))

  test('is the last address that a proxy saw and that is no proxy', () =>
    tryOut(
      fc.property(
        proxy,
        list,
        fc.ipV4(),
        fc.array(proxy, { maxLength: 3 }),
        (peer, before, client, hops) => {
          fc.pre(!isTrusted(client))
          const chain = [before, client, ...hops].join(', ')
          const origin = readOrigin(makeRequest(peer, { 'x-forwarded-for': chain }, '/'), isTrusted)
          expect(origin.address).toBe(client)
        },
      ),
      RUNS,
    ))
})

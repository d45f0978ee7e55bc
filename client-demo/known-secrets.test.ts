import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import type { Exchange } from './report.ts'
import { createKnownSecrets, makeSecret } from './known-secrets.ts'
import { createWire, type WireRequest } from './wire.ts'

const SECRETS = [
  'fjord "bank" glyphs & vex\\100%',
  'mÜnze+über/alles=gut_und-teuer~',
  'a-generated_one-Wq8zT3_kLm2',
  'xk7mnpqr2stuvw9',
]

const base64 = (text: string) => Buffer.from(text).toString('base64')
const base64url = (text: string) => Buffer.from(text).toString('base64url')
const escapeAll = (text: string) =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
const encodeForm = (text: string) => new URLSearchParams({ a: text }).toString().slice(2)
/** As openid-client sends the parts of Basic: of `-` and `_` too, and a space as plus. */
const encodeBasic = (text: string) =>
  encodeURIComponent(text)
    .replaceAll(/[-_.!~*'()]/g, (mark) => escapeAll(mark).toUpperCase())
    .replaceAll('%20', '+')

const ENCODINGS: Readonly<Record<string, (secret: string) => string>> = {
  'as it is': (secret) => secret,
  'percent-encoded': encodeURIComponent,
  'percent-encoded, every byte': escapeAll,
  'percent-encoded, every byte, in capitals': (secret) => escapeAll(secret).toUpperCase(),
  'percent-encoded twice': (secret) => encodeURIComponent(encodeURIComponent(secret)),
  'as a form': encodeForm,
  'as JSON': JSON.stringify,
  'as JSON in JSON': (secret) => JSON.stringify(JSON.stringify(secret)),
  'as JSON in a URL': (secret) => encodeURIComponent(JSON.stringify(secret)),
  'as JSON, without a letter of Latin': (secret) =>
    secret
      .split('')
      .map((unit) => String.raw`\u` + unit.charCodeAt(0).toString(16).padStart(4, '0'))
      .join(''),
  'in Basic': (secret) => base64(`robot:${secret}`),
  'in Basic, as a form': (secret) => base64(`robot:${encodeBasic(secret)}`),
  'in Basic, of a longer name': (secret) => base64(`robots:${secret}`),
  'in Basic, of one longer still': (secret) => base64(`robots2:${secret}`),
  'in place of a name in Basic': (secret) => base64(`${secret}:`),
  'in base64url': (secret) => base64url(`{"k":"${secret}","n":1}`),
  'in base64 in a URL': (secret) => encodeURIComponent(base64(`robot:${secret}`)),
  'in a part of a JWT': (secret) => `eyJh.${base64url(JSON.stringify({ a: secret }))}.c2ln`,
}

/** Without the quotes that JSON puts around it. */
function cutSeams(written: string): string {
  return written.replaceAll(/^(?:["\\]|%22|%5C)+|(?:["\\]|%22|%5C)+$/g, '')
}

/** What is left of a secret, or of one of its encodings, in pieces that nobody writes by chance. */
function findPieces(shown: string, written: string): string[] {
  const pieces = Array.from({ length: Math.max(written.length - 7, 1) }, (_, start) =>
    written.slice(start, start + 8),
  )
  // What is nothing but the escape of a quote is no piece of anything.
  return pieces.filter((piece) => /[^%\\"\d CF]{2}/.test(piece) && shown.includes(piece))
}

/** What is shown of a request to a server that answers so. */
async function exchangeWith(
  path: string,
  request: WireRequest,
  { headers = {}, text = '{}' }: { headers?: Record<string, string>; text?: string } = {},
): Promise<Exchange | undefined> {
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(text)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const wire = createWire()
  for (const secret of SECRETS) wire.keepSecret(secret)
  await wire.fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`, request)
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  const [exchange] = wire.take()
  return exchange
}

describe.each(Object.entries(ENCODINGS))('a known secret %s', (_name, encode) => {
  const known = createKnownSecrets()
  for (const secret of SECRETS) known.add(secret)

  test.each(SECRETS)('is hidden in any text: %s', (secret) => {
    const written = encode(secret)
    for (const text of [written, `so: ${written}!`, `a=${written}&b=1`, `"${written}", and`]) {
      const shown = known.hideInText(text)
      expect(shown).toContain('(hidden)')
      expect(findPieces(shown, cutSeams(written))).toEqual([])
    }
  })

  test.each(SECRETS)(
    'is shown in no place of an exchange, nor where it is cut off: %s',
    async (secret) => {
      const written = encode(secret)
      const asHeader = encodeURIComponent(written)
      // From none of it to all of it before the place where long texts are cut.
      for (const length of [0, 100, 130, 145, 150, 155, 3970, 3990]) {
        const filled = `${'la '.repeat(length / 3)}${written}`
        const exchange = await exchangeWith(
          `/a/${encodeURIComponent(written)}?greeting=${encodeURIComponent(filled)}`,
          {
            method: 'POST',
            headers: { token: asHeader, authorization: `Basic ${asHeader}` },
            body: new URLSearchParams({ words: filled, [written]: 'a name' }),
          },
          {
            headers: { location: `/x?y=${asHeader}` },
            text: JSON.stringify({ greeting: filled, deep: [{ [written]: [filled] }] }),
          },
        )
        const shown = JSON.stringify(exchange)
        const inside = cutSeams(written)
        for (const way of [
          inside,
          JSON.stringify(inside).slice(1, -1),
          encodeURIComponent(inside),
        ]) {
          expect(findPieces(shown, way)).toEqual([])
        }
        expect(findPieces(shown, secret)).toEqual([])
      }
    },
  )
})

test('what is no secret stays as it is', () => {
  const known = createKnownSecrets()
  for (const secret of SECRETS) known.add(secret)
  const value = { text: 'a%20b+c \\ "d"', list: [1, true, null, base64(`robot:${makeSecret()}`)] }
  expect(known.hide(value)).toEqual(value)
  expect(createKnownSecrets().hideInText('anything')).toBe('anything')
})

test('the client that authenticates by Basic keeps its name', async () => {
  const secret = SECRETS[2] ?? ''
  const headers = { authorization: `Basic ${base64(`robot:${encodeBasic(secret)}`)}` }
  const exchange = await exchangeWith('/', { headers })
  expect(exchange?.sent).toEqual({ authorization: 'Basic (robot:…)' })
})

test('hides in bounded time, however a text is made', () => {
  const known = createKnownSecrets()
  for (let count = 0; count < 30; count += 1) known.add(makeSecret())
  for (const piece of ['\\', '%25', '%', 'a', '=', 'a+/-', '%252f']) {
    const text = piece.repeat(64 * 1024)
    expect(known.hideInText(text)).toBe(text)
  }
})

test('a secret that may be a word is refused', () => {
  expect(() => createKnownSecrets().add('passme')).toThrow(TypeError)
})

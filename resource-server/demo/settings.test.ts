import { describe, expect, test } from 'vitest'
import { readSettings } from './settings.ts'

const API = 'https://api.example/'
const GOOD = ['--issuer', 'http://127.0.0.1:9', '--audience', API]

describe('the settings of the notes API', () => {
  test('have defaults for all but issuer and audience', async () => {
    const settings = readSettings(GOOD)
    await using verifier = settings?.verifier
    expect(verifier?.issuers).toEqual(['http://127.0.0.1:9'])
    expect(settings).toMatchObject({ port: 3001, database: ':memory:', json: false })
  })

  test('are read from the arguments', async () => {
    const seconds = ['--clock-tolerance', '0', '--sign-in-max-age', '3']
    const more = ['--port', '0', '--database', 'notes.sqlite', ...seconds, '--json']
    const settings = readSettings([...GOOD, '--audience', 'https://b.example/', ...more])
    await using verifier = settings?.verifier
    expect(verifier).toBeDefined()
    expect(settings).toMatchObject({
      port: 0,
      database: 'notes.sqlite',
      signInMaxAgeSeconds: 3,
      json: true,
    })
  })

  test('follow what the issuer revokes where they say as whom', async () => {
    await using settled = new AsyncDisposableStack()
    const settings = readSettings([...GOOD, '--feed-client', 'apis'], { FEED_SECRET: 'hush' })
    settled.use(settings?.feed)
    settled.use(settings?.verifier)
    expect(settings?.verifier.follows).toEqual({ canIntrospect: false })
    expect(readSettings(GOOD, {})?.verifier.follows).toBeUndefined()
  })

  test('are refused without the secret of the client that is to follow', () => {
    const args = [...GOOD, '--feed-client', 'apis']
    expect(() => readSettings(args, { CLIENT_SECRET: 'hush' })).toThrow(/^FEED_SECRET: set it/)
  })

  test('are none where help is asked for', () => {
    expect(readSettings(['--help'])).toBeUndefined()
  })

  test.each<[string, string[], RegExp]>([
    ['no issuer', ['--audience', API], /^--issuer is missing/],
    ['no audience', ['--issuer', 'http://127.0.0.1:9'], /^--audience is missing/],
    ['an issuer over plain http', [...GOOD, '--issuer', 'http://as.example'], /^issuer: .*https/],
    ['a receiver of no feed', [...GOOD, '--feed-receiver', 'a'], /^--feed-receiver needs --feed/],
    ['an empty audience', [...GOOD, '--audience', ''], /^audience: /],
    ['a port that is no number', [...GOOD, '--port', 'x'], /^--port: expected 0 to 65535/],
    ['a port beyond 65535', [...GOOD, '--port', '65536'], /^--port: expected 0 to 65535/],
    ['a tolerance that is no number', [...GOOD, '--clock-tolerance', 'x'], /^--clock-tolerance: /],
    [
      'an age that is no number',
      [...GOOD, '--sign-in-max-age', '-1'],
      /^Option '--sign-in-max-age/,
    ],
    [
      'an age of hours',
      [...GOOD, '--sign-in-max-age', '10000'],
      /^--sign-in-max-age: expected sec/,
    ],
    ['a tolerance of an hour', [...GOOD, '--clock-tolerance', '3600'], /^clockTolerance.*0 to 300/],
    ['an unknown option', [...GOOD, '--colour'], /^Unknown option '--colour'/],
    ['an argument too many', [...GOOD, 'x'], /^Unexpected argument 'x'/],
  ])('are refused with %s', (_case, args, message) => {
    expect(() => readSettings(args)).toThrow(TypeError)
    expect(() => readSettings(args)).toThrow(message)
  })
})

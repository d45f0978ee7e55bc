import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseForm } from './form.ts'

describe('parseForm', () => {
  test('gives back every field that a browser encodes', () => {
    const fields = fc.dictionary(
      fc.string({ unit: 'grapheme', minLength: 1 }),
      fc.string({ unit: 'grapheme' }),
    )
    fc.assert(
      fc.property(fields, (given) => {
        const parsed = parseForm(new URLSearchParams(given).toString())
        expect(parsed.ok && [...parsed.value]).toEqual(Object.entries(given))
      }),
    )
  })

  test('answers any text, and reads none of two values for one name', () => {
    const known = fc.constantFrom('csrf', 'username', '%63srf', '')
    const pairs = fc.array(fc.tuple(known, fc.string()), { maxLength: 3 })
    const texts = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom('a', 'f', '0', '9', '&', '=', '%', '+'), maxLength: 40 }),
      pairs.map((list) => list.map((pair) => pair.join('=')).join('&')),
    )
    const check = fc.check(
      fc.property(texts, (text) => {
        const parsed = parseForm(text)
        const names = [...new URLSearchParams(text).keys()]
        return parsed.ok
          ? parsed.value.size === names.length && names.every((name) => parsed.value.has(name))
          : parsed.reason.status === 400
      }),
      { numRuns: 500 },
    )
    expect(check).toMatchObject({ failed: false, counterexample: null })
  })

  test.each(['a=%ff', 'a=%c3%28', 'a=%', 'a=%zz', '%ed%a0%80=x', 'a=\uFFFD'])(
    'refuses what is no UTF-8: %s',
    (text) => {
      expect(parseForm(text)).toEqual({
        ok: false,
        reason: { status: 400, text: 'What was sent is not readable text.' },
      })
    },
  )

  test.each(['a=1&a=1', 'a&a', 'a=1&%61=2', '=1&=2'])('refuses a name twice: %s', (text) => {
    expect(parseForm(text)).toEqual({
      ok: false,
      reason: { status: 400, text: 'A field was sent twice.' },
    })
  })
})

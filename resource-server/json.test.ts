import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseJsonObject } from './json.ts'

const parse = (text: string) => parseJsonObject(Buffer.from(text))

/** Objects that JSON can hold and this parser promises to take. */
const objects = fc
  .dictionary(
    fc.string({ unit: 'grapheme' }).filter((name) => name !== '__proto__'),
    fc.jsonValue({ maxDepth: 4, noUnicodeString: false }),
  )
  .filter((value) => !hasOddities(value))

function hasOddities(value: unknown): boolean {
  if (typeof value === 'number') return Number.isInteger(value) && !Number.isSafeInteger(value)
  if (typeof value !== 'object' || value === null) return false
  return Object.entries(value).some(([name, member]) => name === '__proto__' || hasOddities(member))
}

test('reads every object as JSON.parse does, however it is laid out', () => {
  const property = fc.property(objects, fc.constantFrom(0, 2, '\t'), (value, space) => {
    const text = JSON.stringify(value, undefined, space)
    expect(parse(text)).toEqual({ ok: true, value: JSON.parse(text) })
  })
  fc.assert(property)
})

test('refuses every object with a member that it has already', () => {
  const escape = (name: string) =>
    name.replaceAll(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
  const property = fc.property(
    objects.filter((value) => Object.keys(value).length > 0),
    fc.nat(),
    fc.jsonValue({ maxDepth: 1 }),
    (value, at, again) => {
      const names = Object.keys(value)
      const member = `"${escape(names[at % names.length] ?? '')}":${JSON.stringify(again)}`
      fc.pre(!hasOddities(again))
      const text = JSON.stringify(value)
      expect(parse(`${text.slice(0, -1)},${member}}`)).toMatchObject({ reason: 'a member twice' })
      expect(parse(`{"x":[${text.slice(0, -1)},${member}}]}`)).toMatchObject({ ok: false })
    },
  )
  fc.assert(property)
})

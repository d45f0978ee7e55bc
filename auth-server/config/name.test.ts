import { describe, expect, test } from 'vitest'
import { namePattern, usernamePattern } from './name.ts'

const name = namePattern(100)
const username = usernamePattern(100)

describe('a name', () => {
  test.each([
    ['words', "Alice's laptop (2nd)"],
    ['a hundred characters', '😀'.repeat(100)],
    ['letters of their own accents', 'Zoë Łódź'],
    ['accents that stand alone', 'Nguye\u0302\u0303n'],
    ['Hebrew with points', 'שָׁלוֹם'],
    ['Hindi', 'क्षत्रिय'],
    ['Thai', 'ก็ที่นี่'],
    ['a Japanese name in a form of its own', '\u8fbb\u{e0100}さん'],
    ['emoji with a form and a colour', '❤\ufe0f 1\ufe0f\u20e3 👍🏽'],
    ['a space of no fixed width', 'a\u00a0b'],
    ['markup', '"><script>alert(1)</script>'],
  ])('may have %s', (_what, text) => {
    expect(text).toMatch(name)
    expect(text.replaceAll(/\p{Zs}/gu, '')).toMatch(username)
  })

  test.each([
    ['nothing', ''],
    ['a character too many', 'a'.repeat(101)],
    ['a line break', 'a\nb'],
    ['a tab', 'a\tb'],
    ['a line separator', 'a\u2028b'],
    ['a paragraph separator', 'a\u2029b'],
    ['what a terminal obeys', 'a\u001b[2Jb'],
    ['half a character', 'a\ud800b'],
    ['a private character', 'a\ue000b'],
    ['a Hangul filler alone', '\u3164'],
    ['a Hangul filler among letters', 'a\u3164b'],
    ['a half-width filler', 'a\uffa0b'],
    ['a choseong filler', 'a\u115fb'],
    ['a blank Braille sign', 'a\u2800b'],
    ['a blank hieroglyph', 'a\u{13441}b'],
    ['a note without a head', 'a\u{1d159}b'],
    ['a soft hyphen', 'a\u00adb'],
    ['a space of no width', 'a\u200bb'],
    ['a joiner', 'a\u200db'],
    ['a grapheme joiner', 'a\u034fb'],
    ['a Khmer vowel that is not drawn', 'a\u17b4b'],
    ['text that turns around', 'a\u202eb'],
    ['text that is set apart', 'a\u2066b\u2069'],
    ['a mark of direction', 'a\u200eb'],
    ['letters of tags', 'a\u{e0041}b'],
    ['a form of nothing', '\ufe0fa'],
    ['several forms of one character', '❤\ufe0f\ufe0f'],
    ['an accent on nothing', '\u0301a'],
    ['a pile of accents', `a${'\u0301'.repeat(5)}`],
    ['a pile of accents in between', `Z${'\u0335\u0489'.repeat(10)}o`],
    ['spaces alone', ' \u3000\u00a0'],
  ])('may not have %s', (_what, text) => {
    expect(text).not.toMatch(name)
    expect(text).not.toMatch(username)
  })

  test('of somebody who signs in has no space', () => {
    for (const space of [' ', '\u00a0', '\u3000']) expect(`a${space}b`).not.toMatch(username)
  })

  test('that is long is refused as fast as a short one', () => {
    const text = `${'a\u0301\u0301\u0301\u0301 '.repeat(200_000)}\u3164`
    expect(text).not.toMatch(name)
    expect(`${'a\u0301'.repeat(48)}\u3164`).not.toMatch(name)
  })
})

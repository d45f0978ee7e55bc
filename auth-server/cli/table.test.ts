import { array, assert, constantFrom, nat, property, stringMatching, tuple } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createStyle } from './style.ts'
import { formatTable, type Column } from './table.ts'

const ACCOUNT = 'acc_AAAAAAAAAAAAAAAAAAAAAA'
const DOCUMENT = 'https://app.example/oauth/documents/client.json'
const COLUMNS: readonly Column[] = [
  { title: 'ID', gives: 'whole' },
  { title: 'NAME', gives: 'wrap' },
  'TYPE',
  { title: 'OF', gives: 'whole' },
]

function format(width: number | undefined, ...rows: readonly (readonly string[])[]): string {
  return formatTable(COLUMNS, rows, createStyle(false, width))
}

describe('a table', () => {
  test('has a line for each row where there is room, or no terminal', () => {
    const rows = [
      ['web', 'The web app', 'web', ACCOUNT],
      [DOCUMENT, 'An app', 'native', ''],
    ]
    const expected = `ID                                               NAME         TYPE    OF
web                                              The web app  web     ${ACCOUNT}
${DOCUMENT}  An app       native`
    expect(format(undefined, ...rows)).toBe(expected)
    expect(format(96, ...rows)).toBe(expected)
    expect(format(95, ...rows)).not.toBe(expected)
  })

  test('breaks between words first, then leaves the widest of what is whole out of its column', () => {
    const rows = [
      ['web', 'The web app of the notes', 'web', ACCOUNT],
      [DOCUMENT, 'An app', 'native', 'ann'],
    ]
    expect(format(80, ...rows)).toBe(
      `ID   NAME                      TYPE    OF
web  The web app of the notes  web     ${ACCOUNT}
${DOCUMENT}
     An app                    native  ann`,
    )
    expect(format(60, ...rows)).toBe(
      `ID   NAME                 TYPE    OF
web  The web app of the   web     ${ACCOUNT}
     notes
${DOCUMENT}
     An app               native  ann`,
    )
  })

  test('goes on below a name that does not fit into its column', () => {
    const columns: readonly Column[] = ['ENTRY', { title: 'USER', gives: 'whole' }, 'STATE']
    const rows = [
      ['1', 'ann', 'active'],
      ['2', 'margarethe.von-hohenstein', 'disabled'],
      ['3', 'margarethe.von-hohenstein@example.org', 'active'],
    ]
    expect(formatTable(columns, rows, createStyle(false, 32))).toBe(
      `ENTRY  USER  STATE
1      ann   active
2      margarethe.von-hohenstein
             disabled
3
    margarethe.von-hohenstein@example.org
             active`,
    )
  })

  test('keeps a long word whole among others, with the whole line for it', () => {
    const kid = 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs'
    const columns: readonly Column[] = ['ENTRY', 'EVENT', { title: 'ABOUT', gives: 'wrap' }]
    const rows = [
      ['1', 'object_changed', `added ES256 key · ${kid} · by server`],
      ['2', 'access_revoked', 'ann · user place 2 · by operator'],
    ]
    expect(formatTable(columns, rows, createStyle(false, 60))).toBe(
      `ENTRY  EVENT           ABOUT
1      object_changed
    added ES256 key ·
    ${kid} · by server
2      access_revoked  ann · user place 2 · by operator`,
    )
  })

  test('shows no name as a row of its own, by whatever spaces', () => {
    const name = `x${'\u00A0\u2003\u3000'.repeat(30)}admin\u00A0\u00A0native`
    const text = format(80, ['app', name, 'web', ACCOUNT])
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
    expect(text).toMatch(/^app {2}x/m)
    expect(text).not.toMatch(/^admin/m)
  })

  test('loses and breaks nothing, and is no wider than the terminal but for what is', () => {
    const word = stringMatching(/^[a-z]{1,60}$/)
    const texts = array(word, { maxLength: 6 }).map((words) => words.join(' '))
    const row = tuple(word, texts, constantFrom('web', 'native'), word)
    assert(
      property(array(row, { minLength: 1, maxLength: 8 }), nat(100), (rows, more) => {
        const width = 40 + more
        const lines = format(width, ...rows).split('\n')
        const words = lines.slice(1).flatMap((line) => line.split(/ +/).filter(Boolean))
        const expected = rows.flatMap((cells) => cells.flatMap((cell) => cell.split(' ')))
        expect(words.toSorted()).toEqual(expected.filter(Boolean).toSorted())
        for (const line of lines.filter((one) => one.trim().includes(' '))) {
          expect(line.length).toBeLessThanOrEqual(width)
        }
      }),
    )
  })
})

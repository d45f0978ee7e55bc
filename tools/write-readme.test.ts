import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import {
  EXAMPLE_FILES,
  FILES,
  fillFiles,
  fillMarkers,
  maskTranscript,
  recordTranscript,
} from './write-readme.ts'

test('the transcripts in README.md and docs/transcript.md are fresh', async () => {
  const transcript = await recordTranscript()
  for (const file of FILES) {
    const text = await readFile(file, 'utf8')
    expect(text).toBe(fillMarkers(text, transcript))
  }
}, 60_000)

test.each([
  [EXAMPLE_FILES[0], ['your-own-api', 'your-own-client']],
  [EXAMPLE_FILES[1], ['node-http', 'express', 'fastify', 'hono']],
])('%s shows the examples that the tests run', async (file = '', examples) => {
  const text = await readFile(file, 'utf8')
  expect(text).toBe(fillFiles(text))
  const shown = [...text.matchAll(/^<!-- file examples\/(\S+)\.ts -->$/gm)].map(([, name]) => name)
  expect(shown).toEqual(examples)
})

const RUNS = [
  `  issuer  http://127.0.0.1:33445
    iat        1795651198            when it was issued: 23:59:58 UTC
    exp        1795651798            when it ends: 00:09:58 UTC
    auth_time  1795651197            when the person last signed in: 23:59:57 UTC
    sub  acc_93YDMfIz…  code  qA13XtRrB5mS…  again  qA13XtRrB5mS…  token  eyJhbGciOiJF…
    to http://127.0.0.1:55667/callback at 2026-11-25T19:35:19.996Z
  ✓  1  A step                            8 ms
Everything is as it should be: 1 steps, 2 checks, 3.4 s.`,
  `  issuer  http://127.0.0.1:40007
    iat        1801234567            when it was issued: 14:56:07 UTC
    exp        1801235167            when it ends: 15:06:07 UTC
    auth_time  1801234567            when the person last signed in: 14:56:07 UTC
    sub  acc_-_YDMfI1…  code  -A13XtRrB5m_…  again  -A13XtRrB5m_…  token  eyJhbGciOiJF…
    to http://127.0.0.1:40001/callback at 2027-01-02T00:00:00.1Z
  ✓  1  A step                         2048 ms
Everything is as it should be: 1 steps, 2 checks, 11.0 s.`,
] as const

test('two runs that differ by chance alone have one transcript', () => {
  expect(maskTranscript(RUNS[1])).toBe(maskTranscript(RUNS[0]))
})

test('what was the same in a run is the same in its transcript, and what differed differs', () => {
  const masked = maskTranscript(RUNS[0])
  const [, code, again] = /code {2}(\S+) {2}again {2}(\S+)/.exec(masked) ?? []
  expect(code).toMatch(/^[\w-]{12}…$/)
  expect(again).toBe(code)
  expect(masked).toContain('http://127.0.0.1:40001\n')
  expect(masked).toContain('http://127.0.0.1:40002/callback')
  expect(masked).toContain('token  eyJhbGciOiJF…')
  expect(masked).toMatch(/exp +1800000600 +when it ends: 08:10:00 UTC/)
})

test('another answer is another transcript', () => {
  const other = RUNS[0].replace('A step', 'Another step')
  expect(maskTranscript(other)).not.toBe(maskTranscript(RUNS[0]))
})

const LINE = '─'.repeat(20)
const TRANSCRIPT = `Start\n\n${[1, 2, 3, 4].map((n) => `${LINE}\n ${n}  Step ${n}\n\n`).join('')}${LINE}\nTable\n`

test('fills what stands between the markers, and nothing else', () => {
  const text = 'before\n<!-- transcript -->\nold\n<!-- /transcript -->\nafter\n'
  const filled = fillMarkers(text, TRANSCRIPT)
  const block = `\`\`\`text\n${TRANSCRIPT.trim()}\n\`\`\``
  expect(filled).toBe(`before\n<!-- transcript -->\n\n${block}\n\n<!-- /transcript -->\nafter\n`)
  expect(fillMarkers(filled, TRANSCRIPT)).toBe(filled)
})

test('shows the steps that a marker lists, and says where it leaves some out', () => {
  const text = '<!-- transcript 1 4-9 -->\n<!-- /transcript -->'
  expect(fillMarkers(text, TRANSCRIPT)).toContain(
    `Start\n\n${LINE}\n 1  Step 1\n\n${LINE}\n […]\n\n${LINE}\n 4  Step 4\n\n${LINE}\nTable\n`,
  )
})

test('refuses a text without markers', () => {
  expect(() => fillMarkers('nothing', TRANSCRIPT)).toThrow('there is no <!-- transcript -->')
})

import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { measure } from './layout.ts'
import type { StepReport } from './report.ts'
import { createTerminalReporter } from './terminal.ts'

const STEP: StepReport = {
  type: 'step',
  flow: 'code',
  number: 3,
  title: 'A title that is long enough to be broken where the terminal is a narrow one, or else not',
  why: 'A reason of some length, so that it takes more than one line wherever it is that it stands.',
  exchanges: [
    {
      to: 'authorization server',
      method: 'POST',
      url: 'http://127.0.0.1:12345/interaction/Abcdefghijkl…/sign-in',
      sent: { username: 'alice', password: '(hidden)' },
      status: 303,
      received: { location: '/auth/Abcdefghijkl…?state=1' },
    },
    {
      to: 'authorization server',
      method: 'GET',
      url: 'http://127.0.0.1:12345/auth/Abcdefghijkl…',
      sent: {},
      status: 200,
      received: {
        registration_access_token_of_a_client_that_nobody_has_ever_seen_ye: 'xxxx',
        page: 'x'.repeat(150),
        kinds: ['a', 'b', { c: 1 }, 'd', 'e', 'f'],
      },
    },
  ],
  facts: [
    { name: 'aud', value: 'v'.repeat(150), meaning: 'what it means, in a good number of words' },
    { name: 'sub', value: 'short', meaning: 'what it means, in a good number of words' },
  ],
  checks: [
    { what: 'status', expected: '401', actual: '401', ok: true },
    { what: 'error', expected: 'invalid_token', actual: 'nothing', ok: false },
  ],
  ok: false,
  failure: 'error: expected invalid_token, got nothing',
  durationMs: 12,
}

test('breaks a word that is longer than a line at a mark in it', () => {
  const words = ['urn:ietf:params:oauth:client-assertion-type:jwt-bearer', 'x'.repeat(50)]
  const [exchange] = STEP.exchanges
  if (!exchange) throw new Error('the step has no exchange')
  const received = { client_assertion_type_it_is: words[0] ?? '', other: words[1] ?? '' }
  const text = show(60, { ...STEP, exchanges: [{ ...exchange, status: 200, received }] })
  expect(text).toMatch(/urn:ietf:params:oauth:client-assertion-type:jwt-\n +bearer\n/)
})

test('lays a table out in columns, numbers of one column with as many decimals', () => {
  const columns = ['API', 'last 200, ms', 'asked']
  const table = {
    columns,
    rows: [
      ['notes API', -1, 30],
      ['hello API', 12.3, 5],
      ['billing', 'never', 4],
    ],
  }
  expect(show(60, { ...STEP, table })).toContain(
    [
      '',
      '    API         last 200, ms   asked',
      '    notes API           -1.0      30',
      '    hello API           12.3       5',
      '    billing            never       4',
      '',
    ].join('\n'),
  )
})

test('says above a request what tells it from others', () => {
  const [exchange] = STEP.exchanges
  if (!exchange) throw new Error('the step has no exchange')
  const text = show(80, { ...STEP, exchanges: [{ ...exchange, purpose: 'alg none' }] })
  expect(text).toMatch(/\n {4}alg none:\n {4}→ POST /)
})

function show(columns: number, step = STEP): string {
  const output = Object.assign(new PassThrough(), { columns })
  const reporter = createTerminalReporter(output)
  const summary = 'what it shows, in a line that may well be too long'
  reporter.prepare([{ name: 'code', summary }], ['authorization server', 'notes API'])
  reporter.start({
    type: 'start',
    flow: 'code',
    summary: '',
    issuer: 'http://127.0.0.1:12345',
    api: 'http://127.0.0.1:12346',
    processes: [{ name: 'authorization server', pid: 1, url: 'http://127.0.0.1:12345' }],
  })
  reporter.step(step)
  const failed = `3 ${STEP.title}`
  const end = { type: 'end', flow: 'code', ok: false, steps: 1, checks: 2, failed } as const
  reporter.end({ ...end, durationMs: 1234 })
  return String(output.read())
}

test.each([60, 80, 100])('fits into %s columns', (columns) => {
  const lines = show(columns).split('\n')
  expect(lines.filter((line) => measure(line) > columns)).toEqual([])
})

test.each([60, 80, 100])(
  'gives values their room in %s columns, however long a name is',
  (columns) => {
    const lines = show(columns).split('\n')
    const row = lines.findIndex((line) => line.includes('registration_access_token_of_a'))
    const values = lines.slice(row + 1).filter((line) => /^ +x+$/.test(line))
    expect(row).toBeGreaterThan(-1)
    expect(Math.max(...values.map((line) => line.trim().length))).toBeGreaterThanOrEqual(
      columns / 2,
    )
  },
)

test('is no wider than a text can be read', () => {
  const widest = Math.max(...show(240).split('\n').map(measure))
  expect(widest).toBe(100)
})

test('has no colours where the output is no terminal', () => {
  expect(show(80)).not.toContain('\u001b')
})

test('names the step that failed, what was expected and what came', () => {
  const text = show(100)
  expect(text).toContain('✗ error: expected invalid_token, got nothing')
  expect(text).toMatch(/Failed at step 3 A title/)
})

test('shows a title whole at the end, in as many lines as it takes', () => {
  const [, summary = ''] = show(60).split(/─+\n  ✗/)
  expect(summary.replaceAll(/\s+/g, ' ').replace(' 12 ms', '')).toContain(STEP.title)
})

test('shows a list of a few entries on a line', () => {
  expect(show(80)).toContain('kinds  [a, b, { c: 1 }, d, e, … 1 more]')
})

test('gives a redirect within a server one line, and no query', () => {
  const text = show(100)
  expect(text).toContain('← 303 See Other, to /auth/Abcdefghijkl…\n')
  expect(text).not.toContain('→ GET')
})

import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { beforeAll, describe, expect, test } from 'vitest'
import type { RunReport, SummaryReport } from '../../client-demo/report.ts'
import { startProgram } from '../support/program.ts'

const SCHEMA = path.resolve(import.meta.dirname, '../../docs/transcript.schema.json')

/** Who answers in flows beside the APIs: the client, and the authorization server at all its ports. */
const NO_API: readonly string[] = ['client', 'authorization server', 'direct access', 'old issuer']

let validate: ValidateFunction
let lines: readonly string[]
let reports: readonly RunReport[]
let code: number | null
let stderr: string

/** All flows once, on one set of programs. What they do with a Redis is in `test/engines`. */
beforeAll(async () => {
  const schema = JSON.parse(await readFile(SCHEMA, 'utf8')) as object
  const ajv = new Ajv2020({ strict: true, allErrors: true })
  ajv.addFormat('uri', (text: string) => URL.canParse(text))
  validate = ajv.compile(schema)
  await using demo = startProgram('client-demo/cli.ts', ['run', 'all', '--no-redis', '--json'])
  const ended = await demo.ended
  code = ended.code
  stderr = ended.stderr
  lines = ended.stdout.trimEnd().split('\n')
  reports = lines.map((line) => JSON.parse(line) as RunReport)
}, 170_000)

function readSummary(): SummaryReport {
  const last = reports.at(-1)
  if (last?.type !== 'summary') throw new Error(`the last line is no summary: ${lines.at(-1)}`)
  return last
}

describe('all flows, one after the other', () => {
  test('end well, each with a call to a protected API and with refusals', () => {
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(readSummary()).toMatchObject({ ok: true, notRun: [] })
    const steps = reports.filter((report) => report.type === 'step')
    expect(steps.filter(({ ok }) => !ok)).toEqual([])
    for (const { flow } of readSummary().flows) {
      const exchanges = steps.filter((step) => step.flow === flow).flatMap((step) => step.exchanges)
      const apis = exchanges.filter(({ to }) => !NO_API.includes(to))
      expect([flow, apis.some(({ status }) => status < 300)]).toEqual([flow, true])
      const refusals = exchanges.filter(
        ({ status, received }) => status >= 400 || 'error' in received,
      )
      expect([flow, refusals.length > 0 || hasErrorCheck(flow)]).toEqual([flow, true])
    }
  })

  test('say of each API when it began to refuse', () => {
    const clicks = reports.flatMap((report) =>
      report.type === 'step' && report.table?.columns[2] === 'first 401, ms' ? [report] : [],
    )
    expect(clicks.map(({ flow, table }) => [flow, table?.rows.map(([api]) => api)])).toEqual([
      ['logout', ['notes API']],
      ['revoke', ['notes API', 'orders service', 'billing service']],
      ['revoke', ['notes API', 'orders service', 'billing service']],
      ['sessions', ['notes API']],
      ['api-key', ['notes API']],
    ])
    for (const [, lastGood, firstRefused] of clicks.flatMap(({ table }) => table?.rows ?? [])) {
      expect(Number(firstRefused)).toBeGreaterThan(Number(lastGood))
      expect(Number(firstRefused)).toBeLessThanOrEqual(1000)
    }
  })

  test('share their programs', () => {
    const starts = reports.filter((report) => report.type === 'start')
    expect(starts.map(({ flow }) => flow)).toEqual(readSummary().flows.map(({ flow }) => flow))
    expect(new Set(starts.map(({ issuer }) => issuer)).size).toBe(1)
  })

  test('show no password, no secret and no whole token', () => {
    const text = lines.join('\n')
    expect(text.match(/eyJ[\w-]*\.[\w-]*/g)).toBeNull()
    const words = text.match(/[\w-]{15,}/g) ?? []
    expect(words.filter((word) => /[a-z]/.test(word) && /\d/.test(word))).toEqual([])
  })
})

/** A refusal that a browser brings back, as `login_required`. */
function hasErrorCheck(flow: string): boolean {
  return reports.some(
    (report) =>
      report.type === 'step' &&
      report.flow === flow &&
      report.checks.some(({ what }) => what.includes('error')),
  )
}

describe('the schema of the transcript', () => {
  test('describes every line', () => {
    for (const report of reports) {
      expect([report, validate(report), validate.errors]).toEqual([report, true, null])
    }
  })

  test.each([
    ['an unknown type', { type: 'nonsense' }],
    ['a step without its checks', { checks: undefined }],
    ['a number that is none', { number: 'one' }],
    ['a member that is not described', { more: true }],
  ])('refuses %s', (_case, change) => {
    const step = reports.find(({ type }) => type === 'step')
    const changed: unknown = JSON.parse(JSON.stringify({ ...step, ...change }))
    expect(validate(step)).toBe(true)
    expect(validate(changed)).toBe(false)
  })
})

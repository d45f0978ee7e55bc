import { expect, test } from 'vitest'
import { runSteps, type Step } from './flow.ts'
import type { Reporter, RunReport } from './report.ts'
import { createWire } from './wire.ts'

const alive = new Promise<Error>(() => {})

async function run(
  steps: readonly Step<undefined>[],
  { death = alive, stopped = new AbortController().signal, secret = '' } = {},
): Promise<{ readonly reports: readonly RunReport[]; readonly end: RunReport }> {
  const reports: RunReport[] = []
  const keep = (report: RunReport) => void reports.push(report)
  const reporter: Reporter = {
    prepare: () => {},
    start: keep,
    step: keep,
    end: keep,
    summary: keep,
    ask: () => {},
  }
  const wire = createWire()
  if (secret !== '') wire.keepSecret(secret)
  const collaborators = { flow: 'test', wire, reporter, deaths: [death], stopped }
  return { end: await runSteps(undefined, steps, collaborators), reports }
}

const fine: Step<undefined> = {
  title: 'fine',
  why: 'it is',
  run: async (_stage, { check }) => check('one', 1, 1),
}

test('a difference fails the step, names what was expected and what came, and ends the run', async () => {
  const different: Step<undefined> = {
    title: 'different',
    why: 'it is not',
    run: async (_stage, { check }) => {
      check('status', 401, 200)
      check('later', 1, 1)
    },
  }
  const { reports, end } = await run([fine, different, fine])
  expect(reports).toHaveLength(2)
  expect(reports[1]).toMatchObject({
    number: 2,
    ok: false,
    checks: [{ what: 'status', expected: 401, actual: 200, ok: false }],
    failure: 'status: expected 401, got 200',
  })
  expect(end).toMatchObject({ ok: false, failed: '2 different', steps: 2, checks: 2 })
})

test('what a table holds is without secrets', async () => {
  const secret = 'Zm9yIHlvdXIgZXllcyBvbmx5'
  const step: Step<undefined> = {
    ...fine,
    run: async (_stage, { table }) => table(['API', 'key'], [['notes', `of ${secret}`]]),
  }
  const { reports } = await run([step], { secret })
  expect(reports[0]).toMatchObject({
    table: { rows: [['notes', expect.not.stringContaining(secret)]] },
  })
})

test('a missing value is a difference', async () => {
  const step: Step<undefined> = {
    ...fine,
    run: async (_stage, { check }) => check('error', 'invalid_token', undefined),
  }
  const { end } = await run([step])
  expect(end).toMatchObject({ ok: false })
})

test('all steps that are fine are a run that is fine', async () => {
  const { end } = await run([fine, fine])
  expect(end).toMatchObject({ ok: true, steps: 2, checks: 2 })
  expect(end).not.toHaveProperty('failed')
})

test('an error fails the step with its causes, and without whole tokens', async () => {
  const token = 'AbcdefghijklMnopqrstuvwxyz0123456789'
  const step: Step<undefined> = {
    ...fine,
    run: async () => {
      throw new Error('fetch failed', { cause: new Error(`refused ${token}`) })
    },
  }
  const { reports } = await run([step])
  expect(reports[0]).toMatchObject({ failure: 'fetch failed: refused Abcdefghijkl…' })
})

test('the end of a process explains the step that waits for it', async () => {
  const step: Step<undefined> = { ...fine, run: () => new Promise(() => {}) }
  const death = Promise.resolve(new Error('the server ended by itself'))
  const { end, reports } = await run([step], { death })
  expect(reports[0]).toMatchObject({ ok: false, failure: 'the server ended by itself' })
  expect(end).toMatchObject({ ok: false, failed: '1 fine' })
})

test('a run that is stopped ends at once', async () => {
  const stop = new AbortController()
  const step: Step<undefined> = {
    ...fine,
    run: () => {
      stop.abort(new Error('stopped by its person'))
      return new Promise(() => {})
    },
  }
  await expect(run([step], { stopped: stop.signal })).rejects.toThrow('stopped by its person')
})

test('what is known to be a secret is shown nowhere, whatever it is called', async () => {
  const secret = 'fjord "bank" glyphs vex'
  const careless: Step<undefined> = {
    title: 'careless',
    why: 'it happens',
    async run(_stage, { check, fact }) {
      fact('greeting', `hello ${secret}`, `of ${secret}`)
      check('words', { word: secret }, { word: secret })
      throw new Error(`no ${secret} there`)
    },
  }
  const { reports } = await run([careless], { secret })
  expect(reports[0]).toMatchObject({
    facts: [{ value: 'hello (hidden)', meaning: 'of (hidden)' }],
    checks: [{ expected: { word: '(hidden)' } }],
    failure: 'no (hidden) there',
  })
  expect(JSON.stringify(reports)).not.toContain('glyphs')
})

test('a fact shows no token, though nobody has shortened it', async () => {
  const token = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhY2NfMTIzNDU2Nzg5MCJ9.c2lnbmF0dXJlLXNpZ25h'
  const careless: Step<undefined> = {
    title: 'careless',
    why: 'it happens',
    run: async (_stage, { fact }) => fact('answer', { is: [token] }, ''),
  }
  const { reports } = await run([careless])
  expect(reports[0]).toMatchObject({ facts: [{ value: { is: ['eyJhbGciOiJF…'] } }] })
})

import { describe, expect, test } from 'vitest'
import type { RunReport } from '../../client-demo/report.ts'
import { needEngines } from '../support/engines/need.ts'
import { startRedis } from '../support/engines/redis.ts'
import { startProgram } from '../support/program.ts'

const { isMissing, note } = needEngines('redis')

/** The flow that deletes a session, with a Redis of its own or of ours. */
async function runSessions(...args: readonly string[]) {
  await using demo = startProgram('client-demo/cli.ts', ['run', 'sessions', '--json', ...args])
  const { code, stderr, stdout } = await demo.ended
  const reports = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as RunReport)
  expect({ code, stderr, last: reports.at(-1) }).toMatchObject({
    code: 0,
    stderr: '',
    last: { ok: true },
  })
  const start = reports.find((report) => report.type === 'start')
  const steps = reports.filter((report) => report.type === 'step')
  return { stdout, programs: start?.processes.map(({ name }) => name), steps }
}

describe.skipIf(isMissing)(`the demonstration with a Redis${note}`, () => {
  test.each([['one of its own'], ['one that it is told']])(
    'shows on %s when the API refuses what hung on a deleted session',
    async (whose) => {
      const isOwn = whose === 'one of its own'
      await using ours = isOwn ? undefined : await startRedis({ durable: false })
      const { stdout, programs, steps } = await runSessions(...(ours ? ['--redis', ours.url] : []))
      expect(programs?.includes('Redis')).toBe(isOwn)
      expect(stdout).not.toMatch(/redis:\/\/:/)
      const tables = steps.flatMap(({ table }) => (table ? [table] : []))
      expect(tables).toMatchObject([
        { columns: ['API', 'last 200, ms', 'first 401, ms', 'times asked'] },
      ])
      const [name, lastGood, firstRefused] = tables[0]?.rows[0] ?? []
      expect(name).toBe('notes API')
      expect(Number(firstRefused)).toBeGreaterThan(Number(lastGood))
      expect(Number(firstRefused)).toBeLessThanOrEqual(1000)
      const titles = steps.map(({ title }) => title)
      expect(titles.slice(-2)).toEqual([
        'The access token is good for nothing',
        'No token comes from it any more',
      ])
    },
  )
})

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { makeFolder } from '../test/support/folder.ts'

const SECONDS = 3
const CLIENTS = 16
const REQUESTS = 50_000
/** As long as what the stores write there. */
const BYTES = 500

/** What PostgreSQL's own tool reaches with the smallest read and write. */
export function runPgbench(command: string, url: string): string[] {
  using folder = makeFolder()
  const scripts = {
    'one row by its key':
      "select key, payload from engine_model where model = 'AccessToken' and key = 'row 250';",
    'one row written':
      "insert into tombstone (kind, key, expires_at) values ('bench', gen_random_uuid(), 1);",
  }
  const tool = path.join(path.dirname(command), 'pgbench')
  return Object.entries(scripts).map(([name, script]) => {
    const file = folder.file('script.sql')
    writeFileSync(file, script)
    const options = ['-n', '-M', 'prepared', '-c', `${CLIENTS}`, '-T', `${SECONDS}`, '-f', file]
    const text = execFileSync(tool, [...options, url], { encoding: 'utf8', stdio: 'pipe' })
    const perSecond = Number(/tps = ([\d.]+)/.exec(text)?.[1])
    return `pgbench, ${CLIENTS} clients, ${name}: ${Math.round(perSecond)} per second`
  })
}

export function runRedisBenchmark(url: string): string[] {
  const options = ['-c', `${CLIENTS}`, '-n', `${REQUESTS}`, '-d', `${BYTES}`, '--csv']
  const place = ['-p', new URL(url).port, '-t', 'get,set']
  const text = execFileSync('redis-benchmark', [...options, ...place], {
    encoding: 'utf8',
    stdio: 'pipe',
  })
  return [...text.matchAll(/^"(GET|SET)","([\d.]+)"/gm)].map(
    ([, name, perSecond]) =>
      `redis-benchmark, ${CLIENTS} clients, ${name}: ${Math.round(Number(perSecond))} per second`,
  )
}

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { makeFolder } from '../test/support/folder.ts'

const SECONDS = 3
const CLIENTS = 16

/** What PostgreSQL's own tool reaches with the smallest read and write of the engine's models. */
export function runPgbench(command: string, url: string): void {
  using folder = makeFolder()
  const scripts = {
    'one row by its key': `select key, payload from engine_model where model = 'AccessToken' and key = 'row 250';`,
    'one row written': `insert into tombstone (kind, key, expires_at)
      values ('bench', md5(random()::text), 1) on conflict do nothing;`,
  }
  for (const [name, script] of Object.entries(scripts)) {
    const file = folder.file('script.sql')
    writeFileSync(file, script.replaceAll('\n', ' '))
    const options = ['-n', '-M', 'prepared', '-c', `${CLIENTS}`, '-T', `${SECONDS}`, '-f', file]
    const tool = path.join(path.dirname(command), 'pgbench')
    const text = execFileSync(tool, [...options, url], { encoding: 'utf8', stdio: 'pipe' })
    const perSecond = /tps = ([\d.]+)/.exec(text)?.[1] ?? '?'
    console.log(`pgbench, ${CLIENTS} clients, ${name}: ${perSecond} per second`)
  }
}

import { writeFileSync } from 'node:fs'
import { PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { runCli } from '../../auth-server/cli/run.ts'
import { createLog } from '../../auth-server/log.ts'
import { createAuthServer } from '../../auth-server/server.ts'
import { sqliteFiles } from '../../auth-server/storage/backup.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createTestClock } from './clock.ts'
import { makeFolder } from './folder.ts'
import type { ProgramEnd } from './program.ts'

/**
 * The command line on a database of its own, in this process. `columns`: how wide the terminal is that
 * it writes to; without it, it writes to pipes. `input`: what each command reads. A server that it starts is stopped as soon as it runs.
 */
export function makeCli({
  columns,
  input = '',
  config = {},
  database = 'a.sqlite',
}: {
  columns?: number
  input?: string
  config?: object
  /** Relative to its folder. */
  database?: string
} = {}) {
  const folder = makeFolder()
  const clock = createTestClock()
  const environment = { DATABASE_URL: `sqlite:${folder.file(database)}`, NO_COLOR: '1' }
  const file = folder.file('portreeve.config.json')
  let typed = input
  const makeStream = () =>
    Object.assign(new PassThrough(), { isTTY: columns !== undefined, columns })
  const run = async (...args: string[]): Promise<Omit<ProgramEnd, 'signal'>> => {
    const [stdout, stderr] = [makeStream(), makeStream()]
    const written = Promise.all([text(stdout), text(stderr)])
    const code = await runCli([...args, '--config', file], {
      version: '0.0.0',
      environment,
      clock,
      stdin: Readable.from([typed]) as never,
      stdout: stdout as never,
      stderr: stderr as never,
      files: sqliteFiles,
      openStores,
      createAuthServer: (loaded) => createAuthServer(loaded, { clock, log: createLog('silent') }),
      waitForStop: async () => {},
    })
    stdout.end()
    stderr.end()
    const [out, err] = await written
    return { code, stdout: out, stderr: err }
  }
  writeFileSync(file, JSON.stringify(config))
  return {
    clock,
    folder: folder.path,
    database: folder.file(database),
    run,
    /** What the next commands read. */
    type(words: string) {
      typed = words
    },
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  }
}

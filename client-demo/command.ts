import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { COMPILE_CACHE, ROOT } from './child.ts'

const run = promisify(execFile)
const PATIENCE_MS = 20_000

/** Does as an operator what one command line does, and answers its JSON. It inherits nothing of ours. */
export async function runPortreeve(
  configFile: string,
  args: readonly string[],
): Promise<Readonly<Record<string, unknown>>> {
  const program = path.join(ROOT, 'auth-server/main.ts')
  const { stdout } = await run(
    process.execPath,
    [program, ...args, '--config', configFile, '--json'],
    { env: { NODE_COMPILE_CACHE: COMPILE_CACHE }, timeout: PATIENCE_MS },
  )
  return JSON.parse(stdout) as Readonly<Record<string, unknown>>
}

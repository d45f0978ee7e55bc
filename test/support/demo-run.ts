import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempDisposable, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'

export const CLI: string = path.resolve(import.meta.dirname, '../../client-demo/cli.ts')

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** What it left in its folder for temporary files. */
  readonly left: readonly string[]
}

export interface DemoControls {
  kill(signal: NodeJS.Signals): void
}

/** Runs the demonstration as a process to its end; `onLine` sees what it prints while it runs. */
export async function runDemo(
  args: readonly string[],
  onLine: (line: string, controls: DemoControls) => void = () => {},
  environment: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  await using folder = await mkdtempDisposable(path.join(tmpdir(), 'portreeve-demo-test-'))
  const child = spawn(process.execPath, [CLI, ...args], {
    // By default an empty environment, as on a machine where nobody has set anything.
    env: { TMPDIR: folder.path, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: string[] = []
  createInterface(child.stdout).on('line', (line) => {
    lines.push(line)
    onLine(line, { kill: (signal) => void child.kill(signal) })
  })
  const errors: Buffer[] = []
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  const stderr = Buffer.concat(errors).toString('utf8')
  return { code, stdout: lines.join('\n'), stderr, left: await readdir(folder.path) }
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

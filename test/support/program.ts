import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { text } from 'node:stream/consumers'

const ROOT = path.resolve(import.meta.dirname, '../..')

export interface ProgramEnd {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A program that runs as a process of its own; disposing of it ends it by SIGKILL. */
export interface Program extends AsyncDisposable {
  /** The first line of its standard output, or `undefined` where it ended without one. */
  readonly firstLine: Promise<string | undefined>
  signal(signal: NodeJS.Signals): void
  readonly ended: Promise<ProgramEnd>
}

/**
 * Starts a TypeScript file of the repository, by its path from the root. Of our own environment nothing
 * is passed on; the cache spares each process half of its start.
 */
export function startProgram(file: string, args: readonly string[]): Program {
  const child = spawn(process.execPath, [path.join(ROOT, file), ...args], {
    env: { NODE_COMPILE_CACHE: path.join(ROOT, 'node_modules/.cache/portreeve-tests') },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const outputs = Promise.all([text(child.stdout), text(child.stderr)])
  const closed = once(child, 'close') as Promise<[number | null]>
  const ended = closed.then(async ([code]) => {
    const [stdout, stderr] = await outputs
    return { code, stdout, stderr }
  })
  const firstLine = new Promise<string | undefined>((resolve) => {
    let seen = ''
    child.stdout.on('data', (chunk: Buffer) => {
      seen += chunk.toString('utf8')
      if (seen.includes('\n')) resolve(seen.slice(0, seen.indexOf('\n')))
    })
    child.once('close', () => resolve(undefined))
  })
  return {
    firstLine,
    signal: (name) => void child.kill(name),
    ended,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Readable } from 'node:stream'

const ROOT = path.resolve(import.meta.dirname, '../..')

export interface ProgramOptions {
  /** The folder it runs in. Default: the repository. */
  readonly folder?: string | undefined
  /** What it reads on standard input. Default: nothing. */
  readonly input?: string | Buffer | undefined
  /** A command that runs the program, such as one that limits it. Default: none. */
  readonly through?: readonly string[] | undefined
  /** Its environment. Nothing of our own is passed on. */
  readonly environment?: Readonly<Record<string, string>> | undefined
}

export interface ProgramEnd {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A program that runs as a process of its own; disposing of it ends it by SIGKILL. */
export interface Program extends AsyncDisposable {
  readonly pid: number
  /** The first line of its standard output, or `undefined` where it ended without one. */
  readonly firstLine: Promise<string | undefined>
  /** What it wrote to standard output so far. */
  printed(): string
  /** What it wrote to standard error so far. */
  logged(): string
  signal(signal: NodeJS.Signals): void
  /** Resolves when it has ended and everything that it wrote has been read. */
  readonly ended: Promise<ProgramEnd>
}

/**
 * Starts a TypeScript file of the repository, by its path from the root. The cache spares each process
 * half of its start: the types that Node strips and the code that it compiles.
 */
export function startProgram(
  file: string,
  args: readonly string[],
  { folder = ROOT, input, through = [], environment }: ProgramOptions = {},
): Program {
  const [command = '', ...rest] = [...through, process.execPath, path.join(ROOT, file), ...args]
  const child = spawn(command, rest, {
    cwd: folder,
    env: {
      NODE_COMPILE_CACHE: path.join(ROOT, 'node_modules/.cache/portreeve-tests'),
      ...environment,
    },
    stdio: 'pipe',
  })
  // A program that refuses its arguments does not read what it is sent.
  child.stdin.on('error', () => {})
  child.stdin.end(input ?? '')
  const printed = collect(child.stdout)
  const logged = collect(child.stderr)
  const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  const ended = closed.then(([code, signal]) => ({
    code,
    signal,
    stdout: printed(),
    stderr: logged(),
  }))
  const firstLine = new Promise<string | undefined>((resolve) => {
    child.stdout.on('data', () => {
      const [line, ...more] = printed().split('\n')
      if (more.length > 0) resolve(line)
    })
    child.once('close', () => resolve(undefined))
  })
  return {
    pid: child.pid ?? 0,
    firstLine,
    printed,
    logged,
    signal: (name) => void child.kill(name),
    ended,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

function collect(stream: Readable): () => string {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return () => Buffer.concat(chunks).toString('utf8')
}

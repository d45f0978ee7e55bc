import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Readable, Writable } from 'node:stream'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { BASE_CONFIG, ENVIRONMENT } from './server.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const MAIN = path.join(ROOT, 'auth-server/main.ts')

/**
 * Nothing else of our own environment is passed on. The cache spares each process half of its start:
 * the types that Node strips and the code that it compiles.
 */
const OWN_ENVIRONMENT: Readonly<Record<string, string>> = {
  ...ENVIRONMENT,
  NODE_COMPILE_CACHE: path.join(ROOT, 'node_modules/.cache/portreeve-tests'),
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Run extends Exit {
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** The folder it runs in. */
  readonly folder: string
  /** What it reads on standard input. Default: nothing. */
  readonly input?: string | Buffer | undefined
  /** A command that runs the program, such as one that limits it. Default: none. */
  readonly through?: readonly string[] | undefined
  /** Beside the secrets of `BASE_CONFIG`. */
  readonly environment?: Readonly<Record<string, string>> | undefined
}

/** A server that runs as a process of its own; disposing of it ends it by SIGKILL. */
export interface ServerProcess extends AsyncDisposable {
  readonly pid: number
  readonly issuer: string
  readonly url: string
  readonly database: string
  /** What it wrote to standard error so far: its log. */
  logged(): string
  /** What it wrote to standard output so far. */
  printed(): string
  signal(signal: NodeJS.Signals): void
  /** Resolves when it has ended. */
  readonly ended: Promise<Exit>
}

/** Writes a configuration into the folder, and answers its file. */
export function writeConfig(
  folder: string,
  change: (config: ConfigInput) => object = (config) => config,
  name = 'portreeve.config.json',
): string {
  const file = path.join(folder, name)
  writeFileSync(file, JSON.stringify(change(BASE_CONFIG)))
  return file
}

/** Runs the program to its end. */
export async function runProgram(args: readonly string[], options: RunOptions): Promise<Run> {
  const child = start(args, options)
  const stdout = collect(child.stdout)
  const stderr = collect(child.stderr)
  // A program that refuses its arguments does not read what it is sent.
  child.stdin.on('error', () => {})
  child.stdin.end(options.input ?? '')
  const { code, signal } = await ending(child)
  return { code, signal, stdout: stdout(), stderr: stderr() }
}

/** Starts `serve` and waits until it listens. Throws what it wrote if it ends before. */
export async function startServerProcess(
  configFile: string,
  options: RunOptions,
): Promise<ServerProcess> {
  const child = start(['serve', '--config', configFile, '--json'], options)
  child.stdin.end()
  const stdout = collect(child.stdout)
  const stderr = collect(child.stderr)
  const ended = ending(child)
  const first = firstLine(child.stdout)
  const line = await Promise.race([first, ended.then(() => undefined)])
  if (line === undefined) throw new Error(`the server did not start: ${stdout()}${stderr()}`)
  const { issuer, url, database } = JSON.parse(line) as Record<
    'issuer' | 'url' | 'database',
    string
  >
  const signal = (name: NodeJS.Signals) => void child.kill(name)
  return {
    pid: child.pid ?? 0,
    issuer,
    url,
    database,
    logged: stderr,
    printed: stdout,
    signal,
    ended,
    async [Symbol.asyncDispose]() {
      signal('SIGKILL')
      await ended
    },
  }
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>

function start(args: readonly string[], { folder, environment, through = [] }: RunOptions): Child {
  const [command = '', ...rest] = [...through, process.execPath, MAIN, ...args]
  return spawn(command, rest, {
    cwd: folder,
    env: { ...OWN_ENVIRONMENT, ...environment },
    stdio: 'pipe',
  })
}

/** Ended, and everything that it wrote has been read. */
async function ending(child: Child): Promise<Exit> {
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  return { code, signal }
}

function collect(stream: Readable): () => string {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return () => Buffer.concat(chunks).toString('utf8')
}

function firstLine(stream: Readable): Promise<string> {
  const seen = collect(stream)
  return new Promise((resolve) => {
    stream.on('data', () => {
      const [line, ...rest] = seen().split('\n')
      if (line !== undefined && rest.length > 0) resolve(line)
    })
  })
}

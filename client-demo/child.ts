import { spawn, type ChildProcess } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'

export interface Program {
  /** What people call it, without an article. */
  readonly name: string
  /** Its file, from the root of the repository. */
  readonly file: string
  readonly args: readonly string[]
  /** It inherits nothing of ours. */
  readonly environment: Readonly<Record<string, string>>
  /** Where its log goes. Default: nowhere. */
  readonly logFile?: string | undefined
}

/** A program that is not ours. It inherits our environment. */
export interface Command {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** What it reads from standard input: secrets stand in no list of processes there. */
  readonly input: string
  /** What a line of its standard output says, if that is that it is ready. */
  readonly readReady: (line: string) => Ready | undefined
}

/** What programs say when they are ready: as far as they have it, where they answer. */
export interface Ready {
  readonly issuer?: string
  readonly url?: string
  /** Of the authorization server: where it gives tokens without OAuth. */
  readonly direct?: { readonly secrets: string; readonly unauthenticated: string }
}

/** A process of ours; disposing of it ends it, and waits until it has ended. */
export interface Child extends AsyncDisposable {
  readonly name: string
  readonly pid: number
  /** What it said when it was ready. */
  readonly ready: Ready
  /** Resolves, with the reason, if it ends without having been asked to. */
  readonly died: Promise<Error>
}

export const ROOT: string = path.join(import.meta.dirname, '..')

/** Spares a process half of its start: the types that Node strips and the code it compiles. */
export const COMPILE_CACHE: string = path.join(ROOT, 'node_modules/.cache/portreeve-demo')
const START_MS = 20_000
const STOP_MS = 10_000
const LINES_KEPT = 15
const LONGEST_LINE = 400

/** Starts a program and waits for the one JSON line that says it is ready. */
export async function startChild(program: Program, stopped: AbortSignal): Promise<Child> {
  stopped.throwIfAborted()
  const child = spawn(process.execPath, [path.join(ROOT, program.file), ...program.args], {
    ...APART,
    env: { NODE_COMPILE_CACHE: COMPILE_CACHE, ...program.environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return attend(child, { ...program, readReady: (line) => JSON.parse(line) as Ready }, stopped)
}

/** Starts a program that is not ours, and waits until it says in its own words that it is ready. */
export async function startCommand(command: Command, stopped: AbortSignal): Promise<Child> {
  stopped.throwIfAborted()
  const child = spawn(command.command, command.args, { ...APART, stdio: 'pipe' })
  // Where it does not read, it has ended, and that says why.
  child.stdin.on('error', () => {})
  child.stdin.end(command.input)
  return attend(child, command, stopped)
}

/** In a group of its own: Ctrl+C reaches us alone, and we end our children in order. */
const APART = { detached: true }

interface Attended extends Pick<Program, 'name' | 'logFile'>, Pick<Command, 'readReady'> {}

async function attend(
  child: ChildProcess,
  program: Attended,
  stopped: AbortSignal,
): Promise<Child> {
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`))
  })
  const lastLines = keepLastLines(child, program.logFile)
  let isAsked = false
  const stop = async (): Promise<void> => {
    isAsked = true
    await endChild(child, exited)
  }
  const died = exited.then((how): Error | Promise<Error> =>
    isAsked ? new Promise(() => {}) : describeDeath(program.name, how, lastLines),
  )
  try {
    const ready = await waitUntilReady(program, child, died, stopped, lastLines)
    const { pid = 0 } = child
    return { name: program.name, pid, ready, died, [Symbol.asyncDispose]: stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function waitUntilReady(
  { name, readReady }: Attended,
  child: ChildProcess,
  died: Promise<Error>,
  stopped: AbortSignal,
  lastLines: string[],
): Promise<Ready> {
  const settled = new AbortController()
  const signal = AbortSignal.any([settled.signal, stopped])
  const said = new Promise<Ready>((resolve, reject) => {
    if (!child.stdout) return
    createInterface(child.stdout).on('line', (line) => {
      try {
        const ready = settled.signal.aborted ? undefined : readReady(line)
        if (ready) resolve(ready)
        else keepLine(lastLines, line)
      } catch (error) {
        reject(error)
      }
    })
  })
  try {
    const first = await Promise.race([said, died, wait(START_MS, undefined, { signal })])
    if (first instanceof Error) throw first
    if (first !== undefined) return first
    const problem = `the ${name} was not ready after ${START_MS / 1000} seconds`
    throw new Error([problem, ...quote(lastLines)].join('\n'))
  } finally {
    settled.abort()
  }
}

/** The last lines that it wrote to standard error: what it says when it fails. */
function keepLastLines(child: ChildProcess, logFile: string | undefined): string[] {
  const lines: string[] = []
  if (!child.stderr) return lines
  if (logFile !== undefined) child.stderr.pipe(createWriteStream(logFile, { mode: 0o600 }))
  createInterface(child.stderr).on('line', (line) => {
    for (const said of readLine(line)) keepLine(lines, said)
  })
  return lines
}

function keepLine(lines: string[], line: string): void {
  lines.push(line.slice(0, LONGEST_LINE))
  lines.splice(0, lines.length - LINES_KEPT)
}

/** Programs that answer in JSON say their mistakes in it; a person wants the sentence. */
function readLine(line: string): readonly string[] {
  try {
    const { error } = JSON.parse(line) as { readonly error?: { readonly message?: unknown } }
    return typeof error?.message === 'string' ? error.message.split('\n') : [line]
  } catch {
    return [line]
  }
}

function describeDeath(name: string, how: string, lastLines: readonly string[]): Error {
  return new Error([`the ${name} ended by itself (${how})`, ...quote(lastLines)].join('\n'))
}

function quote(lines: readonly string[]): string[] {
  if (lines.length === 0) return ['It wrote nothing to standard error.']
  return ['Its last lines:', ...lines.map((line) => `  ${line}`)]
}

async function endChild(child: ChildProcess, exited: Promise<string>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  const settled = new AbortController()
  const { signal } = settled
  const late = wait(STOP_MS, 'late', { signal }).catch(() => 'settled')
  if ((await Promise.race([exited, late])) === 'late') {
    child.kill('SIGKILL')
    await exited
  }
  settled.abort()
}

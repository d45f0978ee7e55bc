import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** A program of somebody else that tests start, and end by its id. */
export interface Service extends AsyncDisposable {
  /** The same one after every start. */
  readonly port: number
  /** Another one after every start. */
  pid(): number
  /** Resolves when all of its processes stand still: connections stay, nothing answers. */
  pause(): Promise<void>
  resume(): void
  /** Ends it at once, as a crash would, paused or not. Resolves when no process of it is left. */
  stop(): Promise<void>
  /** Starts it again, on the same port and data, and waits until it answers. */
  start(): Promise<void>
}

export interface ServiceOptions {
  readonly command: string
  readonly args: (port: number) => readonly string[]
  /** Where it runs. */
  readonly folder: string
  /** Whose process it is. Default: ours. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined
  /** Ends it and its children at once. */
  readonly endSignal: NodeJS.Signals
  /** Throws, within a few seconds, while that very process does not answer on the port. */
  readonly probe: (port: number, pid: number) => Promise<void>
}

const START_TIMEOUT_MS = 30_000
const STATE_TIMEOUT_MS = 10_000
const PAUSE_MS = 10
const SETPRIV = '/usr/bin/setpriv'

/**
 * Starts a service on a port of its own and waits until it answers. Throws what it wrote if it ends
 * before, or does not answer in time.
 */
export async function startService(
  options: ServiceOptions,
  findPort: () => Promise<number> = findFreePort,
): Promise<Service> {
  let { port, child } = await launchSomewhere(options, findPort)
  const pid = () => child.pid ?? 0
  const stop = () => end(child, options.endSignal)
  return {
    port,
    pid,
    async pause() {
      // The parent first, so that no child comes after they have been listed.
      await freeze([pid()])
      await freeze(listChildren(pid()))
    },
    resume: () => signalAll([pid(), ...listChildren(pid())], 'SIGCONT'),
    stop,
    async start() {
      if (!hasExited(child)) throw new Error(`${options.command} is running`)
      child = await launch(options, port)
    },
    [Symbol.asyncDispose]: stop,
  }
}

/** Between the search for a port and the start somebody else may get that port: once, not twice. */
async function launchSomewhere(
  options: ServiceOptions,
  findPort: () => Promise<number>,
): Promise<{ port: number; child: ChildProcess }> {
  const first = await findPort()
  try {
    return { port: first, child: await launch(options, first) }
  } catch (error) {
    if (!(error instanceof Error && /address already in use/i.test(error.message))) throw error
    const port = await findPort()
    return { port, child: await launch(options, port) }
  }
}

async function launch(options: ServiceOptions, port: number): Promise<ChildProcess> {
  const { folder, user, endSignal, probe } = options
  const [command = '', ...args] = boundToUs(endSignal, [options.command, ...options.args(port)])
  const child = spawn(command, args, {
    cwd: folder,
    env: { LC_ALL: 'C.UTF-8' },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...user,
  })
  let written = ''
  const keep = (chunk: Buffer) =>
    void (written = `${written}${chunk.toString('utf8')}`.slice(-4000))
  child.stdout.on('data', keep)
  child.stderr.on('data', keep)
  const closed = once(child, 'close').then(() => 'ended' as const)
  const bound = new AbortController()
  const isAnswering = async () => {
    try {
      await probe(port, child.pid ?? 0)
      return true
    } catch {
      // Not yet; if it is for another reason, it is in what the service wrote.
      return false
    }
  }
  const answered = becomesTrue(isAnswering, START_TIMEOUT_MS, bound.signal)
  const first = await Promise.race([closed, answered]).finally(() => bound.abort())
  if (first === 'ended') throw new Error(`${options.command} ended at its start: ${written}`)
  if (first) return child
  await end(child, endSignal)
  throw new Error(`${options.command} did not answer within ${START_TIMEOUT_MS} ms: ${written}`)
}

/**
 * A test that hangs is abandoned by its runner and disposes of nothing. Where the system can do it
 * (Linux), the command ends with the process that started it.
 */
export function boundToUs(signal: NodeJS.Signals, command: readonly string[]): readonly string[] {
  if (!existsSync(SETPRIV)) return command
  return [SETPRIV, '--pdeathsig', signal, '--', ...command]
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const { pid } = child
  if (pid === undefined || hasExited(child)) return
  const processes = [pid, ...listChildren(pid)]
  const areGone = () => hasExited(child) && processes.every((one) => readState(one) === 'ended')
  signalAll(processes, signal)
  // What stands still learns of the signal when it goes on.
  signalAll(processes, 'SIGCONT')
  if (await becomesTrue(areGone, STATE_TIMEOUT_MS)) return
  signalAll(processes, 'SIGKILL')
  await becomesTrue(areGone, STATE_TIMEOUT_MS)
  throw new Error(`process ${pid} did not end by ${signal} within ${STATE_TIMEOUT_MS} ms`)
}

function hasExited({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null
}

async function freeze(processes: readonly number[]): Promise<void> {
  signalAll(processes, 'SIGSTOP')
  const areStill = () => processes.every((one) => readState(one) !== 'running')
  if (await becomesTrue(areStill, STATE_TIMEOUT_MS)) return
  throw new Error(`processes ${processes.join(' ')} do not stand still`)
}

function signalAll(processes: readonly number[], name: NodeJS.Signals): void {
  for (const one of processes) {
    try {
      process.kill(one, name)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

interface ProcessRow {
  readonly pid: number
  readonly state: string
  readonly parent: number
}

/** Process groups do not help: PostgreSQL gives each of its processes a group of its own. */
function listChildren(parent: number): number[] {
  if (!existsSync('/proc/self/stat')) throw new Error('the processes of a service are in no /proc')
  return globSync('/proc/[0-9]*/stat')
    .flatMap((file) => readRow(file) ?? [])
    .filter((row) => row.parent === parent)
    .map(({ pid }) => pid)
}

function readState(pid: number): 'running' | 'still' | 'ended' {
  const state = readRow(`/proc/${pid}/stat`)?.state
  if (state === undefined || state === 'Z' || state === 'X') return 'ended'
  return state === 'T' ? 'still' : 'running'
}

/** Answers `undefined` for a process that has ended. */
function readRow(file: string): ProcessRow | undefined {
  try {
    const text = readFileSync(file, 'utf8')
    const [, pid, state = '', parent] = /^(\d+) \(.*\) (\S) (\d+) /s.exec(text) ?? []
    return { pid: Number(pid), state, parent: Number(parent) }
  } catch {
    return undefined
  }
}

async function becomesTrue(
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number,
  ...stops: readonly AbortSignal[]
): Promise<boolean> {
  const late = AbortSignal.any([AbortSignal.timeout(timeoutMs), ...stops])
  while (!late.aborted) {
    if (await condition()) return true
    await wait(PAUSE_MS)
  }
  return false
}

/** A port that is free now. */
export async function findFreePort(): Promise<number> {
  await using server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

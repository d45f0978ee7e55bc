import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** A program of somebody else that tests start, and end by its id. */
export interface Service extends AsyncDisposable {
  readonly pid: () => number
  /** Stops all of its processes as they are: connections stay, nothing answers. */
  pause(): void
  resume(): void
  /** Ends it at once, as a crash would. */
  stop(): Promise<void>
  /** Starts it again, on the same port and data, and waits until it answers. */
  start(): Promise<void>
}

export interface ServiceOptions {
  readonly command: string
  readonly args: readonly string[]
  readonly folder: string
  /** Whose process it is. Default: ours. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined
  /** Throws while the service does not answer yet. */
  readonly probe: () => Promise<void>
  /** What happens when its folder is no longer needed. */
  readonly remove: () => void
}

const START_TIMEOUT_MS = 20_000
const PAUSE_MS = 25

/**
 * Starts a service. Throws what it wrote if it ends before it answers, or
 * does not answer in time.
 */
export async function startService(options: ServiceOptions): Promise<Service> {
  let child = await launch(options)
  const signal = (name: NodeJS.Signals) => signalAll(child, name)
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    // A process that is stopped does not end by other signals than this one.
    signal('SIGKILL')
    await ended
  }
  return {
    pid: () => child.pid ?? 0,
    pause: () => signal('SIGSTOP'),
    resume: () => signal('SIGCONT'),
    stop,
    async start() {
      child = await launch(options)
    },
    async [Symbol.asyncDispose]() {
      await stop()
      options.remove()
    },
  }
}

async function launch(options: ServiceOptions): Promise<ChildProcess> {
  const { command, args, folder, user, probe } = options
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
  const failed = once(child, 'error').then(([error]) => {
    throw error as Error
  })
  const ended = Promise.race([once(child, 'exit'), failed])
  const bound = new AbortController()
  const answered = waitUntil(probe, bound.signal)
  const first = await Promise.race([answered, ended.then(() => 'ended' as const)]).finally(() =>
    bound.abort(),
  )
  if (first === 'ended') throw new Error(`${command} ended at its start: ${written}`)
  if (first === 'late') {
    signalAll(child, 'SIGKILL')
    throw new Error(`${command} does not answer: ${written}`)
  }
  return child
}

async function waitUntil(probe: () => Promise<void>, signal: AbortSignal): Promise<'up' | 'late'> {
  for (let waited = 0; waited < START_TIMEOUT_MS && !signal.aborted; waited += PAUSE_MS) {
    try {
      await probe()
      return 'up'
    } catch {
      // Not yet.
      await wait(PAUSE_MS)
    }
  }
  return 'late'
}

/** Some engines have a process for each connection, in groups of their own: they stop and end together. */
function signalAll({ pid }: ChildProcess, name: NodeJS.Signals): void {
  if (pid === undefined) return
  for (const member of [pid, ...listChildren(pid)]) {
    try {
      process.kill(member, name)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

function listChildren(parent: number): number[] {
  if (!existsSync('/proc')) return []
  return globSync('/proc/[0-9]*/stat').flatMap((file) => {
    try {
      const [, pid, parentPid] = /^(\d+) \(.*\) \S (\d+) /s.exec(readFileSync(file, 'utf8')) ?? []
      return Number(parentPid) === parent ? [Number(pid)] : []
    } catch {
      // It has ended since.
      return []
    }
  })
}

/** A port that is free now. Somebody else may take it before it is used: such a start fails. */
export async function findFreePort(): Promise<number> {
  await using server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/** What a program is started through, so that servers have one core and the load another. */
export interface Cores {
  readonly server: readonly string[]
  readonly description: string
}

/** Moves this process, and with it all that it starts unpinned, away from the core of the servers. */
export function separateCores(): Cores {
  if (availableParallelism() < 2) return { server: [], description: 'not pinned: one core only' }
  try {
    execFileSync('taskset', ['-a', '-c', '-p', '1', String(process.pid)], { stdio: 'ignore' })
  } catch {
    return { server: [], description: 'not pinned: taskset is not to be had here' }
  }
  return { server: ['taskset', '-c', '0'], description: 'servers on core 0, load on core 1' }
}

/**
 * Microseconds that all threads of a process have been on a core, or `undefined` where the system does
 * not tell. What a process asks of itself is coarser, and costs time on its own core.
 */
export function readCpuTime(pid: number): number | undefined {
  const folder = `/proc/${pid}/task`
  try {
    return readdirSync(folder)
      .map((thread) => Number(readFileSync(`${folder}/${thread}/schedstat`, 'utf8').split(' ')[0]))
      .reduce((sum, nanoseconds) => sum + nanoseconds / 1000, 0)
  } catch {
    return undefined
  }
}

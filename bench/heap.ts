import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** What a process holds once all garbage is gone, in bytes. */
export interface Memory {
  readonly objects: number
  /** Beside them: buffers, among others. */
  readonly external: number
  /** What the system has given it, garbage and programs included. */
  readonly resident: number
}

export function measureMemory(): Memory {
  // What a first run finds to be finalised, a later one frees.
  for (let round = 0; round < 4; round += 1) collectGarbage()
  const { heapUsed, external, rss } = process.memoryUsage()
  return { objects: heapUsed, external, resident: rss }
}

/** Bytes of objects, and of buffers beside them. */
export function measureHeap(): number {
  const { objects, external } = measureMemory()
  return objects + external
}

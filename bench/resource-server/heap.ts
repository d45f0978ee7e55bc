import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Bytes that are in use once all garbage is gone: of objects, and of buffers beside them. */
export function measureHeap(): number {
  // What a first run finds to be finalised, a later one frees.
  for (let round = 0; round < 4; round += 1) collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

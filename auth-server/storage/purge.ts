import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { ModelStore } from '../provider/model-store.ts'

const EVERY_MS = 60_000
/** Small enough that no request waits long behind one batch. */
const BATCH = 500
const MAX_BATCHES = 200
/** Rows are kept a little longer than they live, so that "expired" and "unknown" stay apart. */
const KEEP_EXPIRED_MS = 60_000

/** Removes expired rows every minute, in bounded batches with the event loop free between them. */
export function startPurge(models: ModelStore, clock: Clock, log: Logger): Disposable {
  let running = false
  const timer = setInterval(() => {
    if (running) return
    running = true
    purgeAll(models, clock.now() - KEEP_EXPIRED_MS)
      .catch((error: unknown) => log.error({ event: 'purge_failed', err: error }))
      .finally(() => {
        running = false
      })
  }, EVERY_MS)
  timer.unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

async function purgeAll(models: ModelStore, before: number): Promise<void> {
  for (let batch = 0; batch < MAX_BATCHES; batch += 1) {
    if ((await models.purge(before, BATCH)) === 0) return
    await new Promise((resolve) => setImmediate(resolve))
  }
}

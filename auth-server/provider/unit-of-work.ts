import { AsyncLocalStorage } from 'node:async_hooks'
import type { ApplyResult, ModelStore, ModelWrite } from './model-store.ts'

const pending = new AsyncLocalStorage<ModelWrite[]>()

/**
 * Makes all writes of one token request one commit, after the engine has made its answer and before
 * it is sent. A crash in between burns no refresh token; of two requests with one credential, the
 * loser's answer is never sent.
 *
 * Reads do not see writes that wait: the engine reads nothing that it has written in a token request.
 */
export async function collectWrites(work: () => Promise<void>): Promise<readonly ModelWrite[]> {
  const writes: ModelWrite[] = []
  await pending.run(writes, work)
  return writes
}

/** Lets the write wait where a unit of work is open, or makes it now. */
export async function write(models: ModelStore, change: ModelWrite): Promise<ApplyResult> {
  const writes = pending.getStore()
  if (!writes) return models.apply([change])
  writes.push(change)
  return { outcome: 'applied' }
}

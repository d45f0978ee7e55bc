import { AsyncLocalStorage } from 'node:async_hooks'
import type { ApplyResult, ModelStore, ModelWrite } from './model-store.ts'

const pending = new AsyncLocalStorage<ModelWrite[]>()
const late = new AsyncLocalStorage<ModelWrite[]>()

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

/** Answers what was given to `writeLate` meanwhile: it waits for whoever asked. */
export async function collectLateWrites(
  work: () => Promise<unknown>,
): Promise<readonly ModelWrite[]> {
  const writes: ModelWrite[] = []
  await late.run(writes, work)
  return writes
}

/** Lets the write wait until the answer is out, where somebody takes care of that, or makes it now. */
export async function writeLate(models: ModelStore, change: ModelWrite): Promise<ApplyResult> {
  const writes = late.getStore()
  if (!writes) return write(models, change)
  writes.push(change)
  return { outcome: 'applied' }
}

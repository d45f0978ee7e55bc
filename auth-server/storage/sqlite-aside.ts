/* oxlint-disable unicorn/require-post-message-target-origin -- Windows have one, threads have not. */
import { once } from 'node:events'
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import { parentPort, Worker, workerData } from 'node:worker_threads'

/** A thread with a connection of its own, for statements that no request waits for. */
export interface Aside extends AsyncDisposable {
  /** Answers how many rows were changed. Rejects with what SQLite threw. */
  run(sql: string, parameters: readonly unknown[]): Promise<number>
}

interface Order {
  readonly sql: string
  readonly parameters: readonly SQLInputValue[]
}

type Outcome =
  | { readonly changes: number }
  | { readonly message: string; readonly errcode: unknown }

/** Waiting stops nobody here. */
const LOCK_TIMEOUT_MS = 5000
/** Marks the thread: this module may itself be loaded in one. */
const ROLE = 'portreeve sqlite aside'
const CLOSE = 'close'

export function startAside(path: string): Aside {
  const worker = new Worker(import.meta.filename, {
    workerData: { role: ROLE, path },
    execArgv: [],
  })
  worker.unref()
  const ended = once(worker, 'exit')
  // What goes wrong in it beyond a statement, its end tells.
  ended.catch(() => {})
  let last: Promise<unknown> = Promise.resolve()
  const ask = async (order: Order): Promise<number> => {
    const answered = once(worker, 'message') as Promise<[Outcome]>
    worker.ref()
    worker.postMessage(order)
    const [outcome] = await Promise.race([answered, ended.then(refuseEnded)]).finally(() =>
      worker.unref(),
    )
    if ('changes' in outcome) return outcome.changes
    throw Object.assign(new Error(outcome.message), { errcode: outcome.errcode })
  }
  return {
    run(sql, parameters) {
      const order = { sql, parameters: parameters as readonly SQLInputValue[] }
      // One after the other, so that an answer belongs to what was asked last.
      const result = last.then(() => ask(order))
      last = result.catch(() => {})
      return result
    },
    async [Symbol.asyncDispose]() {
      await last
      worker.ref()
      worker.postMessage(CLOSE)
      await ended.catch(() => {})
    },
  }
}

function refuseEnded(): never {
  throw new Error('the thread has ended')
}

function serve(path: string): void {
  const database = new DatabaseSync(path, { timeout: LOCK_TIMEOUT_MS })
  // What a crash of the machine undoes is done again: nobody was told of it, and nobody waits for the disk.
  database.exec('pragma synchronous = normal')
  parentPort?.on('message', (order: Order | typeof CLOSE) => {
    if (order === CLOSE) {
      database.close()
      parentPort?.close()
      return
    }
    parentPort?.postMessage(run(database, order))
  })
}

function run(database: DatabaseSync, { sql, parameters }: Order): Outcome {
  try {
    return { changes: Number(database.prepare(sql).run(...parameters).changes) }
  } catch (error) {
    const { message, errcode } = error as Error & { errcode?: unknown }
    return { message, errcode }
  }
}

if (workerData?.role === ROLE) serve(workerData.path as string)

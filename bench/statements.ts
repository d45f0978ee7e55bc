import { AsyncLocalStorage } from 'node:async_hooks'
import { DatabaseSync, StatementSync, type SQLInputValue } from 'node:sqlite'
import { Client, Pool, types, type ClientBase, type QueryConfig } from 'pg'
import { createClient } from 'redis'
import type { Side } from './measure.ts'

/** What a store has asked of its driver, in order. Of Redis, `text` is the command. */
export interface Statement {
  readonly text: string
  readonly parameters: readonly unknown[]
}

/** What tells one run of an operation from another. */
export interface Token {
  /** Other ones share nothing with it. */
  readonly worker: string
  readonly id: string
  /** The `id` of the worker's next run. */
  readonly next: string
}

/** Stands in recorded parameters for what differs from run to run. */
export const MARK: Token = { worker: '<worker>', id: '<id>', next: '<next>' }

/** The same statements, with the same parameters but for the marks, on the driver alone. */
export interface BareDriver extends AsyncDisposable {
  replay(name: string, replay: Replay): Side
}

export interface Replay {
  /** Done first, once for each worker, and not measured. */
  readonly before: readonly Statement[]
  readonly statements: readonly Statement[]
  /** Stands in the parameters for a number that is another in each run. */
  readonly place?: number | undefined
  /** What is done with each row, if anything. */
  readonly read?: ((row: Record<string, unknown>) => void) | undefined
}

let runs = 0

/** Tokens that no run before had. */
export function createTokens(workers: number, count: number): Token[][] {
  runs += 1
  return Array.from({ length: workers }, (_, worker) =>
    Array.from({ length: count }, (_unused, index) => createToken(`w${worker}`, runs, index)),
  )
}

function createToken(worker: string, run: number, index: number): Token {
  return { worker, id: `${worker}-${run}-${index}`, next: `${worker}-${run}-${index + 1}` }
}

type RedisClient = ReturnType<typeof createClient>
/** What is recorded now. The store has work of its own besides, which is none of the operation. */
const recording = new AsyncLocalStorage<Statement[]>()

/** What an operation asks of its drivers. */
export async function record(operation: () => Promise<unknown>): Promise<Statement[]> {
  const recorded: Statement[] = []
  using patches = new DisposableStack()
  for (const patch of [patchSqlite, patchPostgres, patchRedis]) patches.use(patch())
  await recording.run(recorded, operation)
  return recorded
}

function patchSqlite(): Disposable {
  const { all, run } = StatementSync.prototype
  StatementSync.prototype.all = function recordAll(...parameters) {
    recording.getStore()?.push({ text: this.sourceSQL, parameters })
    return Reflect.apply(all, this, parameters)
  }
  StatementSync.prototype.run = function recordRun(...parameters) {
    recording.getStore()?.push({ text: this.sourceSQL, parameters })
    return Reflect.apply(run, this, parameters)
  }
  return { [Symbol.dispose]: () => void Object.assign(StatementSync.prototype, { all, run }) }
}

function patchPostgres(): Disposable {
  const { query } = Client.prototype
  Client.prototype.query = function recordQuery(this: Client, ...parameters: unknown[]) {
    const [config] = parameters as [QueryConfig]
    recording.getStore()?.push({ text: config.text, parameters: config.values ?? [] })
    return Reflect.apply(query, this, parameters) as unknown
  } as typeof query
  return { [Symbol.dispose]: () => void Object.assign(Client.prototype, { query }) }
}

function patchRedis(): Disposable {
  const prototype = findSender(createClient())
  const { sendCommand } = prototype
  prototype.sendCommand = function recordCommand(this: RedisClient, args, ...rest) {
    const [text = '', ...parameters] = args.map(String)
    // The client sees to its connection by itself.
    if (text !== 'PING') recording.getStore()?.push({ text, parameters })
    return Reflect.apply(sendCommand, this, [args, ...rest]) as ReturnType<typeof sendCommand>
  } as typeof sendCommand
  return { [Symbol.dispose]: () => void Object.assign(prototype, { sendCommand }) }
}

/** All clients share what the class has. */
function findSender(client: RedisClient): Pick<RedisClient, 'sendCommand'> {
  let prototype = client
  while (!Object.hasOwn(prototype, 'sendCommand')) {
    prototype = Object.getPrototypeOf(prototype) as RedisClient
  }
  return prototype
}

/** Statements that read have a connection of their own, as in the store. */
export function openBareSqlite(file: string): BareDriver {
  const writer = new DatabaseSync(file)
  writer.exec('pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on')
  const reader = new DatabaseSync(file, { readOnly: true })
  const prepare = (statements: readonly Statement[], read: Replay['read']) => {
    const isRead = statements.length === 1 && (statements[0]?.text.startsWith('select') ?? false)
    const prepared = statements.map(({ text }) => {
      const statement = (isRead ? reader : writer).prepare(text)
      return { statement, isQuery: statement.columns().length > 0 }
    })
    return (parameters: readonly SQLInputValue[][]) => {
      for (const [index, { statement, isQuery }] of prepared.entries()) {
        const own = parameters[index] ?? []
        if (!isQuery) statement.run(...own)
        else {
          const rows = statement.all(...own)
          if (read) for (const row of rows) read(row)
        }
      }
    }
  }
  return {
    replay(name, { before, statements, place, read }) {
      const begin = prepare(before, undefined)
      const once = prepare(statements, read)
      return {
        name,
        async run(workers, count) {
          const tokens = createTokens(workers, count)
          for (const [first] of tokens) begin(fill(before, first) as SQLInputValue[][])
          const all = tokens
            .flat()
            .map((token) => fill(statements, token, place) as SQLInputValue[][])
          const start = performance.now()
          for (const parameters of all) once(parameters)
          return performance.now() - start
        },
      }
    },
    async [Symbol.asyncDispose]() {
      reader.close()
      writer.close()
    },
  }
}

/** Commands alone: what an operation asks of SQL beside them is left to SQL's own lines. */
export async function openBareRedis(url: string): Promise<BareDriver> {
  const client = createClient({ url })
  await client.connect()
  return {
    replay(name, { statements, read }) {
      const commands = statements.filter(({ text }) => text === text.toUpperCase())
      const once = async (parameters: readonly unknown[][]) => {
        for (const [index, { text }] of commands.entries()) {
          const answer = await client.sendCommand([
            text,
            ...((parameters[index] ?? []) as string[]),
          ])
          if (read) read({ value: answer })
        }
      }
      return {
        name,
        async run(workers, count) {
          const tokens = createTokens(workers, count)
          const all = tokens.map((own) => own.map((token) => fill(commands, token)))
          const start = performance.now()
          await Promise.all(
            all.map(async (own) => {
              for (const parameters of own) await once(parameters)
            }),
          )
          return performance.now() - start
        },
      }
    },
    async [Symbol.asyncDispose]() {
      client.destroy()
    },
  }
}

const INT8: number = types.builtins.INT8

function parsers(type: number, format: 'text') {
  return type === INT8 ? Number : types.getTypeParser(type, format)
}

/** A pool, from which a transaction takes a connection; every statement has a name. */
export function openBarePostgres(url: string): BareDriver {
  const pool = new Pool({
    connectionString: url,
    max: 20,
    types: { getTypeParser: parsers as typeof types.getTypeParser },
  })
  let names = 0
  const prepare = (statements: readonly Statement[], read: Replay['read']) => {
    names += 1
    const prefix = `bare-${names}`
    const queries = statements.map(({ text }, index) => ({ text, name: `${prefix}-${index}` }))
    const ask = async (client: Pick<ClientBase, 'query'>, parameters: readonly unknown[][]) => {
      for (const [index, query] of queries.entries()) {
        const { rows } = await client.query<Record<string, unknown>>({
          ...query,
          values: parameters[index] ?? [],
        })
        if (read) for (const row of rows) read(row)
      }
    }
    return async (parameters: readonly unknown[][]) => {
      if (queries.length === 1) return ask(pool, parameters)
      const client = await pool.connect()
      await ask(client, parameters)
      client.release()
    }
  }
  return {
    replay(name, { before, statements, place, read }) {
      const begin = prepare(before, undefined)
      const once = prepare(statements, read)
      return {
        name,
        async run(workers, count) {
          const tokens = createTokens(workers, count)
          if (before.length > 0) for (const [first] of tokens) await begin(fill(before, first))
          const all = tokens.map((own) => own.map((token) => fill(statements, token, place)))
          const start = performance.now()
          await Promise.all(
            all.map(async (own) => {
              for (const parameters of own) await once(parameters)
            }),
          )
          return performance.now() - start
        },
      }
    },
    [Symbol.asyncDispose]: () => pool.end(),
  }
}

/** Far from those that the stores have filled. */
let places = 1_000_000

/** The parameters of one run. */
function fill(statements: readonly Statement[], token: Token = MARK, marked?: number): unknown[][] {
  places += 1
  const own = places
  return statements.map(({ parameters }) =>
    parameters.map((value) =>
      marked !== undefined && value === marked ? own : fillMark(value, token),
    ),
  )
}

function fillMark(value: unknown, token: Token): unknown {
  if (Array.isArray(value)) return value.map((one) => fillMark(one, token))
  if (typeof value !== 'string') return value
  return value
    .replaceAll(MARK.worker, token.worker)
    .replaceAll(MARK.id, token.id)
    .replaceAll(MARK.next, token.next)
}

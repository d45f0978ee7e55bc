import { startProgram, type Program } from '../../test/support/program.ts'
import { readCpuTime, type Cores } from './cores.ts'
import type { Address } from './server.ts'
import { ANSWER, PATH, type Setup } from './setup.ts'

/** A contender's server; disposing of it ends it. */
export interface ContenderProcess extends AsyncDisposable {
  readonly url: string
  /** Microseconds of processor time so far. */
  readCpuTime(): Promise<number>
  /** Bytes in use after a garbage collection. */
  measureHeap(): Promise<number>
}

/** Throws where it does not start. */
export async function startContender(
  name: string,
  setup: Setup,
  { server }: Cores,
): Promise<ContenderProcess> {
  const program = startProgram(
    'bench/resource-server/server.ts',
    [name, JSON.stringify(setup)],
    // Express and Koa behave as they would for users.
    { through: server, environment: { NODE_ENV: 'production' } },
  )
  const line = await program.firstLine
  if (line === undefined) throw new Error(`it does not start: ${findError(program)}`)
  const { port, control } = JSON.parse(line) as Address
  const ask = async (what: string) =>
    (await (await fetch(`http://127.0.0.1:${control}/${what}`)).json()) as number
  return {
    url: `http://127.0.0.1:${port}${PATH}`,
    readCpuTime: async () => readCpuTime(program.pid) ?? ask('cpu'),
    measureHeap: () => ask('heap'),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  }
}

/** What a contender is tried with before it is measured. */
export interface Tokens {
  readonly good: string
  readonly unscoped: string
  readonly forged: string
}

/**
 * Why a contender cannot take part, if it cannot: it must let a good token through, with the answer that
 * all give, and, if it checks tokens, neither one without the scope nor one of another key.
 */
export async function findFault(
  url: string,
  tokens: Tokens,
  isGuarded: boolean,
): Promise<string | undefined> {
  const good = await request(url, tokens.good)
  if (good.status !== 200) return `answers ${good.status} to a good token: ${good.text}`
  if (good.text !== JSON.stringify(ANSWER)) return `answers something else: ${good.text}`
  if (!isGuarded) return undefined
  const unscoped = await request(url, tokens.unscoped)
  if (unscoped.status === 200) return 'lets a token without the scope through'
  const forged = await request(url, tokens.forged)
  return forged.status === 200 ? 'lets a forged token through' : undefined
}

async function request(url: string, token: string) {
  const response = await fetch(url, { headers: { Authorization: `Bearer ${token}` } })
  const text = await response.text()
  const challenge = response.headers.get('WWW-Authenticate') ?? ''
  return { status: response.status, text: text === '' ? challenge : text }
}

function findError(program: Program): string {
  const lines = program.logged().split('\n')
  return lines.find((line) => line.includes('Error')) ?? lines[0] ?? ''
}

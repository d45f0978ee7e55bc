import { Agent, request } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { boundToUs } from '../../test/support/engines/service.ts'
import { startProgram, type Program } from '../../test/support/program.ts'
import {
  runProgram,
  startServerProcess,
  writeConfig,
  type ServerProcess,
} from '../../test/support/process.ts'
import { makeFolder } from '../../test/support/folder.ts'
import { NOTES } from '../../test/support/server.ts'
import type { Memory } from '../heap.ts'
import type { ApiAddress, ApiSetup, Followed } from './api-setup.ts'
import { startGate, type Gate } from './gate.ts'

const SCOPE = 'notes:read'
/** How many requests are under way at once to prepare what is measured. */
const WORKERS = 8
/** What a server answers that has too much to do: nothing was done. */
const BUSY = 503
const AGAIN_AFTER_MS = 100
const MOST_TRIALS = 50

/** Instances of the auth server on one database, behind one address. */
export interface Issuer extends AsyncDisposable {
  readonly url: string
  readonly gate: Gate
  /** Processes of their own. Resolves with the moment from which on they could be reached. */
  startInstances(count: number): Promise<number>
  /** How often it was too busy for what is asked here, and was asked again. */
  readonly turnedAway: number
  /** By SIGKILL, all at the same moment; answers when that was. */
  killInstances(): Promise<number>
  /** Access tokens of a service, no two alike. */
  issueTokens(count: number): Promise<readonly string[]>
  /** At one instance, past the gate. Resolves with the moment when the answer was there. */
  revoke(token: string, instance: number): Promise<number>
  /** They end with it. */
  startApis(count: number, options: ApiOptions): Promise<readonly Api[]>
}

export type ApiOptions = Pick<ApiSetup, 'follows' | 'staleAfterSeconds' | 'youngSeconds'>

/** An API of the toolkit, which follows the issuer through the gate. */
export interface Api extends AsyncDisposable {
  readonly url: string
  /** Begins to follow, if it does not yet. Resolves when it has the keys for a good token, and a fresh view. */
  follow(token: string): Promise<Followed>
  measureMemory(): Promise<Memory>
  /** What it wrote of failures. */
  logged(): string
}

interface Client {
  readonly id: string
  readonly secret: string
}

export async function createIssuer(database: string): Promise<Issuer> {
  await using made = new AsyncDisposableStack()
  const folder = made.use(makeFolder())
  const gate = made.use(await startGate())
  const agent = new Agent({ keepAlive: true })
  made.defer(() => agent.destroy())
  const url = `http://127.0.0.1:${gate.port}`
  const config = writeConfig(folder.path, (base) => ({
    ...base,
    issuer: url,
    log: { level: 'error' },
  }))
  const environment = { DATABASE_URL: database, NODE_ENV: 'production' }
  const through = boundToUs('SIGKILL', [])
  const options = { folder: folder.path, environment, through }

  // Their secrets are generated: one that somebody chose costs a slow hash for each request.
  const addClient = async (id: string, scope: string): Promise<Client> => {
    const args = ['clients', 'add', id, '--grant', 'client_credentials', '--scope', scope]
    const { code, stdout, stderr } = await runProgram(
      [...args, '--config', config, '--json'],
      options,
    )
    if (code !== 0) throw new Error(`no client ${id}: ${stderr}`)
    return { id, secret: (JSON.parse(stdout) as { secret: string }).secret }
  }
  const service = await addClient('bench-service', SCOPE)
  const listener = await addClient('bench-api', 'revocations:read')

  let instances: readonly ServerProcess[] = []
  let turnedAway = 0
  let apis = 0
  made.defer(async () => {
    await Promise.all(instances.map((instance) => instance[Symbol.asyncDispose]()))
  })

  const post = async (path: string, instance: number, form: Record<string, string>) => {
    const host = `127.0.0.1:${gate.port}`
    for (let trial = 1; ; trial += 1) {
      const { url: place = '' } = instances[instance % instances.length] ?? {}
      const answer = await send(agent, place, host, path, service, form).catch(readClosed)
      if (answer?.status === 200) return answer
      if ((answer && answer.status !== BUSY) || trial === MOST_TRIALS) {
        throw new Error(`${path} answered ${answer?.status}: ${answer?.text}`)
      }
      turnedAway += 1
      await wait(AGAIN_AFTER_MS)
    }
  }

  const owned = made.move()
  return {
    url,
    gate,
    get turnedAway() {
      return turnedAway
    },
    async startInstances(count) {
      const starting = Array.from({ length: count }, () => startServerProcess(config, options))
      instances = await Promise.all(starting)
      const reachableAt = performance.now()
      await gate.lead(instances.map((instance) => Number(new URL(instance.url).port)))
      return reachableAt
    },
    async killInstances() {
      const killedAt = performance.now()
      for (const instance of instances) instance.signal('SIGKILL')
      await Promise.all(instances.map(({ ended }) => ended))
      await gate.lead([])
      return killedAt
    },
    async issueTokens(count) {
      const tokens: string[] = []
      const form = { grant_type: 'client_credentials', scope: SCOPE }
      const work = async () => {
        for (let place = tokens.push(''); place <= count; place = tokens.push('')) {
          const { text } = await post('/token', place, form)
          tokens[place - 1] = (JSON.parse(text) as { access_token: string }).access_token
        }
      }
      await Promise.all(Array.from({ length: WORKERS }, work))
      return tokens.slice(0, count)
    },
    async revoke(token, instance) {
      return (await post('/revoke', instance, { token })).answeredAt
    },
    startApis(count, how) {
      const { id: clientId, secret: clientSecret } = listener
      const common = { issuer: url, audience: NOTES, scope: SCOPE, clientId, clientSecret }
      const start = async () => {
        const api = await startApi({ ...common, ...how, receiver: `api-${(apis += 1)}` })
        owned.use(api)
        return api
      }
      return Promise.all(Array.from({ length: count }, start))
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function startApi(setup: ApiSetup): Promise<Api> {
  const program: Program = startProgram('bench/revocation/api.ts', [JSON.stringify(setup)], {
    environment: { NODE_ENV: 'production' },
  })
  const line = await program.firstLine
  if (line === undefined) throw new Error(`an API did not start: ${program.logged()}`)
  const { port, control } = JSON.parse(line) as ApiAddress
  const ask = async (what: string, body = ''): Promise<unknown> => {
    const answer = await fetch(`http://127.0.0.1:${control}/${what}`, { method: 'POST', body })
    return answer.json()
  }
  return {
    url: `http://127.0.0.1:${port}`,
    follow: async (token) => (await ask('follow', token)) as Followed,
    measureMemory: async () => (await ask('memory')) as Memory,
    logged: program.logged,
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  }
}

/** A connection that was kept, and closed when it was about to be used again: no answer, and no failure. */
function readClosed(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ECONNRESET') throw error
}

interface Answer {
  readonly status: number
  readonly text: string
  readonly answeredAt: number
}

function send(
  agent: Agent,
  place: string,
  host: string,
  path: string,
  { id, secret }: Client,
  form: Record<string, string>,
): Promise<Answer> {
  const body = new URLSearchParams(form).toString()
  const headers = {
    host,
    authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`,
    'content-type': 'application/x-www-form-urlencoded',
    'content-length': Buffer.byteLength(body),
  }
  return new Promise((resolve, reject) => {
    const sent = request(place + path, { method: 'POST', agent, headers, timeout: 10_000 })
    sent.on('timeout', () => sent.destroy(new Error(`${path} was not answered in time`)))
    sent.on('error', reject)
    sent.on('response', (response) => {
      const answeredAt = performance.now()
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => void (text += chunk))
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text, answeredAt }))
    })
    sent.end(body)
  })
}

import { Agent, request } from 'node:http'
import { REFUSAL_HEADER, type Rule } from './api-setup.ts'

/** One request to an API, with a token. */
export interface Shot {
  readonly api: number
  readonly token: string
  readonly rule: Rule
}

/** What came of it. Moments are those of `performance.now()`. */
export interface Hit {
  /** When it had to be sent, whether or not that could be kept. */
  readonly dueAt: number
  readonly sentAt: number
  readonly answeredAt: number
  /** 0 where no answer came. */
  readonly status: number
  /** The kind of refusal, if it is one of the toolkit. */
  readonly refusal: string | undefined
}

/** Requests at a fixed rate, whatever becomes of those before. */
export interface Load extends AsyncDisposable {
  /** How many were sent, and how many were not because too many were under way. */
  readonly sent: number
  readonly leftOut: number
}

export interface LoadOptions {
  /** Where the APIs listen. They have requests in turn. */
  readonly urls: readonly string[]
  readonly perSecond: number
  /** The request that comes next: `turn` counts them. */
  readonly choose: (api: number, turn: number) => Omit<Shot, 'api'>
  readonly onHit: (shot: Shot, hit: Hit) => void
}

const MOST_UNDER_WAY = 2000
const PATIENCE_MS = 10_000

/** Until disposed of, which waits for the last answers. */
export function startLoad({ urls, perSecond, choose, onHit }: LoadOptions): Load {
  const agent = new Agent({ keepAlive: true, timeout: PATIENCE_MS })
  const places = urls.map((url) => new URL(url))
  const start = performance.now()
  let turn = 0
  let sent = 0
  let leftOut = 0
  let underWay = 0
  let isOver = false
  const drained = Promise.withResolvers<void>()

  const fire = (shot: Shot, dueAt: number) => {
    const sentAt = performance.now()
    underWay += 1
    sent += 1
    let isFinished = false
    const finish = (status: number, refusal?: string) => {
      if (isFinished) return
      isFinished = true
      onHit(shot, { dueAt, sentAt, answeredAt: performance.now(), status, refusal })
      underWay -= 1
      if (isOver && underWay === 0) drained.resolve()
    }
    const { hostname, port } = places[shot.api] ?? {}
    const headers = { authorization: `Bearer ${shot.token}` }
    const outgoing = request({ hostname, port, path: `/${shot.rule}`, agent, headers })
    outgoing.once('timeout', () => outgoing.destroy())
    // One that ends in the middle of its answer has been answered.
    outgoing.on('error', () => finish(0))
    outgoing.once('response', (response) => {
      response.on('error', () => {}).resume()
      finish(response.statusCode ?? 0, response.headers[REFUSAL_HEADER] as string | undefined)
    })
    outgoing.end()
  }
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - start) * perSecond) / 1000)
    for (; turn < due; turn += 1) {
      const api = turn % urls.length
      const shot = { api, ...choose(api, Math.floor(turn / urls.length)) }
      if (underWay < MOST_UNDER_WAY) fire(shot, start + (turn * 1000) / perSecond)
      else leftOut += 1
    }
  }, 1)
  return {
    get sent() {
      return sent
    },
    get leftOut() {
      return leftOut
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      isOver = true
      if (underWay > 0) await drained.promise
      agent.destroy()
    },
  }
}

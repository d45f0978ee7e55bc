import http, { type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { Clock } from '../clock.ts'
import { isCodedInTransfer, type RawHeaders } from './gateway-headers.ts'

export interface RelayLimits {
  /** Until there is a connection to the service, TLS included. */
  readonly connectTimeoutMs: number
  /** From the end of the request until the headers of the answer are there. */
  readonly headersTimeoutMs: number
  /** For all of it, until the last byte of the answer. */
  readonly wholeTimeoutMs: number
  readonly maxBodyBytes: number
}

/** One request, and what is asked of a service for it. */
export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly origin: URL
  readonly path: string
  readonly headers: RawHeaders
  /** The headers of the answer, from those of the service. */
  readonly passBack: (status: number, raw: RawHeaders) => string[]
}

/** Why there is no whole answer. */
export type RelayFailure =
  | { readonly kind: 'client_gone' }
  | { readonly kind: 'body_too_large' }
  | { readonly kind: 'timed_out'; readonly phase: 'connect' | 'headers' | 'whole' }
  /** The service does not take the token that it was shown: the client can do nothing about it. */
  | { readonly kind: 'not_accepted'; readonly status: number }
  /** No connection, or one that broke, or what came over it was no answer. */
  | { readonly kind: 'broken'; readonly cause: unknown }

/** Passes requests on to services and their answers back, over connections that are kept. */
export interface Relay extends Disposable {
  /**
   * Resolves when the exchange has ended. Answers why it failed, if it did; if the answer had begun by
   * then, the client's connection is closed, so that nobody takes a part for the whole.
   */
  pass(exchange: Exchange): Promise<RelayFailure | undefined>
}

const MAX_IDLE_SOCKETS = 32
/** Less than most servers keep a connection that is idle, or it closes while a request is on its way. */
const MAX_IDLE_MS = 4000

export function createRelay(limits: RelayLimits, clock: Clock): Relay {
  const options = {
    keepAlive: true,
    // No bound of sockets: beyond it, requests would wait where neither time-outs nor clients that go
    // are heard of. How many there are is bounded by whoever passes them on.
    maxFreeSockets: MAX_IDLE_SOCKETS,
    timeout: MAX_IDLE_MS,
  }
  const agents = { http: new http.Agent(options), https: new https.Agent(options) }

  /** Sends the head of the request. The body follows by `sendBody`. */
  function open({ request, origin, path, headers }: Exchange, how: How): ClientRequest {
    const isSecure = origin.protocol === 'https:'
    const { request: send } = isSecure ? https : http
    const { method } = request
    const agent = how.anew ? false : isSecure ? agents.https : agents.http
    const upstream = send(origin, { method, path, headers, agent, signal: how.signal })
    // Whoever waits is told by `untilAnswered`; later errors belong to the answer's stream.
    upstream.on('error', () => {})
    return upstream
  }

  async function ask(exchange: Exchange, ending: Ending): Promise<IncomingMessage> {
    const first = open(exchange, { anew: false, signal: ending.signal })
    ending.defer(() => first.destroy())
    const isBodiless = sendBody(exchange, first, limits.maxBodyBytes, ending)
    boundWaiting(first, limits, clock, ending)
    try {
      return await untilAnswered(first, ending.signal)
    } catch (error) {
      // The service had closed the connection when it was used: nothing was done (RFC 9110 §9.2.2).
      const wasIdle = first.reusedSocket && (error as NodeJS.ErrnoException).code === 'ECONNRESET'
      const { method = '' } = exchange.request
      if (!wasIdle || !isBodiless || !SAFE.includes(method) || ending.signal.aborted) throw error
    }
    const second = open(exchange, { anew: true, signal: ending.signal })
    ending.defer(() => second.destroy())
    second.end()
    boundWaiting(second, limits, clock, ending)
    return untilAnswered(second, ending.signal)
  }

  return {
    async pass(exchange) {
      const { request, response } = exchange
      using ending = createEnding()
      const noteGone = () => {
        if (!response.writableFinished) ending.fail({ kind: 'client_gone' })
      }
      response.once('close', noteGone)
      ending.defer(() => response.off('close', noteGone))
      ending.after(limits.wholeTimeoutMs, clock, { kind: 'timed_out', phase: 'whole' })
      try {
        const answer = await ask(exchange, ending)
        const { statusCode: status = 502 } = answer
        if (status === 401 || status === 407) return { kind: 'not_accepted', status }
        if (isCodedInTransfer(answer.rawHeaders)) {
          return { kind: 'broken', cause: new Error('The answer is coded for this connection.') }
        }
        response.writeHead(status, exchange.passBack(status, answer.rawHeaders))
        response.flushHeaders()
        await pipeline(answer, response, { signal: ending.signal })
        return undefined
      } catch (cause) {
        return ending.failure ?? { kind: 'broken', cause }
      } finally {
        // What is left of a request that was answered early is read, so that its connection can go on.
        request.unpipe()
        request.resume()
      }
    },
    [Symbol.dispose]() {
      agents.http.destroy()
      agents.https.destroy()
    },
  }
}

const SAFE: readonly string[] = ['GET', 'HEAD', 'OPTIONS']

interface How {
  /** Over a connection of its own, whatever is kept. */
  readonly anew: boolean
  readonly signal: AbortSignal
}

/** What ends an exchange early, and what is to be undone when it has ended. */
interface Ending extends Disposable {
  readonly signal: AbortSignal
  /** The first one. */
  readonly failure: RelayFailure | undefined
  fail(failure: RelayFailure): void
  /** Fails when the time is over, unless the returned function is called before. */
  after(milliseconds: number, clock: Clock, failure: RelayFailure): () => void
  defer(undo: () => void): void
}

function createEnding(): Ending {
  const controller = new AbortController()
  const undoing = new DisposableStack()
  let failure: RelayFailure | undefined
  const fail = (why: RelayFailure) => {
    failure ??= why
    controller.abort()
  }
  return {
    signal: controller.signal,
    get failure() {
      return failure
    },
    fail,
    after(milliseconds, clock, why) {
      const cancel = clock.schedule(milliseconds, async () => fail(why))
      undoing.defer(cancel)
      return cancel
    },
    defer: (undo) => undoing.defer(undo),
    [Symbol.dispose]: () => undoing.dispose(),
  }
}

/** Lets the body flow as fast as the service takes it. Answers whether there is none. */
function sendBody(
  { request, response }: Exchange,
  upstream: ClientRequest,
  maxBytes: number,
  ending: Ending,
): boolean {
  if (!hasBody(request)) {
    upstream.end()
    return true
  }
  let received = 0
  request.on('data', (chunk: Buffer) => {
    received += chunk.length
    if (received <= maxBytes) return
    ending.fail({ kind: 'body_too_large' })
    // What comes after the answer is over is nobody's.
    if (response.writableFinished) request.destroy()
  })
  upstream.flushHeaders()
  request.pipe(upstream)
  return false
}

export function hasBody({ headers }: IncomingMessage): boolean {
  const { 'content-length': length = '0', 'transfer-encoding': coding } = headers
  return coding !== undefined || Number(length) > 0
}

function boundWaiting(
  upstream: ClientRequest,
  { connectTimeoutMs, headersTimeoutMs }: RelayLimits,
  clock: Clock,
  ending: Ending,
): void {
  const connected = ending.after(connectTimeoutMs, clock, { kind: 'timed_out', phase: 'connect' })
  upstream.once('socket', (socket: Socket & { readonly secureConnecting?: boolean }) => {
    const isReady = !socket.connecting && socket.secureConnecting !== true
    const ready = socket.secureConnecting === undefined ? 'connect' : 'secureConnect'
    if (isReady) connected()
    else socket.once(ready, connected)
  })
  const expectAnswer = () => {
    const answered = ending.after(headersTimeoutMs, clock, { kind: 'timed_out', phase: 'headers' })
    upstream.once('response', answered)
  }
  upstream.once('finish', expectAnswer)
  // Some answer before they have read everything.
  upstream.once('response', () => upstream.off('finish', expectAnswer))
}

function untilAnswered(upstream: ClientRequest, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    // Said by itself, because a request that has no socket yet tells nobody that it was ended.
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    upstream.once('response', resolve)
    upstream.once('error', reject)
    // Without an error where the service wants another protocol.
    upstream.once('close', () => reject(new Error('The connection was closed without an answer.')))
  })
}

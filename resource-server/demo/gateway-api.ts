import { randomBytes, randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../clock.ts'
import type { Result } from '../errors.ts'
import {
  createGuard,
  type Auth,
  type Guard,
  type GuardDecision,
  type Refusal,
  type TokenExtractor,
  type Verifier,
} from '../index.ts'
import {
  createHideServices,
  hasOneHost,
  isLoop,
  passRequestHeaders,
  passResponseHeaders,
  valuesOf,
} from './gateway-headers.ts'
import type { Exchange, ExchangeFailure } from './gateway-exchange.ts'
import { createPlaces, type NoPlace } from './gateway-places.ts'
import { createRelay, hasBody, type RelayFailure, type RelayLimits } from './gateway-relay.ts'
import { chooseTarget, type Route, type TargetRefusal } from './gateway-target.ts'
import { createTurns } from './gateway-turns.ts'
import type { Log } from './serve.ts'
import { isAuthorized } from './token-settings.ts'

export interface GatewayOptions extends RelayLimits {
  readonly routes: readonly Route[]
  /** Where the token is looked for. */
  readonly token: TokenExtractor
  /**
   * Names the check that failed, in plain text, as clients of seed systems expect it. **Warning:** it
   * tells a stranger what to try next. Without it, refusals are answered as RFC 6750 says.
   */
  readonly namesChecks: boolean
  /** Names of headers, in lower case, that services are told besides those that they always are. */
  readonly passedHeaders: ReadonlySet<string>
  /** How many requests may be under way at each service. Nobody gets more than half of them. */
  readonly maxUnderWay: number
  /** For the routes that name a resource. */
  readonly exchange?: Exchange | undefined
}

/** Lets requests with a good token through to the services behind it. */
export interface Gateway extends Disposable {
  /** For the events `request` and `checkContinue` of a server. */
  handle(request: IncomingMessage, response: ServerResponse): void
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
const MAX_HEADERS = 100

/** What the client is answered by the gateway itself. */
interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body: string | Readonly<Record<string, unknown>>
}

export function createGateway(
  verifier: Verifier,
  options: GatewayOptions,
  clock: Clock,
  log: Log,
): Gateway {
  const { routes, token: extractor, namesChecks, maxBodyBytes, passedHeaders } = options
  const guard: Guard = createGuard(verifier, { owns: isAuthorized }, { token: extractor })
  const relay = createRelay(options, clock)
  const places = createPlaces(options.maxUnderWay)
  const mayStart = createTurns()
  const hideServices = createHideServices(routes.map(({ origin }) => origin))
  // Unlike a name, no other gateway has it.
  const pseudonym = `gateway-${randomBytes(8).toString('hex')}`

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestId = randomUUID()
    const { method = '', url = '', rawHeaders, socket } = request
    const refuse = (
      event: string,
      answer: Answer,
      facts: Readonly<Record<string, unknown>> = {},
    ) => {
      const { status } = answer
      // Never the query: somebody may have put a token there.
      const path = url.split('?', 1)[0]?.slice(0, 200)
      log({ event, requestId, method, path, status, ...facts })
      send(request, response, answer, requestId)
    }

    const target = chooseTarget(url, routes)
    const mistake = findMistake(request, pseudonym) ?? describeWrongForm(target)
    if (mistake !== undefined) return refuse('refused', mistake)

    const decision = await guard.decide(request, undefined)
    if (!decision.ok) {
      const answer = namesChecks ? nameCheck(decision) : decision.answer
      return refuse('refused', answer, { refusal: decision.reason })
    }
    if (!target.ok) return refuse('refused', NO_ROUTE)
    if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) {
      return refuse('refused', TOO_LARGE)
    }
    const { origin, prefix } = target.route
    const place = places.take(origin.origin, nameHolder(decision.value))
    if (!place.ok) return refuse('refused', BUSY[place.reason], { refusal: { kind: place.reason } })
    using held = new DisposableStack()
    held.use(place.value)
    const token = await chooseToken(readToken(request, extractor), decision.value, target.route)
    if (!token.ok) {
      const facts = { service: prefix, failure: token.reason }
      return refuse('not_exchanged', describeExchangeFailure(token.reason), facts)
    }
    const headers = passRequestHeaders(rawHeaders, {
      method,
      requestId,
      clientAddress: socket.remoteAddress ?? 'unknown',
      host: request.headers.host ?? '',
      upstreamHost: origin.host,
      pseudonym,
      token: token.value,
      alsoPassed: passedHeaders,
    })
    if (response.destroyed) return undefined
    // Not before now: a client that waits for it sends no body to be refused.
    if (expectsContinue(request)) response.writeContinue()
    const failure = await relay.pass({
      request,
      response,
      origin,
      path: target.path,
      headers,
      passBack: (status, raw) => {
        const isTokenApart = request.headers.authorization === undefined
        return passResponseHeaders(raw, { status, requestId, isTokenApart, hideServices })
      },
    })
    if (failure === undefined) return undefined
    const service = { service: prefix, failure }
    if (!response.headersSent) return refuse('failed', describeFailure(failure), service)
    log({ event: 'cut_off', requestId, method, ...service })
    response.destroy()
    return undefined
  }

  /** The token that the service behind is shown: one of its own, or the caller's. */
  async function chooseToken(
    token: string,
    { claims }: Auth,
    { resource }: Route,
  ): Promise<Result<string, ExchangeFailure>> {
    if (resource === undefined || !options.exchange) return { ok: true, value: token }
    return options.exchange.exchange({ token, expiresAt: claims.exp }, resource)
  }

  return {
    handle(request, response) {
      if (!mayStart(request, response)) return
      handle(request, response).catch((error: unknown) => {
        log({ event: 'server_error', error })
        if (response.headersSent) response.destroy()
        else send(request, response, SERVER_ERROR, undefined)
      })
    },
    [Symbol.dispose]: () => relay[Symbol.dispose](),
  }
}

function readToken(request: IncomingMessage, extractor: TokenExtractor): string {
  const found = extractor.read(request)
  if (!found.ok) throw new Error('There is no token in a request that was let through.')
  return found.value.token
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status, headers, body }: Answer,
  requestId: string | undefined,
): void {
  if (response.destroyed) return
  // Nobody reads the body of a request that is refused.
  if (hasBody(request)) response.shouldKeepAlive = false
  const isText = typeof body === 'string'
  const bytes = Buffer.from(isText ? body : JSON.stringify(body))
  response.writeHead(status, {
    ...headers,
    'Content-Type': isText ? 'text/plain; charset=utf-8' : 'application/json; charset=utf-8',
    'Content-Length': bytes.length,
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
    ...(requestId === undefined ? {} : { 'X-Request-Id': requestId }),
  })
  response.end(bytes)
}

/** A client of HTTP/1.0 would take 100 for the answer (RFC 9110 §10.1.1). */
function expectsContinue({ headers, httpVersionMinor }: IncomingMessage): boolean {
  return headers.expect !== undefined && httpVersionMinor > 0
}

/** Who answers for a request: by what the issuer says, not by anything that its sender can choose. */
function nameHolder({ issuer, subject }: Auth): string {
  return JSON.stringify([issuer, subject])
}

/** What is wrong with a request whoever sent it. */
function findMistake(request: IncomingMessage, pseudonym: string): Answer | undefined {
  const { method = '', rawHeaders, httpVersionMinor } = request
  if (!METHODS.includes(method)) {
    return {
      ...describe(405, 'This method is not passed on.'),
      headers: { Allow: METHODS.join(', ') },
    }
  }
  if (rawHeaders.length / 2 > MAX_HEADERS) {
    return describe(431, `A request has at most ${MAX_HEADERS} headers.`)
  }
  if (!hasOneHost(rawHeaders)) return describe(400, 'A request names one host.')
  const codings = valuesOf(rawHeaders, 'transfer-encoding')
  if (codings.length > 1 || codings.some((coding) => coding.trim().toLowerCase() !== 'chunked')) {
    return describe(501, 'The only transfer coding is chunked, once.')
  }
  // RFC 9112 §6.1: somebody on the way may not know it, and have seen another end of the request.
  if (codings.length > 0 && httpVersionMinor === 0) {
    return describe(400, 'HTTP/1.0 has no transfer codings.')
  }
  return isLoop(rawHeaders, pseudonym)
    ? describe(508, 'The request has been here before.', 'loop_detected')
    : undefined
}

function describeWrongForm(target: ReturnType<typeof chooseTarget>): Answer | undefined {
  // Which paths lead somewhere is told to nobody who has no token.
  return target.ok || target.reason.kind === 'no_route' ? undefined : WRONG_FORM[target.reason.kind]
}

function describe(status: number, description: string, error = 'invalid_request'): Answer {
  return { status, body: { error, error_description: description } }
}

const NO_ROUTE = describe(404, 'There is nothing here.', 'not_found')
const TOO_LARGE = describe(413, 'The body is larger than what is passed on.')
const SERVER_ERROR = describe(500, 'The request could not be answered.', 'server_error')
const SOON = { 'Retry-After': '5' }
const BUSY: Readonly<Record<NoPlace, Answer>> = {
  all_taken: {
    ...describe(503, 'The service is busy. Try again.', 'temporarily_unavailable'),
    headers: SOON,
  },
  share_taken: {
    ...describe(429, 'Too many of your requests are under way.', 'too_many_requests'),
    headers: SOON,
  },
}
const WRONG_FORM: Readonly<Record<Exclude<TargetRefusal['kind'], 'no_route'>, Answer>> = {
  not_a_path: describe(400, 'The target of a request is a path, with or without a query.'),
  too_long: describe(414, 'The path is too long.'),
  ambiguous_path: describe(400, 'The path has segments that are empty, or hide dots or slashes.'),
}

/** What is wrong between the gateway and a service is no fault of the client, and not for it to know. */
function describeFailure(failure: RelayFailure): Answer {
  switch (failure.kind) {
    case 'body_too_large':
      return TOO_LARGE
    case 'timed_out':
      return describe(504, 'The service did not answer in time.', 'gateway_timeout')
    case 'not_accepted':
    case 'broken':
    // Nobody reads it.
    case 'client_gone':
      return describe(502, 'The service could not answer.', 'bad_gateway')
  }
}

/** The token that the caller has shown was checked, but only the issuer knows that it was revoked. */
function describeExchangeFailure(failure: ExchangeFailure): Answer {
  switch (failure.kind) {
    case 'issuer_unavailable':
      return {
        ...describe(
          503,
          'The issuer of tokens cannot be asked, try again.',
          'temporarily_unavailable',
        ),
        headers: { 'Retry-After': '1' },
      }
    case 'over':
      return {
        ...describe(401, 'The token is not valid any more.', 'invalid_token'),
        headers: { 'WWW-Authenticate': 'Bearer error="invalid_token"' },
      }
    case 'not_allowed':
      return describe(403, 'Nothing at this service is allowed to you.', 'access_denied')
    case 'refused':
      return describe(502, 'There is no token for this service.', 'bad_gateway')
  }
}

/** The words of the first gateway, which said them with the status 200. */
function nameCheck({ reason, answer }: Extract<GuardDecision<unknown>, { ok: false }>): Answer {
  const { status, headers } = answer
  return status === 401 ? { status, headers, body: findName(reason) } : answer
}

function findName(refusal: Refusal): string {
  switch (refusal.kind) {
    case 'no_token':
      return 'No Authorization Token provided'
    case 'unsupported_algorithm':
    case 'wrong_algorithm':
      return 'Invalid Signing Method'
    case 'wrong_audience':
      return 'invalid aud'
    case 'wrong_issuer':
      return 'invalid iss'
    case 'missing_claim':
    case 'malformed_claim':
      return refusal.claim === 'aud' || refusal.claim === 'iss' ? `invalid ${refusal.claim}` : OTHER
    case 'expired':
      return 'Expired token'
    default:
      return OTHER
  }
}

const OTHER = 'Invalid token'

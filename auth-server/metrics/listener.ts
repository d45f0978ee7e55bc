import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Logger } from '../log.ts'
import type { Metrics, RequestStatus } from './metrics.ts'
import { classifyRoute } from './routes.ts'

const REQUEST_TIMEOUT_MS = 5000
const TIMEOUT_CHECK_MS = 1000
/** Nobody but Prometheus asks. */
const MAX_CONNECTIONS = 20

/** A server that answers `GET /metrics` and nothing else. It does not listen yet. */
export function createMetricsServer(metrics: Metrics, log: Logger): Server {
  const answer = async ({ method, url }: IncomingMessage, response: ServerResponse) => {
    response.setHeader('Cache-Control', 'no-store')
    response.setHeader('X-Content-Type-Options', 'nosniff')
    if (method !== 'GET' || url !== '/metrics') {
      response.writeHead(404, { 'Content-Type': 'text/plain' }).end('There is only GET /metrics.\n')
      return
    }
    const { type, text } = await metrics.render()
    response.writeHead(200, { 'Content-Type': type }).end(text)
  }
  const server = createServer({
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: TIMEOUT_CHECK_MS,
  })
  server.maxConnections = MAX_CONNECTIONS
  server.timeout = REQUEST_TIMEOUT_MS
  server.on('request', (request, response) => {
    answer(request, response).catch((error: unknown) => {
      log.error({ event: 'metrics_failed', err: error })
      response.destroy()
    })
  })
  return server
}

/** Measures every request of a server, what it is refused included. */
export function measureRequests(server: Server, metrics: Metrics): void {
  server.on('request', ({ url = '' }: IncomingMessage, response: ServerResponse) => {
    const end = metrics.startRequest(classifyRoute(url))
    response.once('close', () => end(describeStatus(response)))
  })
}

function describeStatus({ writableFinished, statusCode }: ServerResponse): RequestStatus {
  if (!writableFinished) return 'aborted'
  return `${Math.floor(statusCode / 100)}xx` as RequestStatus
}

import type { IncomingMessage, ServerResponse } from 'node:http'

const BODY = JSON.stringify({
  error: 'temporarily_unavailable',
  error_description: 'The server is starting, try again.',
})

/** The answer to what arrives between listening and being ready, which nobody would answer otherwise. */
export function refuseWhileStarting(_request: IncomingMessage, response: ServerResponse): void {
  const headers = {
    'Cache-Control': 'no-store',
    Connection: 'close',
    'Content-Type': 'application/json; charset=utf-8',
    'Retry-After': '1',
    'X-Content-Type-Options': 'nosniff',
  }
  response.writeHead(503, headers).end(BODY)
}

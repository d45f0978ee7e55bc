import { randomUUID } from 'node:crypto'
import { STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { Logger } from '../log.ts'

const STATUSES: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
}

const DESCRIPTIONS: Readonly<Record<number, string>> = {
  400: 'The request is not valid HTTP.',
  408: 'The request did not arrive in time.',
  413: 'The body has too much in its chunk extensions.',
  431: 'The headers are too large.',
}

/**
 * Answers what never becomes a request: broken HTTP, headers over the limit, a client that is too
 * slow. The error holds the bytes that were sent, credentials and all: only its code is logged.
 */
export function answerMalformedRequests(server: Server | TlsServer, log: Logger): void {
  const underWay = new WeakMap<Socket, ServerResponse>()
  server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    underWay.set(socket, response)
    response.once('close', () => underWay.delete(socket))
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const status = STATUSES[error.code ?? ''] ?? 400
    if (!socket.writable || error.code === 'ECONNRESET' || underWay.get(socket)?.headersSent) {
      socket.destroy()
      return
    }
    const requestId = randomUUID()
    const { remoteAddress: address } = socket
    log.info({ event: 'malformed_request', requestId, status, reason: error.code, address })
    socket.end(formatAnswer(status, requestId))
  })
}

function formatAnswer(status: number, requestId: string): string {
  const body = JSON.stringify({
    error: 'invalid_request',
    error_description: DESCRIPTIONS[status],
    request_id: requestId,
  })
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Connection: close',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    'X-Content-Type-Options: nosniff',
    `X-Request-Id: ${requestId}`,
    '',
    body,
  ].join('\r\n')
}

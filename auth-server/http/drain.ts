import type { Server, ServerResponse } from 'node:http'
import type { Server as TlsServer } from 'node:https'
import { setTimeout as wait } from 'node:timers/promises'

const TIMEOUT_MS = 10_000

/**
 * On disposal the server takes no new connection, lets answers under way end, then closes what is left.
 *
 * Every answer from then on asks the other side to close its connection: a proxy that has more to send
 * would use it again and again, and be cut off in the middle of something in the end.
 */
export function drainOnDisposal(server: Server | TlsServer): AsyncDisposable {
  const open = new Set<ServerResponse>()
  let isDraining = false
  server.on('request', (_request, response: ServerResponse) => {
    if (isDraining) askToClose(response)
    open.add(response)
    response.once('close', () => open.delete(response))
  })
  return {
    async [Symbol.asyncDispose]() {
      if (!server.listening) return
      isDraining = true
      for (const response of open) askToClose(response)
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      const bound = new AbortController()
      const late = wait(TIMEOUT_MS, undefined, { signal: bound.signal, ref: false })
      await Promise.race([closed, late.catch(() => {})])
      bound.abort()
      server.closeAllConnections()
    },
  }
}

function askToClose(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader('Connection', 'close')
}

import { EventEmitter, once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** Where the client receives people back: a listener on a free loopback port (RFC 8252 §7.3). */
export interface Callback extends AsyncDisposable {
  readonly origin: string
  readonly redirectUri: string
  readonly signedOutUri: string
  /** The next URL that a person was sent back to, within `seconds`. */
  next(seconds: number, stopped: AbortSignal): Promise<URL>
}

const PATHS = ['/callback', '/signed-out']
const PAGE = `<!doctype html><html lang="en"><meta charset="utf-8">
<title>Back at the client</title><h1>Back at the client</h1>
<p>The demonstration goes on in the terminal. You may close this window.</p></html>`

export async function listenForCallback(): Promise<Callback> {
  const arrived: URL[] = []
  const arrivals = new EventEmitter()
  const server = createServer((request, response) => {
    const url = URL.parse(request.url ?? '', origin)
    if (request.method !== 'GET' || !url || !PATHS.includes(url.pathname)) {
      response.writeHead(404).end()
      return
    }
    // One answer at a time is waited for: whoever sends more than that is no browser.
    arrived.splice(0, arrived.length, url)
    arrivals.emit('arrival')
    response.writeHead(200, {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': "default-src 'none'",
      'referrer-policy': 'no-referrer',
      connection: 'close',
    })
    response.end(PAGE)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    origin,
    redirectUri: `${origin}/callback`,
    signedOutUri: `${origin}/signed-out`,
    async next(seconds, stopped) {
      const settled = new AbortController()
      const signal = AbortSignal.any([settled.signal, stopped])
      if (arrived.length === 0) {
        const late = wait(seconds * 1000, undefined, { signal })
        await Promise.race([once(arrivals, 'arrival', { signal }), late])
      }
      settled.abort()
      const url = arrived.shift()
      if (!url) throw new Error(`nobody came back to the client within ${seconds} seconds`)
      return url
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await server[Symbol.asyncDispose]()
    },
  }
}

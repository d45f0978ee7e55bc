import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { decodeJwt } from './claims.ts'

/** A service behind the gateway that tells back what the token says that it was shown. */
export interface Echo extends AsyncDisposable {
  readonly origin: string
  /** The token of the last request. */
  readToken(): string
}

/** It verifies nothing, and does nothing either. */
export async function listenForEcho(): Promise<Echo> {
  let token = ''
  const server = createServer((request, response) => {
    const [, shown] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? []
    if (shown === undefined) {
      response.writeHead(401).end()
      return
    }
    token = shown
    const { aud, sub, client_id, act, scope } = decodeJwt(shown).claims
    response.writeHead(200, { 'content-type': 'application/json', connection: 'close' })
    response.end(JSON.stringify({ aud, sub, client_id, act, scope }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    readToken: () => token,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await server[Symbol.asyncDispose]()
    },
  }
}

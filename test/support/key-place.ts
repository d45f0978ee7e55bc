import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { JWK } from 'jose'

export interface KeyPlace extends AsyncDisposable {
  readonly url: string
  /** How often it was asked, and whether it fails from now on. */
  readonly place: { asked: number; isAway: boolean }
}

/** Where somebody publishes these keys. */
export async function startKeyPlace(...keys: readonly JWK[]): Promise<KeyPlace> {
  const place = { asked: 0, isAway: false }
  const http = createServer((_request, response) => {
    place.asked += 1
    if (place.isAway) response.writeHead(500).end()
    else response.end(JSON.stringify({ keys }))
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  return {
    place,
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/jwks`,
    async [Symbol.asyncDispose]() {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}

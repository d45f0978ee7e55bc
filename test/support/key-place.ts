import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface KeyPlace extends AsyncDisposable {
  readonly url: string
  /** How often it was asked, whether it fails from now on, and what it has otherwise. */
  readonly place: { asked: number; isAway: boolean; keys: readonly object[] }
}

/** Where somebody publishes these keys. */
export async function startKeyPlace(...keys: readonly object[]): Promise<KeyPlace> {
  const place: KeyPlace['place'] = { asked: 0, isAway: false, keys }
  const http = createServer((_request, response) => {
    place.asked += 1
    if (place.isAway) response.writeHead(500).end()
    else response.end(JSON.stringify({ keys: place.keys }))
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

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** The web site of an app, where it says what it is. */
export interface DocumentSite extends AsyncDisposable {
  /** Where people know the app by. */
  readonly host: string
  readonly origin: string
  locate(path: string): string
  /** Says at a path what the app is by now. */
  publish(path: string, document: Readonly<Record<string, unknown>>): void
  /** How often somebody has read there. */
  countReads(path: string): number
}

export async function listenForReaders(): Promise<DocumentSite> {
  const documents = new Map<string, string>()
  const reads = new Map<string, number>()
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    const document = documents.get(path)
    reads.set(path, (reads.get(path) ?? 0) + 1)
    response.setHeader('connection', 'close')
    if (request.method !== 'GET' || document === undefined) response.writeHead(404).end()
    else response.writeHead(200, { 'content-type': 'application/json' }).end(document)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    host,
    origin: `http://${host}`,
    locate: (path) => `http://${host}${path}`,
    publish(path, document) {
      documents.set(path, JSON.stringify(document))
    },
    countReads: (path) => reads.get(path) ?? 0,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await server[Symbol.asyncDispose]()
    },
  }
}

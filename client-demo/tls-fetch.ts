import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'

/** What a client trusts, and what it shows. */
export interface ClientTls {
  /** The authorities of servers, in PEM. */
  readonly ca: string
  /** Its own certificate and key, in PEM; absent where it shows none. */
  readonly cert?: string
  readonly key?: string
}

export interface TlsRequest {
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
  readonly signal: AbortSignal
}

/**
 * A request over TLS with a certificate, which the global `fetch` cannot show. On a connection of its own:
 * one that is kept would still show the certificate of before.
 */
export async function fetchOverTls(
  url: string,
  { ca, cert, key }: ClientTls,
  { method, headers, body, signal }: TlsRequest,
): Promise<Response> {
  const shown = cert === undefined || key === undefined ? {} : { cert, key }
  const asking = request(url, {
    method,
    headers: { ...headers },
    agent: false,
    ca,
    ...shown,
    signal,
  })
  asking.end(body)
  const [answer] = (await once(asking, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  const pairs = Object.entries(answer.headersDistinct).flatMap(([name, values = []]) =>
    values.map((value): [string, string] => [name, value]),
  )
  const status = answer.statusCode ?? 500
  return new Response(status === 204 ? null : Buffer.concat(chunks), { status, headers: pairs })
}

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { request, type RequestOptions } from 'node:https'
import path from 'node:path'
import { text as readText } from 'node:stream/consumers'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import type { Certificate } from './certificates.ts'

export interface MtlsFiles {
  /** The server's own certificate. */
  readonly server: Certificate
  /** Whose clients are let in by `tls_client_auth`, if anybody's. */
  readonly authority?: Certificate
}

/** The settings of a listener on a free port, whose files are written into `folder`. */
export function writeMtls(
  folder: string,
  { server, authority }: MtlsFiles,
): NonNullable<ConfigInput['mtls']> {
  const write = (name: string, content: string) => {
    const file = path.join(folder, name)
    writeFileSync(file, content)
    return file
  }
  return {
    listener: {
      port: 0,
      certificate: write('mtls.pem', server.pem),
      key: { file: write('mtls.key', server.key) },
      ...(authority && { authorities: write('authorities.pem', authority.pem) }),
    },
  }
}

export interface TlsAnswer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
  /** Empty where the answer is no JSON. */
  readonly body: Readonly<Record<string, unknown>>
}

export interface TlsAsking {
  /** What the client shows, if anything. */
  readonly certificate?: Certificate | undefined
  /** The one that the server is known by. */
  readonly server: Certificate
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly form?: Readonly<Record<string, string>>
  readonly tls?: RequestOptions
}

/** Asks over TLS on a connection of its own. */
export async function askOverTls(
  url: string,
  { certificate, server, method = 'GET', headers = {}, form, tls = {} }: TlsAsking,
): Promise<TlsAnswer> {
  const body = form === undefined ? undefined : new URLSearchParams({ ...form }).toString()
  const asking = request(url, {
    method: body === undefined ? method : 'POST',
    agent: false,
    ca: server.pem,
    servername: 'localhost',
    ...(certificate && { cert: certificate.pem, key: certificate.key }),
    headers: {
      ...(body !== undefined && { 'content-type': 'application/x-www-form-urlencoded' }),
      ...headers,
    },
    ...tls,
  })
  asking.end(body)
  const [response] = (await once(asking, 'response')) as [IncomingMessage]
  const text = await readText(response)
  const isJson = text.startsWith('{')
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    text,
    body: isJson ? (JSON.parse(text) as Record<string, unknown>) : {},
  }
}

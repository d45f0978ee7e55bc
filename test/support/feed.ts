import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import { createRemoteJWKSet, jwtVerify, type JWTPayload } from 'jose'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { revoke } from './endpoints.ts'
import { basic, decodeJwt, requestToken } from './flow.ts'

export const LISTENER_SECRET = 'a-listener-secret-of-some-length'

export const LISTENER_AUTHORIZATION = { authorization: basic('api', LISTENER_SECRET) }

/** The client of an API that follows what is revoked. */
export function withListener(config: ConfigInput): ConfigInput {
  const listener: NonNullable<ConfigInput['clients']>[number] = {
    id: 'api',
    grants: ['client_credentials'],
    secret: { env: 'LISTENER_SECRET' },
    scopes: ['revocations:read', 'notes:read'],
  }
  return { ...config, clients: [...(config.clients ?? []), listener] }
}

export async function getListenerToken(issuer: string, scope = 'revocations:read') {
  const { body } = await requestToken(
    issuer,
    { grant_type: 'client_credentials', scope },
    LISTENER_AUTHORIZATION,
  )
  if (body.access_token === undefined) throw new Error(JSON.stringify(body))
  return body.access_token
}

/** Ends a token, and answers its `jti`. */
export async function endToken(issuer: string): Promise<string> {
  const token = await getListenerToken(issuer, 'notes:read')
  await revoke(issuer, token, LISTENER_AUTHORIZATION)
  return String(decodeJwt(token).claims['jti'])
}

export interface FeedEvent {
  readonly event: string
  readonly id: string | undefined
  readonly data: string
}

export interface FeedStream extends AsyncDisposable {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  /** The next event, beats included; `undefined` at the end of the stream. */
  next(): Promise<FeedEvent | undefined>
  /** The next event of that name; others before it are passed over. */
  nextOf(name: string): Promise<FeedEvent>
}

/** Opens the stream as an SSE client does. */
export async function openFeed(
  issuer: string,
  token: string | undefined,
  { lastEventId = '', query = '' }: { lastEventId?: string; query?: string } = {},
): Promise<FeedStream> {
  const opened = request(`${issuer}/revocations/stream${query}`, {
    headers: {
      accept: 'text/event-stream',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(lastEventId === '' ? {} : { 'last-event-id': lastEventId }),
    },
  })
  opened.end()
  const [response] = (await once(opened, 'response')) as [IncomingMessage]
  const events = readEvents(response)
  const next = async () => (await events.next()).value ?? undefined
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    next,
    async nextOf(name) {
      for (;;) {
        const found = await next()
        if (!found) throw new Error(`the stream ended before ${name}`)
        if (found.event === name) return found
      }
    },
    async [Symbol.asyncDispose]() {
      response.destroy()
    },
  }
}

async function* readEvents(response: IncomingMessage): AsyncGenerator<FeedEvent, undefined> {
  let text = ''
  try {
    for await (const chunk of response.setEncoding('utf8')) {
      text += String(chunk)
      for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
        const lines = text.slice(0, end).split('\n')
        text = text.slice(end + 2)
        const read = (field: string) =>
          lines.find((line) => line.startsWith(`${field}: `))?.slice(field.length + 2)
        const data = read('data')
        if (data !== undefined) yield { event: read('event') ?? 'message', id: read('id'), data }
      }
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNRESET') throw error
  }
  return undefined
}

/** The claims of what the feed has signed, checked as a receiver checks them. */
export async function readSigned(issuer: string, text: string, typ: string): Promise<JWTPayload> {
  const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`))
  const audience = `${issuer}/revocations`
  const { payload } = await jwtVerify(text, keys, { issuer, audience, typ, algorithms: ['ES256'] })
  return payload
}

/** The claims of a page; `next` is its header `Link`. */
export async function getPage(
  issuer: string,
  token: string,
  after = 0,
): Promise<JWTPayload & { readonly next: string | null }> {
  const answer = await fetch(`${issuer}/revocations/pages?after=${after}`, {
    headers: { authorization: `Bearer ${token}` },
  })
  const claims = await readSigned(issuer, await answer.text(), 'revocation-page+jwt')
  return { ...claims, next: answer.headers.get('link') }
}

import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createBrowser, type Browser, type Page } from './browser.ts'
import {
  authorizationUrl,
  authorize,
  makePkce,
  requestToken,
  type AuthorizationRequest,
  type TokenAnswer,
} from './flow.ts'
import { REDIRECT, type PASSWORDS } from './server.ts'

export type Metadata = Readonly<Record<string, unknown>>

/** A host on loopback that has documents, which describe clients. */
export interface DocumentHost extends AsyncDisposable {
  readonly origin: string
  /** Publishes a document at a path, and answers its URL. `headers` replace those that are usual. */
  publish(path: string, metadata?: Metadata, headers?: Readonly<Record<string, string>>): string
  /** Has a path answered otherwise. */
  answer(path: string, listener: RequestListener): string
  /** How often a path was asked for. */
  asked(path: string): number
}

export async function startDocumentHost(): Promise<DocumentHost> {
  const listeners = new Map<string, RequestListener>()
  const counts = new Map<string, number>()
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    counts.set(path, (counts.get(path) ?? 0) + 1)
    const listener = listeners.get(path)
    if (listener) listener(request, response)
    else response.writeHead(404, { 'content-type': 'application/json' }).end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const answer: DocumentHost['answer'] = (path, listener) => {
    listeners.set(path, listener)
    return `${origin}${path}`
  }
  return {
    origin,
    publish(path, metadata = {}, headers = {}) {
      const document = { ...describeApp(`${origin}${path}`), ...metadata }
      return answer(path, (_request, response) => {
        response
          .writeHead(200, { 'content-type': 'application/json', ...headers })
          .end(JSON.stringify(document))
      })
    },
    answer,
    asked: (path) => counts.get(path) ?? 0,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function describeApp(url: string): Metadata {
  return {
    client_id: url,
    client_name: 'An app of elsewhere',
    redirect_uris: [REDIRECT],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    scope: 'openid notes:read',
  }
}

/** Paces that no test meets by chance. */
const OFTEN = { attempts: 100_000, windowSeconds: 60 }

export function withDocuments(
  more: ConfigInput['clientDocuments'] = {},
): (config: ConfigInput) => ConfigInput {
  const scopes = ['openid', 'profile', 'notes:read']
  return (config) => ({
    ...config,
    clientDocuments: { scopes, perAddress: OFTEN, perHost: OFTEN, ...more },
  })
}

/** Goes where a client sends a browser. */
export function openRequest(
  issuer: string,
  url: string,
  request: AuthorizationRequest = {},
  browser: Browser = createBrowser(issuer),
): Promise<Page> {
  return browser.get(authorizationUrl(issuer, makePkce().challenge, { client_id: url, ...request }))
}

/** What a page of refusal says to whoever reads it. */
export function readReason({ text }: Page): string | undefined {
  return /<dt>Reason<\/dt>\s*<dd>([^<]*)/.exec(text)?.[1]
}

/** What a client of a document gets for a code. */
export async function obtainAs(
  issuer: string,
  url: string,
  request: AuthorizationRequest = {},
  who: keyof typeof PASSWORDS = 'alice',
): Promise<TokenAnswer['body']> {
  const { code, verifier, answer } = await authorize(issuer, { client_id: url, ...request }, who)
  if (code === '') throw new Error(`refused: ${answer.toString()}`)
  const { status, body } = await redeemAs(issuer, url, { code, code_verifier: verifier })
  if (status !== 200) throw new Error(`token endpoint: ${status} ${JSON.stringify(body)}`)
  return body
}

export function redeemAs(
  issuer: string,
  url: string,
  form: Record<string, string>,
): Promise<TokenAnswer> {
  const whole = {
    grant_type: 'authorization_code',
    client_id: url,
    redirect_uri: REDIRECT,
    ...form,
  }
  return requestToken(issuer, whole, {})
}

export function refreshAs(issuer: string, url: string, refreshToken: string): Promise<TokenAnswer> {
  const form = { grant_type: 'refresh_token', client_id: url, refresh_token: refreshToken }
  return requestToken(issuer, form, {})
}

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Koa from 'koa'
import {
  createProtect,
  createVerifier,
  type Refusal,
  type RoutePolicy,
  type VerifierOptions,
} from '../../resource-server/index.ts'
import type { Clock } from '../../resource-server/clock.ts'
import { API } from './issuer.ts'

export interface ApiAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: { readonly [member: string]: unknown }
}

/** An API with one route, behind `protect`, that answers who is asking. */
export interface ProtectedApi extends AsyncDisposable {
  readonly url: string
  readonly refusals: readonly Refusal[]
  get(headers: Record<string, string>, query?: string): Promise<ApiAnswer>
  /** Sends a token as it should be. */
  send(token: string): Promise<ApiAnswer>
  /** The status of an answer to this token. */
  status(token: string): Promise<number>
}

export async function startApi(
  options: Partial<VerifierOptions> & { readonly issuer: string; readonly clock: Clock },
  policy: RoutePolicy = {},
): Promise<ProtectedApi> {
  const verifier = createVerifier({ audience: API, ...options })
  const refusals: Refusal[] = []
  const protect = createProtect(verifier, { onRefusal: (refusal) => refusals.push(refusal) })
  const app = new Koa().use(protect(policy)).use((ctx) => {
    const { kind, subject, clientId, scopes, roles, claims } = ctx.state.auth
    ctx.body = { kind, subject, clientId, scopes: [...scopes], roles: [...roles], claims }
  })
  const server = createServer(app.callback())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const get = async (headers: Record<string, string>, query = '') => {
    const response = await fetch(url + query, { headers })
    const body = (await response.json()) as ApiAnswer['body']
    return { status: response.status, headers: response.headers, body }
  }
  const send = (token: string) => get({ authorization: `Bearer ${token}` })
  return {
    url,
    refusals,
    get,
    send,
    status: async (token) => (await send(token)).status,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await verifier[Symbol.asyncDispose]()
    },
  }
}

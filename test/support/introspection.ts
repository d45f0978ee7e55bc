import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import {
  createIntrospectionVerifier,
  type IntrospectionOptions,
  type Verifier,
} from '../../resource-server/index.ts'
import { API, OIDC_PATH, sendJson, type Answer } from './issuer.ts'
import { createTurnableClock, type TurnableClock } from './turnable-clock.ts'

export const CLIENT_ID = 'notes api:1'
export const CLIENT_SECRET = 's3cret of the API / ü'

export interface Question {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly form: URLSearchParams
  /** The same while one connection serves them. */
  readonly port: number
}

/** An issuer of opaque tokens that answers questions about them, and misbehaves when told to. */
export interface OpaqueIssuer extends AsyncDisposable {
  readonly url: string
  readonly clock: TurnableClock
  /** How each token is answered; one that is not in it is not active. */
  readonly tokens: Map<string, Record<string, unknown> | Answer>
  /** In place of all answers. */
  answerAll: Answer | undefined
  readonly metadata: Record<string, unknown>
  readonly questions: readonly Question[]
  /** Puts off the answers to all questions from now on until the function that it answers is called. */
  hold(): () => void
  /** Resolves when so many questions have come in all. */
  until(count: number): Promise<void>
  /** What is answered about a good token, but for the change; `undefined` takes a member away. */
  describe(change?: Record<string, unknown>): Record<string, unknown>
  /** Makes a good token, but for the change. */
  issue(change?: Record<string, unknown>): string
  /** Ends when the issuer does. */
  verifier(options?: Partial<IntrospectionOptions>): Verifier
}

export async function startOpaqueIssuer(): Promise<OpaqueIssuer> {
  await using cleanUp = new AsyncDisposableStack()
  const clock = createTurnableClock()
  const tokens: OpaqueIssuer['tokens'] = new Map()
  const questions: Question[] = []
  const watchers: { readonly count: number; readonly resolve: () => void }[] = []
  let held: Promise<void> | undefined
  let issued = 0

  const answer = async (form: URLSearchParams, response: ServerResponse) => {
    await held
    const known = tokens.get(form.get('token') ?? '')
    if (issuer.answerAll !== undefined) issuer.answerAll(response)
    else if (typeof known === 'function') known(response)
    else sendJson(response, known ?? { active: false })
  }
  const server = createServer(async (request, response) => {
    const { method = '', url = '', headers, socket } = request
    if (url === OIDC_PATH) {
      sendJson(response, issuer.metadata)
      return
    }
    const form = new URLSearchParams(await text(request))
    questions.push({ method, url, headers, form, port: socket.remotePort ?? 0 })
    for (const { count, resolve } of watchers) if (questions.length >= count) resolve()
    await answer(form, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanUp.defer(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const running = cleanUp.move()
  const issuer: OpaqueIssuer = {
    url,
    clock,
    tokens,
    answerAll: undefined,
    metadata: { issuer: url, introspection_endpoint: `${url}/introspect` },
    questions,
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>()
      held = promise
      return () => {
        if (held === promise) held = undefined
        resolve()
      }
    },
    until: (count) =>
      new Promise((resolve) => {
        if (questions.length >= count) resolve()
        else watchers.push({ count, resolve })
      }),
    describe(change = {}) {
      const iat = Math.floor(clock.now() / 1000)
      return {
        active: true,
        iss: url,
        sub: 'acc_alice',
        aud: API,
        client_id: 'web',
        scope: 'notes:read notes:write',
        token_type: 'Bearer',
        iat,
        exp: iat + 600,
        ...change,
      }
    },
    issue(change) {
      issued += 1
      const token = `opaque-${issued}.~+/${'x'.repeat(30)}==`
      tokens.set(token, issuer.describe(change))
      return token
    },
    verifier: (options) =>
      running.use(
        createIntrospectionVerifier({
          issuer: url,
          audience: API,
          clock,
          ...(options?.authorization ? {} : { clientId: CLIENT_ID, clientSecret: CLIENT_SECRET }),
          ...options,
        }),
      ),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
  return issuer
}

/** `allowed`, or why not. */
export async function judge(verifier: Verifier, token: string): Promise<string> {
  const result = await verifier.verify(token)
  return result.ok ? 'allowed' : result.reason.kind
}

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

/** One request as it came. */
export interface ReceivedLogout {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: IncomingMessage['headers']
  readonly text: string
  readonly form: URLSearchParams
  /** '' where there is none. */
  readonly token: string
}

export type Answer = (response: ServerResponse) => void

/** A client that is told of logouts. It answers 200 unless told otherwise. */
export interface LogoutReceiver extends AsyncDisposable {
  readonly uri: string
  readonly received: readonly ReceivedLogout[]
  /** How the next requests are answered. */
  answer: Answer
}

export function answerWith(status: number, headers: Record<string, string> = {}): Answer {
  return (response) => void response.writeHead(status, headers).end()
}

export async function startLogoutReceiver(answer = answerWith(200)): Promise<LogoutReceiver> {
  const received: ReceivedLogout[] = []
  const receive = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await text(request)
    const form = new URLSearchParams(body)
    const { method, url, headers } = request
    received.push({ method, url, headers, text: body, form, token: form.get('logout_token') ?? '' })
    receiver.answer(response)
  }
  // A server that is killed may leave half a request.
  const server = createServer((request, response) => {
    receive(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const receiver: LogoutReceiver = {
    uri: `http://127.0.0.1:${port}/logout`,
    received,
    answer,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  }
  return receiver
}

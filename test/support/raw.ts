import { connect } from 'node:net'
import { text } from 'node:stream/consumers'

export interface RawAnswer {
  readonly status: number
  /** By lower-case name; of a header that comes twice, the last. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/**
 * Sends a request as it stands, which no HTTP client would let pass, and reads the answer until the
 * server closes the connection. `lines`: the request line and headers, without `Host`.
 */
export async function sendRaw(
  url: string,
  lines: readonly string[],
  body: string | Buffer = '',
): Promise<RawAnswer> {
  const { host } = new URL(url)
  const [requestLine = '', ...headers] = lines
  const ownHost = headers.some((line) => /^host:/i.test(line)) ? [] : [`Host: ${host}`]
  const head = [requestLine, ...ownHost, 'Connection: close', ...headers, '', ''].join('\r\n')
  return sendBytes(url, Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(body)]))
}

/** Sends bytes, and reads the answer until the server closes the connection. */
export async function sendBytes(url: string, bytes: Buffer): Promise<RawAnswer> {
  const { hostname, port } = new URL(url)
  using socket = Object.assign(connect(Number(port), hostname), {
    [Symbol.dispose]() {
      socket.destroy()
    },
  })
  // A server that has answered may close while we still write.
  const written = new Promise<void>((resolve) => {
    socket.on('error', () => resolve())
    socket.write(bytes, () => resolve())
  })
  const answer = text(socket).catch(() => '')
  await written
  return parseAnswer(await answer)
}

function parseAnswer(answer: string): RawAnswer {
  const [head = '', ...rest] = answer.split('\r\n\r\n')
  const [statusLine = '', ...lines] = head.split('\r\n')
  const headers = lines.map((line) => {
    const [name = '', value = ''] = line.split(/:\s*(.*)/s)
    return [name.toLowerCase(), value] as const
  })
  return {
    status: Number(statusLine.split(' ')[1] ?? 0),
    headers: Object.fromEntries(headers),
    body: rest.join('\r\n\r\n'),
  }
}

import { execFile } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { systemClock } from '../../resource-server/clock.ts'
import { encode } from './issuer.ts'
import { startProgram, type Program } from './program.ts'

export interface DemoProgram extends Program {
  readonly url: string
}

/** Starts a program of `resource-server/demo` on a free port, and waits until it listens. */
export async function startDemo(
  file: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<DemoProgram> {
  const path = `resource-server/demo/${file}`
  const program = startProgram(path, [...args, '--port', '0', '--json'], { environment })
  const line = await program.firstLine
  if (line === undefined) throw new Error(`${file} did not start: ${program.logged()}`)
  return { ...program, url: (JSON.parse(line) as { url: string }).url }
}

/** A token that is signed with a secret. Nothing is wrong with it but what `claims` say. */
export function signWithSecret(
  secret: string,
  claims: Readonly<Record<string, unknown>>,
  { alg = 'HS256' }: { readonly alg?: string } = {},
): string {
  const full = { alg, typ: 'JWT' }
  const input = `${encode(full)}.${encode({ ...claims })}`
  const hash = `sha${alg.slice(2)}`
  return `${input}.${createHmac(hash, secret).update(input).digest('base64url')}`
}

/** Claims that nobody has signed. */
export function leaveUnsigned(claims: Readonly<Record<string, unknown>>): string {
  return `${encode({ alg: 'none', typ: 'JWT' })}.${encode({ ...claims })}.`
}

/** `iat` and `exp` of a token that is good for a minute, or was until some seconds ago. */
export function lasting(seconds = 60): { readonly iat: number; readonly exp: number } {
  const now = Math.floor(systemClock.now() / 1000)
  return { iat: seconds < 0 ? now + seconds - 60 : now, exp: now + seconds }
}

export interface CurlAnswer {
  readonly status: number
  readonly type: string
  readonly body: string
}

const runFile = promisify(execFile)

/** What a person with `curl` sees. */
export async function curl(...args: readonly string[]): Promise<CurlAnswer> {
  const format = '\n%{http_code} %{content_type}'
  const { stdout } = await runFile('curl', ['--silent', '--show-error', '-w', format, ...args])
  const at = stdout.lastIndexOf('\n')
  const [status = '', ...type] = stdout.slice(at + 1).split(' ')
  return { status: Number(status), type: type.join(' '), body: stdout.slice(0, at) }
}

/** A service that stands behind a gateway. */
export interface Upstream extends AsyncDisposable {
  readonly url: string
  readonly server: Server
  /** The requests that have come. */
  readonly requests: readonly IncomingMessage[]
}

export async function startUpstream(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Upstream> {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    answer(request, response)
  })
  const url = await listen(server)
  return {
    url,
    server,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** On a free port. */
export async function listen(server: {
  listen(port: number, host: string, ready: () => void): unknown
  address(): unknown
}): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

import { randomUUID, sign as signBytes, KeyObject, type SignKeyObjectInput } from 'node:crypto'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type CryptoKey, type JWK } from 'jose'
import type { Clock } from '../../resource-server/clock.ts'

export const API = 'https://api.example/'

export interface IssuerKey {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  readonly alg: string
  /** As it is published. */
  readonly jwk: JWK
}

/** How the issuer answers at one of its paths; `undefined`: as it should. */
export type Answer = (response: ServerResponse) => void

/** An issuer of nothing but keys and tokens, which misbehaves when told to. */
export interface TestIssuer extends AsyncDisposable {
  readonly url: string
  /** What it publishes; may be changed at any time. */
  readonly published: { keys: JWK[]; metadata: Record<string, unknown> }
  /** Replaces its answers: by path, or everywhere by `*`. */
  readonly answers: Map<string, Answer>
  /** How often each path was asked for. */
  readonly asked: Map<string, number>
  /** Resolves at the next request, before it is answered. */
  nextRequest(): Promise<void>
  /** Good claims of a token for `API`, at the time of the issuer's clock. */
  claims(change?: Record<string, unknown>): Record<string, unknown>
}

export const KEYS_PATH = '/keys'
export const OIDC_PATH = '/.well-known/openid-configuration'
export const OAUTH_PATH = '/.well-known/oauth-authorization-server'

export async function startIssuer(
  clock: Clock,
  ...keys: readonly IssuerKey[]
): Promise<TestIssuer> {
  const answers = new Map<string, Answer>()
  const asked = new Map<string, number>()
  const waiting: (() => void)[] = []
  const published: TestIssuer['published'] = { keys: keys.map(({ jwk }) => jwk), metadata: {} }
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    asked.set(path, (asked.get(path) ?? 0) + 1)
    for (const resolve of waiting.splice(0)) resolve()
    const answer = answers.get(path) ?? answers.get('*')
    if (answer) answer(response)
    else if (path === OIDC_PATH) sendJson(response, published.metadata)
    else if (path === KEYS_PATH) sendJson(response, { keys: published.keys })
    else fail(404)(response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  published.metadata = { issuer: url, jwks_uri: url + KEYS_PATH }
  return {
    url,
    published,
    answers,
    asked,
    nextRequest: () => new Promise((resolve) => waiting.push(resolve)),
    claims: (change = {}) => {
      const iat = Math.floor(clock.now() / 1000)
      return {
        iss: url,
        sub: 'acc_alice',
        aud: API,
        iat,
        exp: iat + 600,
        jti: randomUUID(),
        client_id: 'web',
        scope: 'notes:read notes:write',
        ...change,
      }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export function sendJson(response: ServerResponse, body: unknown): void {
  response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
}

export function fail(status: number): Answer {
  return (response) => void response.writeHead(status).end('{}')
}

/** Begins to answer and never ends. */
export const hang: Answer = (response) => {
  response.writeHead(200, { 'content-type': 'application/json' }).write('{')
}

export async function createKey(
  alg: string,
  change: Record<string, unknown> = {},
): Promise<IssuerKey> {
  const pair = await generateKeyPair(alg, { extractable: true })
  return describeKey(alg, pair.privateKey, pair.publicKey, change)
}

async function describeKey(
  alg: string,
  privateKey: CryptoKey,
  publicKey: CryptoKey,
  change: Record<string, unknown>,
): Promise<IssuerKey> {
  const jwk = { ...(await exportJWK(publicKey)), kid: randomUUID(), use: 'sig', alg, ...change }
  return {
    privateKey: KeyObject.from(privateKey),
    publicKey: KeyObject.from(publicKey),
    alg,
    jwk,
  }
}

type Text = string | Record<string, unknown>

/** Signs whatever it is given, be it JSON or not: `header` and `payload` as objects or raw texts. */
export function signToken(
  key: IssuerKey,
  payload: Text | Buffer,
  header: Text = {},
  signingAlg: string = key.alg,
): string {
  const { kid } = key.jwk
  const fullHeader =
    typeof header === 'string'
      ? header
      : { typ: 'at+jwt', alg: key.alg, ...(kid === undefined ? {} : { kid }), ...header }
  const input = [fullHeader, payload].map(encode).join('.')
  return `${input}.${signInput(input, key.privateKey, signingAlg).toString('base64url')}`
}

function signInput(input: string, key: KeyObject, alg: string): Buffer {
  const hash = alg === 'EdDSA' ? null : `sha${alg.slice(2)}`
  const options: Omit<SignKeyObjectInput, 'key'> = alg.startsWith('ES')
    ? { dsaEncoding: 'ieee-p1363' }
    : alg.startsWith('PS')
      ? { padding: 6, saltLength: -1 }
      : {}
  return signBytes(hash, Buffer.from(input), { key, ...options })
}

export function encode(value: Text | Buffer): string {
  const bytes = typeof value === 'string' || Buffer.isBuffer(value) ? value : JSON.stringify(value)
  return Buffer.from(bytes as string).toString('base64url')
}

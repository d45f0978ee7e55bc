import { once } from 'node:events'
import { createServer as createPlainServer, request as requestPlain } from 'node:http'
import { Agent, createServer, request, type RequestOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { TLSSocket } from 'node:tls'
import Koa from 'koa'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  createProtect,
  createVerifier,
  type Refusal,
  type RoutePolicy,
  type SenderOptions,
} from '../../resource-server/index.ts'
import { createCertificate, type Certificate } from '../support/certificates.ts'
import { API, createKey, signToken, startIssuer, type TestIssuer } from '../support/issuer.ts'
import { createTurnableClock } from '../support/turnable-clock.ts'

const [own, foreign, forServer] = await Promise.all(
  ['client', 'thief', 'api'].map(createCertificate),
)
if (!own || !foreign || !forServer) throw new Error('no certificates')
const key = await createKey('ES256')
const clock = createTurnableClock()

/** The example of RFC 8705, Appendix A. */
const EXAMPLE = {
  pem: `-----BEGIN CERTIFICATE-----
MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx
ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ
/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID
SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV
bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=
-----END CERTIFICATE-----
`,
  thumbprint: 'A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0',
}

let issuer: TestIssuer
beforeAll(async () => {
  issuer = await startIssuer(clock, key)
})
afterAll(() => issuer[Symbol.asyncDispose]())

const tokenFor = (cnf: unknown) => signToken(key, issuer.claims({ cnf }))
const boundTo = (thumbprint: string) => tokenFor({ 'x5t#S256': thumbprint })

interface Answer {
  readonly status: number | undefined
  readonly challenge: string | undefined
  readonly body: unknown
  /** Whether the connection took up a session of an earlier one. */
  readonly isResumed: boolean
}

interface Api extends AsyncDisposable {
  readonly refusals: readonly Refusal[]
  /** Sends a request over TLS, and shows a certificate where there is one. */
  send(
    token: string,
    certificate?: Certificate,
    options?: Pick<RequestOptions, 'agent' | 'maxVersion' | 'minVersion'> & {
      readonly headers?: Readonly<Record<string, string>>
    },
  ): Promise<Answer>
  /** The same without TLS, as a proxy in front would do. */
  sendPlain(token: string, headers?: Record<string, string | readonly string[]>): Promise<Answer>
}

/** An API on two ports, with and without TLS. It asks for a certificate and takes whatever comes. */
async function startApi(sender: SenderOptions = {}, policy: RoutePolicy = {}): Promise<Api> {
  const verifier = createVerifier({ issuer: issuer.url, audience: API, clock })
  const refusals: Refusal[] = []
  const protect = createProtect(verifier, {
    sender,
    onRefusal: (refusal) => refusals.push(refusal),
  })
  const app = new Koa().use(protect(policy)).use((ctx) => {
    ctx.body = { subject: ctx.state.auth.subject }
  })
  const { pem: cert, key: privateKey } = forServer as Certificate
  const tls = { cert, key: privateKey, requestCert: true, rejectUnauthorized: false }
  const server = createServer(tls, app.callback()).listen(0, '127.0.0.1')
  const plain = createPlainServer(app.callback()).listen(0, '127.0.0.1')
  await Promise.all([once(server, 'listening'), once(plain, 'listening')])
  const place = (of: typeof server | typeof plain) => ({
    host: '127.0.0.1',
    port: (of.address() as AddressInfo).port,
  })
  const read = async (sent: ReturnType<typeof request>): Promise<Answer> => {
    const [response] = await once(sent.end(), 'response')
    const { statusCode: status, headers, socket } = response
    const isResumed = socket instanceof TLSSocket && socket.isSessionReused()
    return { status, challenge: headers['www-authenticate'], body: await json(response), isResumed }
  }
  return {
    refusals,
    send(token, certificate, { headers, ...options } = {}) {
      const shown = certificate ? { cert: certificate.pem, key: certificate.key } : {}
      const sent = { authorization: `Bearer ${token}`, ...headers }
      return read(
        request({ ...place(server), ca: cert, agent: false, ...shown, ...options, headers: sent }),
      )
    },
    sendPlain: (token, headers) =>
      read(
        requestPlain({
          ...place(plain),
          agent: false,
          headers: { authorization: `Bearer ${token}`, ...headers },
        }),
      ),
    async [Symbol.asyncDispose]() {
      for (const one of [server, plain]) {
        one.closeAllConnections()
        one.close()
      }
      await verifier[Symbol.asyncDispose]()
    },
  }
}

const REFUSED = { status: 401, challenge: 'Bearer error="invalid_token"' }

describe('a token that is bound to a certificate', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'is taken from who shows it, over %s',
    async (version) => {
      await using api = await startApi()
      const token = boundTo(own.thumbprint)
      const versions = { minVersion: version, maxVersion: version }
      expect(await api.send(token, own, versions)).toMatchObject({
        status: 200,
        body: { subject: 'acc_alice' },
      })
    },
  )

  test('is refused from who shows another, or none', async () => {
    await using api = await startApi()
    const token = boundTo(own.thumbprint)
    expect(await api.send(token, own)).toMatchObject({ status: 200 })
    expect(await api.send(token, foreign)).toMatchObject(REFUSED)
    expect(await api.send(token)).toMatchObject(REFUSED)
    expect(await api.sendPlain(token)).toMatchObject(REFUSED)
    expect(api.refusals.map(({ kind }) => kind)).toEqual(
      Array.from({ length: 3 }, () => 'sender_constrained'),
    )
  })

  test('is looked at for each request on a connection', async () => {
    await using api = await startApi()
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const [good, bad] = [boundTo(own.thumbprint), boundTo(foreign.thumbprint)]
    for (const [token, status] of [
      [good, 200],
      [bad, 401],
      [good, 200],
    ] as const) {
      expect(await api.send(token, own, { agent })).toMatchObject({ status })
    }
    agent.destroy()
  })

  test('is taken on a session that is taken up again, which keeps its certificate', async () => {
    await using api = await startApi()
    // An agent keeps sessions, and this one no connections.
    const agent = new Agent({ keepAlive: false })
    const answers = []
    for (const thumbprint of [own.thumbprint, foreign.thumbprint, own.thumbprint]) {
      answers.push(await api.send(boundTo(thumbprint), own, { agent }))
    }
    expect(answers.map(({ status }) => status)).toEqual([200, 401, 200])
    expect(answers.map(({ isResumed }) => isResumed)).toEqual([false, true, true])
    agent.destroy()
  })

  test('is refused with a header in the place of the certificate', async () => {
    await using api = await startApi()
    const token = boundTo(own.thumbprint)
    for (const headers of [writeStandard(own), writeNginx(own)]) {
      expect(await api.sendPlain(token, headers)).toMatchObject(REFUSED)
      expect(await api.send(token, undefined, { headers })).toMatchObject(REFUSED)
      expect(await api.send(token, foreign, { headers })).toMatchObject(REFUSED)
    }
  })

  test.each<readonly [string, unknown]>([
    ['SHA-1', { x5t: 'x' }],
    ['nothing', {}],
    ['a number', { 'x5t#S256': 1 }],
    ['a list', { 'x5t#S256': [own.thumbprint] }],
    ['an empty text', { 'x5t#S256': '' }],
    ['a padded thumbprint', { 'x5t#S256': `${own.thumbprint}=` }],
    [
      'a thumbprint in hexadecimal',
      { 'x5t#S256': Buffer.from(own.thumbprint, 'base64url').toString('hex') },
    ],
    ['the certificate and something unknown', { 'x5t#S256': own.thumbprint, more: 'x' }],
    ['the certificate and a key', { 'x5t#S256': own.thumbprint, jkt: 'x' }],
    ['no object', own.thumbprint],
    ['null', null],
  ])('is refused when it is bound to %s', async (_row, cnf) => {
    await using api = await startApi()
    expect(await api.send(tokenFor(cnf), own)).toMatchObject(REFUSED)
  })
})

test('a token that is bound to nothing is taken from anyone, but not where a binding is needed', async () => {
  await using api = await startApi()
  await using strict = await startApi({}, { sender: 'certificate' })
  const token = signToken(key, issuer.claims())
  expect(await api.send(token, own)).toMatchObject({ status: 200 })
  expect(await api.sendPlain(token)).toMatchObject({ status: 200 })
  expect(await strict.send(token, own)).toMatchObject(REFUSED)
  expect(await strict.send(boundTo(own.thumbprint), own)).toMatchObject({ status: 200 })
})

const STANDARD = { name: 'Client-Cert', format: 'rfc9440' } as const
const NGINX = { name: 'X-SSL-Client-Cert', format: 'escaped-pem' } as const
const PROXY: SenderOptions = { trustedProxies: ['127.0.0.1'], certificateHeader: STANDARD }

function writeStandard({ der }: Pick<Certificate, 'der'>): Record<string, string> {
  return { 'client-cert': `:${der.toString('base64')}:` }
}

/** As nginx has it: everything is escaped but what RFC 3986 lets stand. */
function writeNginx({ pem }: Pick<Certificate, 'pem'>): Record<string, string> {
  return { 'x-ssl-client-cert': encodeURIComponent(`${pem.trimEnd()}\n`) }
}

describe('from a proxy that is trusted', () => {
  test.each([
    ['Client-Cert of RFC 9440', STANDARD, writeStandard],
    ["nginx's escaped PEM", NGINX, writeNginx],
  ] as const)('the certificate is taken from %s', async (_row, certificateHeader, write) => {
    await using api = await startApi({ ...PROXY, certificateHeader })
    const token = boundTo(own.thumbprint)
    expect(await api.sendPlain(token, write(own))).toMatchObject({ status: 200 })
    expect(await api.sendPlain(token, write(foreign))).toMatchObject(REFUSED)
    expect(await api.sendPlain(token)).toMatchObject(REFUSED)
  })

  test('the example of RFC 8705 has the thumbprint that stands there', async () => {
    await using api = await startApi({ ...PROXY, certificateHeader: NGINX })
    const { status } = await api.sendPlain(boundTo(EXAMPLE.thumbprint), writeNginx(EXAMPLE))
    expect(status).toBe(200)
  })

  test('its own certificate is not the client’s', async () => {
    await using api = await startApi(PROXY)
    const token = boundTo(own.thumbprint)
    expect(await api.send(token, own)).toMatchObject(REFUSED)
    expect(await api.send(token, own, { headers: writeStandard(foreign) })).toMatchObject(REFUSED)
    expect(await api.send(token, foreign, { headers: writeStandard(own) })).toMatchObject({
      status: 200,
    })
  })

  const base64 = own.der.toString('base64')
  test.each<readonly [string, string | readonly string[]]>([
    ['two headers', [`:${base64}:`, `:${base64}:`]],
    ['a list of two', `:${base64}:, :${base64}:`],
    ['no colons', base64],
    ['one colon', `:${base64}`],
    ['parameters', `:${base64}:;x=1`],
    ['base64url', `:${own.der.toString('base64url').replaceAll('+', '-')}-_:`],
    ['a space in it', `:${base64.slice(0, 4)} ${base64.slice(4)}:`],
    ['a byte more', `:${Buffer.concat([own.der, Buffer.from([0])]).toString('base64')}:`],
    ['two certificates', `:${Buffer.concat([own.der, foreign.der]).toString('base64')}:`],
    ['a byte less', `:${own.der.subarray(0, -1).toString('base64')}:`],
    ['a PEM', `:${Buffer.from(own.pem).toString('base64')}:`],
    ['the thumbprint alone', `:${Buffer.from(own.thumbprint, 'base64url').toString('base64')}:`],
    ['nothing between the colons', '::'],
    ['an empty value', ''],
    ['the escaped PEM', encodeURIComponent(own.pem)],
  ])('Client-Cert with %s is no certificate', async (_row, value) => {
    await using api = await startApi(PROXY)
    const sent = { 'client-cert': value }
    expect(await api.sendPlain(boundTo(own.thumbprint), sent)).toMatchObject(REFUSED)
  })

  test.each<readonly [string, string]>([
    ['two certificates', encodeURIComponent(own.pem + foreign.pem)],
    ['text in front', encodeURIComponent(`x\n${own.pem}`)],
    ['text behind', encodeURIComponent(`${own.pem}\nx`)],
    ['a private key', encodeURIComponent(own.key)],
    ['a broken escape', `${encodeURIComponent(own.pem)}%`],
    ['an escape of no character', `${encodeURIComponent(own.pem)}%FF`],
    ['spaces for lines', own.pem.replaceAll('\n', ' ')],
    ['tabs for lines', own.pem.replaceAll('\n', '\t')],
    ['escaped spaces for lines', encodeURIComponent(own.pem.replaceAll('\n', ' '))],
    ['no lines around', encodeURIComponent(base64)],
  ])('an escaped PEM with %s is no certificate', async (_row, value) => {
    await using api = await startApi({ ...PROXY, certificateHeader: NGINX })
    const sent = { 'x-ssl-client-cert': value }
    expect(await api.sendPlain(boundTo(own.thumbprint), sent)).toMatchObject(REFUSED)
  })

  test('no other header counts', async () => {
    await using api = await startApi(PROXY)
    const { 'x-ssl-client-cert': value = '' } = writeNginx(own)
    for (const name of [
      'x-ssl-client-cert',
      'x-client-cert',
      'ssl-client-cert',
      'x-forwarded-client-cert',
    ]) {
      expect(await api.sendPlain(boundTo(own.thumbprint), { [name]: value })).toMatchObject(REFUSED)
    }
  })
})

describe('from a peer that is not trusted', () => {
  test.each([['10.0.0.0/8'], ['127.0.0.2'], ['::1']])(
    'no header counts while %s is trusted',
    async (trusted) => {
      await using api = await startApi({ ...PROXY, trustedProxies: [trusted] })
      const token = boundTo(own.thumbprint)
      const headers = {
        ...writeStandard(own),
        'x-forwarded-for': '10.0.0.1',
        forwarded: 'for=10.0.0.1',
        'x-real-ip': '10.0.0.1',
      }
      expect(await api.sendPlain(token, headers)).toMatchObject(REFUSED)
      expect(await api.send(token, foreign, { headers })).toMatchObject(REFUSED)
      expect(await api.send(token, own, { headers: writeStandard(foreign) })).toMatchObject({
        status: 200,
      })
    },
  )
})

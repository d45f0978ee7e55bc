import { DatabaseSync } from 'node:sqlite'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sendBytes, sendRaw } from '../support/raw.ts'
import { startServer, type TestServer } from '../support/server.ts'

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const FORM = 'Content-Type: application/x-www-form-urlencoded'
const SPA = 'https://spa.example'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server[Symbol.asyncDispose]())

const ask = (target: string, ...headers: string[]) =>
  sendRaw(server.url, [`GET ${target} HTTP/1.1`, ...headers])

/** The log lines of one request. */
function linesOf(requestId: string | undefined): Record<string, unknown>[] {
  const lines = server.logged().split('\n').filter(Boolean)
  const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  return parsed.filter((line) => line['requestId'] === requestId)
}

/** One of every kind of answer: the request lines, the body, and the status. */
const KINDS: readonly (readonly [name: string, lines: readonly string[], status: number])[] = [
  ['a document', ['GET /.well-known/openid-configuration HTTP/1.1'], 200],
  ['a probe', ['GET /livez HTTP/1.1'], 200],
  ['a token endpoint refusal', ['POST /token HTTP/1.1', FORM], 400],
  ['a missing token', ['GET /userinfo HTTP/1.1'], 401],
  ['an unknown address', ['GET /nothing HTTP/1.1'], 404],
  ['an unknown address in a browser', ['GET /nothing HTTP/1.1', 'Accept: text/html'], 404],
  ['a wrong method', ['DELETE /token HTTP/1.1'], 405],
  ['an error page', ['GET /auth?client_id=nobody HTTP/1.1', 'Accept: text/html'], 400],
  ['a page that is over', ['GET /interaction/0123456789abcdef0123 HTTP/1.1'], 410],
  ['another host', ['GET /jwks HTTP/1.1', 'Host: other.example'], 421],
  ['too large a body', ['POST /token HTTP/1.1', FORM, 'Content-Length: 99999'], 413],
  ['a preflight', ['OPTIONS /token HTTP/1.1', `Origin: ${SPA}`], 405],
]

describe.each(KINDS)('the answer to %s', (name, lines, status) => {
  test('carries a request id of its own, which its log lines have too', async () => {
    const { status: actual, headers } = await sendRaw(server.url, lines)
    expect(actual).toBe(status)
    expect(headers['x-request-id']).toMatch(UUID)
    const events = linesOf(headers['x-request-id']).map(({ event }) => event)
    expect(events.filter((event) => event === 'request')).toHaveLength(name === 'a probe' ? 0 : 1)
  })

  test('carries the security headers', async () => {
    const { headers } = await sendRaw(server.url, lines)
    expect(headers).toMatchObject({
      'content-security-policy': expect.stringContaining("default-src 'none'"),
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': expect.stringMatching(/^(no-referrer|same-origin)$/),
    })
    expect(headers['content-security-policy']).toContain("frame-ancestors 'none'")
    expect(headers).not.toHaveProperty('strict-transport-security')
    expect(headers).not.toHaveProperty('x-powered-by')
    expect(headers).not.toHaveProperty('server')
  })
})

describe('a request id', () => {
  test('is never taken from the request', async () => {
    const { headers } = await ask('/jwks', 'X-Request-Id: forged')
    expect(headers['x-request-id']).toMatch(UUID)
    expect(server.logged()).not.toContain('forged')
  })
})

describe('the path in the log', () => {
  const UID = 'kq7ZbV0dGq3WnJ8mC1xR5'
  const TOKEN = `eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.${'p'.repeat(300)}.${'s-_'.repeat(20)}`

  test.each([
    [`/interaction/${UID}/nothing`, '/interaction/:uid/nothing'],
    ['/interaction/short', '/interaction/:uid'],
    [`/auth/${UID}`, '/auth/:uid'],
    [`//interaction/${UID}`, '//interaction/:hidden'],
    [`/x/interaction/${UID};v=1`, '/x/interaction/:hidden;v=1'],
    [`/userinfo/${TOKEN}`, '/userinfo/:hidden.:hidden.:hidden'],
    [`/${'a/'.repeat(95)}${UID}`, `/${'a/'.repeat(95)}:hidden`],
    [`/${'a/'.repeat(300)}`, `/${'a/'.repeat(100)}`.slice(0, 200)],
    ['/nothing/here-at-all', '/nothing/here-at-all'],
    ['/.well-known/openid-configuration', '/.well-known/openid-configuration'],
  ])('of %s is %s', async (target, expected) => {
    const { headers } = await ask(`${target}?code=${UID}`)
    const [line] = linesOf(headers['x-request-id']).filter(({ event }) => event === 'request')
    expect(line).toMatchObject({ path: expected })
    expect(server.logged()).not.toContain(UID.slice(0, 12))
  })
})

describe('a refusal of the HTTP layer', () => {
  test('is a page for a browser, with the id to quote', async () => {
    const { headers, body } = await ask('/auth', 'Host: other.example', 'Accept: text/html')
    expect(headers['content-type']).toBe('text/html; charset=utf-8')
    expect(headers['vary']).toContain('Accept')
    expect(body).toContain('misdirected_request')
    expect(body).toContain(headers['x-request-id'])
  })

  test('is JSON for a program', async () => {
    const { headers, body } = await ask('/auth', 'Host: other.example')
    expect(JSON.parse(body)).toEqual({
      error: 'misdirected_request',
      error_description: expect.stringContaining(`This server is ${server.issuer}, but`),
      request_id: headers['x-request-id'],
    })
  })

  test('is JSON where only programs come, whatever they accept', async () => {
    const { headers } = await ask('/token', 'Host: other.example', 'Accept: text/html')
    expect(headers['content-type']).toBe('application/json; charset=utf-8')
  })

  test('writes nothing of a hostile host into the page', async () => {
    const { status, body } = await ask('/', 'Host: <script>alert(1)</script>', 'Accept: text/html')
    expect(status).toBe(421)
    expect(body).not.toContain('<script')
  })
})

describe('a body', () => {
  const post = (size: number, ...headers: string[]) =>
    sendRaw(
      server.url,
      ['POST /token HTTP/1.1', FORM, `Content-Length: ${size}`, ...headers],
      'a'.repeat(size),
    )

  test.each([57_345, 1_000_000])('of %i bytes is refused with 413', async (size) => {
    const { status, headers, body } = await post(size)
    expect([status, headers['connection']]).toEqual([413, 'close'])
    expect(JSON.parse(body)).toMatchObject({ error: 'invalid_request' })
  })

  test('of the largest size is read', async () => {
    const { status, body } = await post(57_344)
    expect(status).toBe(400)
    expect(body).toContain('no client authentication')
  })

  test('whose length only seems small is refused', async () => {
    const lines = ['POST /token HTTP/1.1', FORM, `Content-Length: ${2 ** 32 + 4}`]
    expect((await sendRaw(server.url, lines, 'a=b&')).status).toBe(413)
  })

  test('that does not tell its length is cut off', async () => {
    const chunk = `4000\r\n${'a'.repeat(0x40_00)}\r\n`
    const lines = ['POST /token HTTP/1.1', FORM, 'Transfer-Encoding: chunked']
    const { status, body } = await sendRaw(server.url, lines, `${chunk.repeat(5)}0\r\n\r\n`)
    expect(status).toBe(400)
    expect(JSON.parse(body)).toMatchObject({ error: 'invalid_request' })
  })

  test('is refused at an address that takes none', async () => {
    const lines = ['GET /jwks HTTP/1.1', 'Content-Length: 60000']
    expect((await sendRaw(server.url, lines)).status).toBe(413)
  })
})

describe('what is not HTTP', () => {
  const broken: readonly (readonly [string, string, number])[] = [
    ['noise', '\0\x01\x02\x03\r\n\r\n', 400],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    ['an unknown method', 'FROB / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
    [
      'two lengths',
      'POST /token HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
      400,
    ],
    [
      'a length and chunks',
      'POST /token HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['a header name with a space', 'GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n', 400],
    ['large headers', `GET / HTTP/1.1\r\nHost: a\r\nCookie: ${'c'.repeat(20_000)}\r\n\r\n`, 431],
    ['a very long address', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431],
  ]

  test.each(broken)('(%s) is answered plainly, with an id', async (name, text, status) => {
    const answer = await sendBytes(server.url, Buffer.from(text, 'latin1'))
    expect([answer.status, answer.headers['connection']]).toEqual([status, 'close'])
    // Node itself answers this one.
    if (name === 'no host') return
    expect(answer.headers).toMatchObject({
      'content-type': 'application/json; charset=utf-8',
      'x-content-type-options': 'nosniff',
      'x-request-id': expect.stringMatching(UUID),
    })
    expect(JSON.parse(answer.body)).toMatchObject({
      error: 'invalid_request',
      request_id: answer.headers['x-request-id'],
    })
    expect(linesOf(answer.headers['x-request-id'])).toEqual([
      expect.objectContaining({ event: 'malformed_request', status, address: '127.0.0.1' }),
    ])
  })

  test('leaves nothing of what was sent in the log', async () => {
    const secret = 'Bearer-of-a-secret'
    const text = `GET / HTTP/1.1\r\nAuthorization: ${secret}\r\nX Y: ${secret}\r\n\r\n`
    expect((await sendBytes(server.url, Buffer.from(text))).status).toBe(400)
    expect(server.logged()).not.toContain(secret)
  })

  test('does not end what others are doing', async () => {
    expect((await ask('/livez')).status).toBe(200)
  })
})

describe('the probes', () => {
  test('answer whatever the host', async () => {
    const { status, body } = await ask('/readyz', 'Host: 10.0.0.7:8080')
    expect([status, body]).toEqual([200, '{"status":"ok"}'])
  })

  test('say that the storage is gone, and that it is back', async () => {
    await using own = await startServer()
    using database = new DatabaseSync(path.join(own.folder, 'portreeve.sqlite'), { timeout: 5000 })
    database.exec('alter table schema_migration rename to hidden')
    const gone = await sendRaw(own.url, ['GET /readyz HTTP/1.1'])
    expect([gone.status, gone.body]).toEqual([503, '{"status":"unavailable","database":"failed"}'])
    expect((await sendRaw(own.url, ['GET /livez HTTP/1.1'])).status).toBe(200)
    database.exec('alter table hidden rename to schema_migration')
    expect((await sendRaw(own.url, ['GET /readyz HTTP/1.1'])).status).toBe(200)
  })
})

describe('the public documents', () => {
  const paths = ['/.well-known/openid-configuration', '/.well-known/oauth-authorization-server']

  test.each([...paths, '/jwks'])('%s may be kept, and is not sent twice', async (target) => {
    const first = await ask(target)
    expect(first.status).toBe(200)
    expect(first.headers['cache-control']).toMatch(/^public, max-age=300\b/)
    const etag = first.headers['etag'] ?? ''
    expect(etag).toMatch(/^"[\w-]{27}"$/)
    const again = await ask(target, `If-None-Match: ${etag}`)
    expect([again.status, again.body, again.headers['etag']]).toEqual([304, '', etag])
    expect((await ask(target, 'If-None-Match: "another"')).status).toBe(200)
  })

  function describeEncryption(): Record<string, unknown> {
    const algorithms = expect.not.arrayContaining(['RSA1_5', 'RSA-OAEP', 'dir', 'A128KW'])
    const contents = ['A128CBC-HS256', 'A256CBC-HS512', 'A128GCM', 'A256GCM']
    return Object.fromEntries(
      ['authorization', 'id_token', 'introspection', 'userinfo'].flatMap((kind) => [
        [`${kind}_encryption_alg_values_supported`, algorithms],
        [`${kind}_encryption_enc_values_supported`, contents],
      ]),
    )
  }

  test.each(paths)('%s advertises what is there and nothing else', async (target) => {
    const { body } = await ask(target)
    const { issuer } = server
    expect(JSON.parse(body)).toEqual({
      issuer,
      authorization_endpoint: `${issuer}/auth`,
      acr_values_supported: ['urn:portreeve:acr:password'],
      device_authorization_endpoint: `${issuer}/device_authorization`,
      token_endpoint: `${issuer}/token`,
      userinfo_endpoint: `${issuer}/userinfo`,
      jwks_uri: `${issuer}/jwks`,
      end_session_endpoint: `${issuer}/session/end`,
      backchannel_authentication_endpoint: `${issuer}/backchannel`,
      backchannel_authentication_request_signing_alg_values_supported: expect.not.arrayContaining([
        'none',
        'HS256',
      ]),
      backchannel_token_delivery_modes_supported: ['poll', 'ping'],
      backchannel_user_code_parameter_supported: false,
      pushed_authorization_request_endpoint: `${issuer}/request`,
      introspection_endpoint: `${issuer}/introspect`,
      revocation_endpoint: `${issuer}/revoke`,
      portreeve_revocation_feed: {
        stream_endpoint: `${issuer}/revocations/stream`,
        pages_endpoint: `${issuer}/revocations/pages`,
        poll_endpoint: `${issuer}/revocations/poll`,
        applied_endpoint: `${issuer}/revocations/applied`,
        resource: `${issuer}/revocations`,
        scope: 'revocations:read',
      },
      dpop_signing_alg_values_supported: ['ES256', 'Ed25519', 'EdDSA'],
      authorization_response_iss_parameter_supported: true,
      claims_parameter_supported: true,
      claims_supported: expect.arrayContaining(['sub', 'iss', 'name', 'email', 'groups', 'sid']),
      claim_types_supported: ['normal'],
      code_challenge_methods_supported: ['S256'],
      grant_types_supported: [
        'authorization_code',
        'refresh_token',
        'client_credentials',
        'urn:ietf:params:oauth:grant-type:device_code',
        'urn:openid:params:grant-type:ciba',
        'urn:portreeve:params:oauth:grant-type:api-key',
        'urn:ietf:params:oauth:grant-type:token-exchange',
        'urn:ietf:params:oauth:grant-type:jwt-bearer',
      ],
      backchannel_logout_session_supported: true,
      backchannel_logout_supported: true,
      frontchannel_logout_session_supported: true,
      frontchannel_logout_supported: true,
      introspection_signing_alg_values_supported: ['RS256', 'ES256'],
      ...describeEncryption(),
      request_object_signing_alg_values_supported: expect.not.arrayContaining(['none', 'HS256']),
      request_parameter_supported: true,
      token_endpoint_auth_signing_alg_values_supported: expect.not.arrayContaining(['HS256']),
      id_token_signing_alg_values_supported: expect.arrayContaining(['RS256', 'ES256']),
      request_uri_parameter_supported: false,
      response_modes_supported: [
        'form_post',
        'fragment',
        'query',
        'jwt',
        'query.jwt',
        'fragment.jwt',
        'form_post.jwt',
      ],
      authorization_signing_alg_values_supported: ['ES256', 'RS256'],
      userinfo_signing_alg_values_supported: ['ES256', 'RS256'],
      response_types_supported: ['code'],
      scopes_supported: ['openid', 'profile', 'email', 'groups', 'offline_access'],
      subject_types_supported: ['public', 'pairwise'],
      token_endpoint_auth_methods_supported: [
        'client_secret_basic',
        'client_secret_post',
        'private_key_jwt',
        'none',
      ],
    })
  })

  test('the keys have no private half', async () => {
    const { keys } = JSON.parse((await ask('/jwks')).body) as { keys: Record<string, unknown>[] }
    expect(new Set(keys.map(({ alg }) => alg))).toEqual(new Set(['ES256', 'RS256']))
    for (const key of keys) {
      for (const member of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k'])
        expect(key).not.toHaveProperty(member)
      expect(key).toMatchObject({ kid: expect.any(String), use: 'sig' })
    }
  })
})

describe('a script of another origin', () => {
  const callToken = (origin: string, clientId: string) =>
    sendRaw(
      server.url,
      ['POST /token HTTP/1.1', FORM, `Origin: ${origin}`, 'Content-Length: 200'],
      `grant_type=authorization_code&code=x&code_verifier=${'v'.repeat(43)}&redirect_uri=https://spa.example/&client_id=${clientId}`.padEnd(
        200,
        '&',
      ),
    )

  test('may read the answers to its client', async () => {
    const { status, headers } = await callToken(SPA, 'spa')
    expect(status).toBe(400)
    expect(headers).toMatchObject({
      'access-control-allow-origin': SPA,
      'access-control-expose-headers': expect.stringContaining('WWW-Authenticate'),
      vary: expect.stringContaining('Origin'),
    })
    expect(headers).not.toHaveProperty('access-control-allow-credentials')
  })

  test.each([
    'https://evil.example',
    'https://spa.example.evil.example',
    'null',
    'http://spa.example',
  ])('at %s may not', async (origin) => {
    const { status, headers } = await callToken(origin, 'spa')
    expect(status).toBe(400)
    expect(headers).not.toHaveProperty('access-control-allow-origin')
  })

  test('is told by a preflight what it may send, and never to send cookies', async () => {
    const { status, headers } = await sendRaw(server.url, [
      'OPTIONS /token HTTP/1.1',
      `Origin: ${SPA}`,
      'Access-Control-Request-Method: POST',
      'Access-Control-Request-Headers: content-type',
    ])
    expect(status).toBe(204)
    expect(headers).toMatchObject({
      'access-control-allow-origin': SPA,
      'access-control-allow-methods': 'POST',
      'access-control-allow-headers': 'content-type',
    })
    expect(headers).not.toHaveProperty('access-control-allow-credentials')
  })

  test.each(['/auth', '/session/end', '/interaction/0123456789abcdef0123', '/nothing'])(
    'reads nothing at %s',
    async (target) => {
      const { headers } = await ask(target, `Origin: ${SPA}`)
      expect(headers).not.toHaveProperty('access-control-allow-origin')
    },
  )
})

describe('a method', () => {
  test.each([
    ['POST', '/jwks', 'GET'],
    ['DELETE', '/token', 'POST'],
    ['GET', '/token', 'POST'],
    ['PUT', '/userinfo', 'GET, POST'],
    ['PUT', '/auth', 'GET, POST'],
    ['PUT', '/session/end', 'GET, POST'],
    ['GET', '/session/end/confirm', 'POST'],
    ['PATCH', '/.well-known/openid-configuration', 'GET'],
    ['TRACE', '/jwks', 'GET'],
  ])('%s %s is refused, and the right one named', async (method, target, allow) => {
    const answer = await sendRaw(server.url, [`${method} ${target} HTTP/1.1`])
    expect([answer.status, answer.headers['allow']]).toEqual([405, allow])
    expect(JSON.parse(answer.body)).toMatchObject({ error: 'method_not_allowed' })
  })

  test.each(['/jwks', '/.well-known/openid-configuration', '/livez'])(
    'HEAD %s has the headers of GET and no body',
    async (target) => {
      const get = await ask(target)
      const head = await sendRaw(server.url, [`HEAD ${target} HTTP/1.1`])
      expect([head.status, head.body]).toEqual([200, ''])
      expect(head.headers['content-length']).toBe(get.headers['content-length'])
      expect(head.headers['etag']).toBe(get.headers['etag'])
    },
  )

  test('OPTIONS * is refused', async () => {
    expect((await sendRaw(server.url, ['OPTIONS * HTTP/1.1'])).status).toBe(404)
  })
})

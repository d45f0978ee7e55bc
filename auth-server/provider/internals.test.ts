import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Provider, type KoaContextWithOIDC } from 'oidc-provider'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../clock.ts'
import {
  acceptEmptyBasicPasswords,
  acceptJwtsAtUserinfo,
  assertEngineVersion,
  deriveSuccessors,
  forgetStaleKeys,
  includeSessionIds,
  leavePingsToUs,
  readFormPost,
  readClientKeys,
  readReplacedSession,
  replaceKeyChoice,
  replaceReplayCheck,
  replaceSecretComparison,
} from './internals.ts'

/** The seams of a bare engine, as the installed version has them: each test fails when one is gone. */
function createEngine(): Provider {
  return new Provider('http://127.0.0.1', {
    clients: [
      {
        client_id: 'service',
        client_secret: 'what is kept',
        grant_types: ['client_credentials'],
        response_types: [],
        redirect_uris: [],
      },
    ],
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    cookies: { keys: ['a cookie key'] },
  })
}

async function withServer<T>(engine: Provider, work: (url: string) => Promise<T>): Promise<T> {
  const server = createServer(engine.callback())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    return await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  } finally {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}

function askForToken(url: string, secret: string): Promise<Response> {
  return fetch(`${url}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`service:${secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  })
}

describe('the undocumented seams of the engine', () => {
  test('are those of the version that is installed', () => {
    expect(() => assertEngineVersion()).not.toThrow()
  })

  test('ask about what may be used once, and say of a proof that it was used', async () => {
    const engine = createEngine()
    const seen: unknown[] = []
    replaceReplayCheck(
      engine,
      () => undefined,
      async (...asked) => seen.push(asked) === 1,
    )
    expect(await engine.ReplayDetection.unique('iss', 'jti', 5)).toBe(true)
    await expect(engine.ReplayDetection.unique('iss', 'jti', 5)).rejects.toMatchObject({
      error: 'invalid_dpop_proof',
    })
    expect(seen).toEqual([
      ['iss', 'jti', 5],
      ['iss', 'jti', 5],
    ])
  })

  test('show what a form posts to the client, and the script of its page', async () => {
    const engine = new Provider('http://127.0.0.1', {
      clients: [
        {
          client_id: 'app',
          token_endpoint_auth_method: 'none',
          redirect_uris: ['https://app.example/?a=1&b=2'],
        },
      ],
      features: { devInteractions: { enabled: false } },
      cookies: { keys: ['a cookie key'] },
    })
    const seen: unknown[] = []
    engine.use(async (ctx, next) => {
      await next()
      seen.push(readFormPost(ctx as never))
    })
    const query = new URLSearchParams({
      client_id: 'app',
      response_type: 'code',
      response_mode: 'form_post',
      redirect_uri: 'https://app.example/?a=1&b=2',
      scope: 'openid',
      prompt: 'none',
      state: '"<&>\'',
      code_challenge: 'x'.repeat(43),
      code_challenge_method: 'S256',
    })
    await withServer(engine, async (url) => {
      await (await fetch(`${url}/auth?${query.toString()}`)).text()
    })
    expect(seen).toEqual([
      {
        action: 'https://app.example/?a=1&b=2',
        inputs: {
          error: 'login_required',
          error_description: expect.any(String),
          state: '"<&>\'',
          iss: 'http://127.0.0.1',
        },
        script: expect.stringContaining('document.forms[0].submit()'),
        isRefusal: true,
      },
    ])
  })

  test('empty a client’s keys that are old, and know which are', async () => {
    const engine = new Provider('http://127.0.0.1', {
      clients: [
        {
          client_id: 'signer',
          token_endpoint_auth_method: 'private_key_jwt',
          jwks_uri: 'https://app.example/jwks',
          redirect_uris: ['https://app.example/'],
        },
      ],
    })
    forgetStaleKeys(engine)
    const read = async () => {
      const client = (await engine.Client.find('signer')) as unknown as {
        asymmetricKeyStore: Set<unknown> & { freshUntil: number }
      }
      return client.asymmetricKeyStore
    }
    const keys = await read()
    keys.add({ kty: 'EC', crv: 'P-256', kid: 'a' })
    keys.freshUntil = Math.floor(systemClock.now() / 1000) + 60
    expect([...(await read())]).toHaveLength(1)
    keys.freshUntil = 1
    expect([...(await read())]).toEqual([])
  })

  test('ask one method of a client’s keys which of them to encrypt to, and have all of them', async () => {
    const keys = [{ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', kid: 'one' }]
    const engine = new Provider('http://127.0.0.1', {
      clients: [
        {
          client_id: 'app',
          client_secret: 'what is kept',
          redirect_uris: ['https://app.example/'],
          jwks: { keys },
          id_token_encrypted_response_alg: 'ECDH-ES',
        },
      ],
      features: { encryption: { enabled: true }, devInteractions: { enabled: false } },
    })
    const asked: unknown[] = []
    replaceKeyChoice(engine, (given, algorithm) => {
      asked.push([given, algorithm])
      throw new TypeError('none of them')
    })
    const client = await engine.Client.find('app')
    if (!client) throw new Error('the engine lost its client')
    expect(await readClientKeys(client)).toEqual(keys)
    const token = new engine.IdToken({ sub: 'x' }, { client, ctx: undefined as never })
    await expect(token.issue({ use: 'logout' })).rejects.toThrow('none of them')
    expect(asked).toEqual([[keys, 'ECDH-ES']])
  })

  test('call no client by themselves when a person has decided', async () => {
    const called: string[] = []
    const createPinging = () =>
      new Provider('http://127.0.0.1', {
        clients: [
          {
            client_id: 'desk',
            client_secret: 'a secret',
            grant_types: ['urn:openid:params:grant-type:ciba'],
            response_types: [],
            redirect_uris: [],
            backchannel_token_delivery_mode: 'ping',
            backchannel_client_notification_endpoint: 'https://desk.example/told',
          },
        ],
        features: {
          ciba: {
            enabled: true,
            deliveryModes: ['ping'],
            processLoginHint: () => undefined,
            processLoginHintToken: () => undefined,
            validateRequestContext: () => {},
            verifyUserCode: () => {},
            triggerAuthenticationDevice: () => {},
          },
          devInteractions: { enabled: false },
        },
        async fetch(url) {
          called.push(url instanceof Request ? url.url : new URL(url).href)
          return new Response(null, { status: 204 })
        },
      })
    const decide = async (engine: Provider) => {
      const owners = { accountId: 'acc_a', clientId: 'desk' }
      const request = new engine.BackchannelAuthenticationRequest({
        ...owners,
        params: { client_notification_token: 'token' },
      } as never)
      const id = await request.save()
      const grant = new engine.Grant(owners)
      const grantId = await grant.save()
      await engine.backchannelResult(id, grant, { authTime: 1 })
      expect(await engine.BackchannelAuthenticationRequest.find(id)).toMatchObject({ grantId })
    }
    await decide(createPinging())
    expect(called).toEqual(['https://desk.example/told'])
    const ours = createPinging()
    leavePingsToUs(ours)
    await decide(ours)
    expect(called).toHaveLength(1)
  })

  test('hand every comparison of a secret over', async () => {
    const engine = createEngine()
    const seen: string[] = []
    replaceSecretComparison(engine, async (client, secret) => {
      seen.push(`${client.clientId}: ${secret}`)
      return secret === 'what is sent'
    })
    const statuses = await withServer(engine, async (url) => [
      (await askForToken(url, 'what is sent')).status,
      (await askForToken(url, 'what is kept')).status,
    ])
    expect(statuses).toEqual([200, 401])
    expect(seen).toEqual(['service: what is sent', 'service: what is kept'])
  })

  test('let each client have its session id', async () => {
    const engine = createEngine()
    const client = (await engine.Client.find('service')) as unknown as { includeSid(): boolean }
    expect(client.includeSid()).toBeFalsy()
    includeSessionIds(engine)
    expect(client.includeSid()).toBe(true)
  })

  test('make the id of a refresh token in one method, from the context of its request', () => {
    const engine = createEngine()
    const prototype = engine.RefreshToken.prototype as unknown as { generateTokenId(): string }
    expect(prototype.generateTokenId).toBeTypeOf('function')
    const rotated = { oidc: { entities: { RotatedRefreshToken: { jti: 'first' } } } }
    deriveSuccessors(
      engine,
      () => rotated as never,
      (token) => `after ${token}`,
    )
    expect(prototype.generateTokenId.call({})).toBe('after first')
  })

  test('look tokens for userinfo up through one static method', async () => {
    const engine = createEngine()
    expect(engine.AccessToken.find).toBeTypeOf('function')
    const seen: unknown[] = []
    const context = { oidc: { route: 'userinfo' } }
    acceptJwtsAtUserinfo(
      engine,
      () => context as never,
      async (token) => {
        seen.push(token)
        return undefined
      },
    )
    const statuses = await withServer(engine, async (url) => {
      const ask = (token: string) =>
        fetch(`${url}/me`, { headers: { authorization: `Bearer ${token}` } })
      return [(await ask('a.b.c')).status, (await ask('opaque')).status]
    })
    expect(statuses).toEqual([401, 401])
    expect(seen).toEqual(['a.b.c'])
  })

  test('keep the id of a session that got another', async () => {
    const session = new (createEngine().Session)() as never as {
      id: string
      oldId?: string
      resetIdentifier(): void
    }
    const before = session.id
    session.resetIdentifier()
    const at = (route: string) => readReplacedSession({ oidc: { route, session } } as never)
    expect([session.id === before, at('resume'), at('authorization')]).toEqual([
      false,
      before,
      undefined,
    ])
  })

  test('assign the parsed body to the context, where a client id can be added', async () => {
    const engine = createEngine()
    acceptEmptyBasicPasswords(engine)
    const bodies: unknown[] = []
    engine.use(async (ctx, next) => {
      ctx.state['emptyBasicClientId'] = 'service'
      await next()
      bodies.push((ctx as KoaContextWithOIDC).oidc.body)
    })
    await withServer(engine, (url) =>
      fetch(`${url}/token`, {
        method: 'POST',
        body: new URLSearchParams({ grant_type: 'client_credentials' }),
      }),
    )
    expect(bodies).toEqual([{ client_id: 'service', grant_type: 'client_credentials' }])
  })
})

import { randomUUID } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import * as oauth from 'oauth4webapi'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createApiKeyId, generateApiKey, hashApiKey } from '../../auth-server/api-keys/api-key.ts'
import { systemClock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createBrowser } from '../support/browser.ts'
import { approve } from '../support/device.ts'
import { withClients } from '../support/endpoints.ts'
import { signIn } from '../support/flow.ts'
import {
  BILLING,
  NOTES,
  REDIRECT,
  SERVICE_SECRET,
  startServer,
  WEB_SECRET,
  type TestServer,
} from '../support/server.ts'

/* A client by other hands, which checks more of every answer than most do. */

const insecure = { [oauth.allowInsecureRequests]: true } as const
const web: oauth.Client = { client_id: 'web' }
const api: oauth.Client = { client_id: 'api' }
const webAuth = oauth.ClientSecretBasic(WEB_SECRET)
const apiAuth = oauth.ClientSecretBasic(SERVICE_SECRET)

const IDP = 'https://idp.example/'
const signer = await generateKeyPair('ES256')
const signerKeys = { keys: [{ ...(await exportJWK(signer.publicKey)), alg: 'ES256' }] }

function change(config: ConfigInput): ConfigInput {
  const described = withClients(
    {
      id: 'api',
      grants: ['client_credentials', 'token_exchange', 'api_key'],
      secret: { env: 'SERVICE_SECRET' },
      scopes: ['notes:read'],
      introspects: [NOTES],
      exchange: [{ resource: BILLING, subjects: ['person'], from: [NOTES], mode: ['delegation'] }],
    },
    { id: 'web', grants: ['authorization_code', 'refresh_token', 'device_code'] },
    {
      id: 'signer',
      grants: ['jwt_bearer'],
      authMethod: 'private_key_jwt',
      jwks: signerKeys,
      scopes: ['notes:read'],
      defaultResource: NOTES,
      assertionIssuers: [IDP],
    },
  )(config)
  return {
    ...described,
    // The key of the client is that of the issuer here: nothing depends on them being two.
    trustedIssuers: [{ issuer: IDP, jwks: signerKeys, scopes: ['notes:read'] }],
    resources: described.resources?.map((resource) => ({
      ...resource,
      scopes: { ...resource.scopes, 'notes:read': { description: 'Read your notes' } },
    })),
  }
}

let server: TestServer
let as: oauth.AuthorizationServer
beforeAll(async () => {
  server = await startServer(change)
  const issuer = new URL(server.issuer)
  const found = await oauth.discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' })
  as = await oauth.processDiscoveryResponse(issuer, found)
})
afterAll(() => server[Symbol.asyncDispose]())

/** Again with the nonce that the server has asked for, if it has. */
async function withNonce<T>(work: () => Promise<T>): Promise<T> {
  return work().catch((error: unknown) => {
    if (oauth.isDPoPNonceError(error)) return work()
    throw error
  })
}

/** By PAR and PKCE, and DPoP where there is a key, for the notes. */
async function obtain(DPoP?: oauth.DPoPHandle) {
  const options = { ...insecure, ...(DPoP ? { DPoP } : {}) }
  const verifier = oauth.generateRandomCodeVerifier()
  const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()]
  const request = new URLSearchParams({
    response_type: 'code',
    redirect_uri: REDIRECT,
    scope: 'openid notes:read',
    resource: NOTES,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
  })
  const pushed = await withNonce(async () => {
    const answer = await oauth.pushedAuthorizationRequest(as, web, webAuth, request, options)
    return oauth.processPushedAuthorizationResponse(as, web, answer)
  })
  const url = new URL(as.authorization_endpoint ?? '')
  url.searchParams.set('client_id', web.client_id)
  url.searchParams.set('request_uri', pushed.request_uri)
  const browser = createBrowser(server.issuer)
  const page = await signIn(browser, await browser.get(url.href))
  const { location } = await browser.submit(page, '/consent')
  const answer = oauth.validateAuthResponse(as, web, new URL(location ?? ''), state)
  return withNonce(async () =>
    oauth.processAuthorizationCodeResponse(
      as,
      web,
      await oauth.authorizationCodeGrantRequest(
        as,
        web,
        webAuth,
        answer,
        REDIRECT,
        verifier,
        options,
      ),
      { expectedNonce: nonce, requireIdToken: true },
    ),
  )
}

const createHandle = async (client: oauth.Client) =>
  oauth.DPoP(client, await oauth.generateKeyPair('ES256'))

async function ask(client: oauth.Client, auth: oauth.ClientAuth, token: string) {
  const answer = await oauth.introspectionRequest(as, client, auth, token, insecure)
  return oauth.processIntrospectionResponse(as, client, answer)
}

test('obtains tokens by PAR, PKCE and DPoP, refreshes, asks and revokes', async () => {
  const DPoP = await createHandle(web)
  const tokens = await obtain(DPoP)
  expect(tokens).toMatchObject({ token_type: 'dpop', scope: 'notes:read' })
  const thumbprint = await DPoP.calculateThumbprint()
  expect(await ask(web, webAuth, tokens.access_token)).toMatchObject({
    active: true,
    cnf: { jkt: thumbprint },
  })
  const refreshed = await withNonce(async () =>
    oauth.processRefreshTokenResponse(
      as,
      web,
      await oauth.refreshTokenGrantRequest(as, web, webAuth, tokens.refresh_token ?? '', {
        ...insecure,
        DPoP,
      }),
    ),
  )
  expect(refreshed.token_type).toBe('dpop')
  const token = refreshed.refresh_token ?? ''
  await oauth.processRevocationResponse(
    await oauth.revocationRequest(as, web, webAuth, token, insecure),
  )
  expect(await ask(web, webAuth, refreshed.access_token)).toEqual({ active: false })
})

test('obtains a token for itself', async () => {
  const DPoP = await createHandle(api)
  const parameters = new URLSearchParams({ scope: 'notes:read', resource: NOTES })
  const answer = await withNonce(async () =>
    oauth.processClientCredentialsResponse(
      as,
      api,
      await oauth.clientCredentialsGrantRequest(as, api, apiAuth, parameters, {
        ...insecure,
        DPoP,
      }),
    ),
  )
  expect(answer).toMatchObject({ token_type: 'dpop', scope: 'notes:read' })
})

test("exchanges a person's token, which it is the API for", async () => {
  const exchange = async (token: string) => {
    const type = 'urn:ietf:params:oauth:grant-type:token-exchange'
    const form = new URLSearchParams({
      subject_token: token,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      resource: BILLING,
    })
    const answer = await oauth.genericTokenEndpointRequest(as, api, apiAuth, type, form, insecure)
    return oauth.processGenericTokenEndpointResponse(as, api, answer)
  }
  const { access_token } = await obtain()
  const exchanged = await exchange(access_token)
  expect(exchanged).toMatchObject({ token_type: 'bearer', scope: 'notes:read' })
  expect(await ask(api, apiAuth, exchanged.access_token)).toMatchObject({
    active: true,
    aud: BILLING,
    act: { sub: 'api' },
  })
  // Bound to the key of the web client, it is of no use to anybody else.
  const bound = await obtain(await createHandle(web))
  await expect(exchange(bound.access_token)).rejects.toMatchObject({ error: 'invalid_request' })
})

async function makeApiKey(): Promise<string> {
  await using stores = await openStores(`sqlite:${server.folder}/portreeve.sqlite`, systemClock)
  const alice = await stores.accounts.findByUsername('alice')
  const text = generateApiKey()
  const key = {
    id: createApiKeyId(),
    accountId: alice?.id ?? '',
    name: 'A test',
    resource: NOTES,
    scopes: ['notes:read'],
    hash: hashApiKey(text),
    createdAt: systemClock.now(),
    expiresAt: undefined,
    lastUsedAt: undefined,
    revokedAt: undefined,
  }
  expect(await stores.apiKeys.insert(key, 50)).toBe('added')
  return text
}

function sayAboutAlice(): Promise<string> {
  return new SignJWT({ client_id: 'signer' })
    .setProtectedHeader({ alg: 'ES256', typ: 'oauth-id-jag+jwt' })
    .setIssuer(IDP)
    .setSubject('alice')
    .setAudience(server.issuer)
    .setJti(randomUUID())
    .setIssuedAt()
    .setExpirationTime('60s')
    .sign(signer.privateKey)
}

test('connects a device, which asks until its person has said yes', async () => {
  const parameters = new URLSearchParams({ scope: 'openid notes:read', resource: NOTES })
  const asked = await oauth.processDeviceAuthorizationResponse(
    as,
    web,
    await oauth.deviceAuthorizationRequest(as, web, webAuth, parameters, insecure),
  )
  const poll = async () =>
    oauth.processDeviceCodeResponse(
      as,
      web,
      await oauth.deviceCodeGrantRequest(as, web, webAuth, asked.device_code, insecure),
    )
  await expect(poll()).rejects.toMatchObject({ error: 'authorization_pending' })
  await approve(server, asked.user_code)
  expect(await poll()).toMatchObject({ token_type: 'bearer', scope: 'notes:read' })
  await expect(poll()).rejects.toMatchObject({ error: 'invalid_grant' })
})

test('gets a token for an API key', async () => {
  const type = 'urn:portreeve:params:oauth:grant-type:api-key'
  const redeem = async (key: string) => {
    const form = new URLSearchParams({ api_key: key })
    const answer = await oauth.genericTokenEndpointRequest(as, api, apiAuth, type, form, insecure)
    return oauth.processGenericTokenEndpointResponse(as, api, answer)
  }
  const key = await makeApiKey()
  const { access_token } = await redeem(key)
  expect(await ask(api, apiAuth, access_token)).toMatchObject({ active: true, scope: 'notes:read' })
  await expect(redeem(`${key}x`)).rejects.toMatchObject({ error: 'invalid_grant' })
})

test('proves itself by a signature, and gets a token for what a trusted issuer says', async () => {
  const auth = oauth.PrivateKeyJwt(signer.privateKey)
  const type = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
  const redeem = async (assertion: string, by = auth) => {
    const form = new URLSearchParams({ assertion })
    const client = { client_id: 'signer' }
    const answer = await oauth.genericTokenEndpointRequest(as, client, by, type, form, insecure)
    return oauth.processGenericTokenEndpointResponse(as, client, answer)
  }
  const assertion = await sayAboutAlice()
  const stranger = await oauth.generateKeyPair('ES256')
  const byStranger = oauth.PrivateKeyJwt(stranger.privateKey)
  await expect(redeem(assertion, byStranger)).rejects.toMatchObject({ error: 'invalid_client' })
  expect(await redeem(assertion)).toMatchObject({ token_type: 'bearer', scope: 'notes:read' })
  await expect(redeem(assertion)).rejects.toMatchObject({ error: 'invalid_grant' })
})

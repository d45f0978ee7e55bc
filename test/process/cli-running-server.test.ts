import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser, type Browser } from '../support/browser.ts'
import { nextSecond } from '../support/clock.ts'
import { authorizationUrl, basic, decodeJwt, makePkce, requestToken } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import {
  runProgram,
  startServerProcess,
  writeConfig,
  type ServerProcess,
} from '../support/process.ts'

const PASSWORD = 'a password of some length'
const CALLBACK = 'https://shop.example/callback'

const folder = makeFolder()
let server: ServerProcess
let secret: string

beforeAll(async () => {
  server = await startServerProcess(writeConfig(folder.path), { folder: folder.path })
  secret = await addClient('shop')
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

/** Runs a command beside the running server, and answers its JSON. */
async function run(args: string, input?: string): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await runProgram([...args.split(' '), '--json'], {
    folder: folder.path,
    input,
  })
  if (code !== 0) throw new Error(`${args}: ${stderr}`)
  return JSON.parse(stdout) as Record<string, unknown>
}

const addUser = (name: string) => run(`users add ${name} --role editor --password-stdin`, PASSWORD)

async function addClient(id: string): Promise<string> {
  const scopes = '--scope openid --scope notes:read --scope notes:write'
  const added = await run(`clients add ${id} --first-party --redirect-uri ${CALLBACK} ${scopes}`)
  return String(added['secret'])
}

async function signIn(username: string, client = 'shop') {
  const browser = createBrowser(server.issuer)
  const { verifier, challenge } = makePkce()
  const url = authorizationUrl(server.issuer, challenge, {
    client_id: client,
    redirect_uri: CALLBACK,
    scope: 'openid notes:read notes:write',
  })
  const page = await browser.get(url)
  const answer = await browser.submit(page, '/sign-in', { username, password: PASSWORD })
  const code = new URL(answer.location ?? CALLBACK).searchParams.get('code') ?? ''
  return { browser, verifier, code, status: answer.status, text: answer.text, url }
}

async function obtainTokens(username: string, client = 'shop', clientSecret = secret) {
  const { browser, verifier, code, url } = await signIn(username, client)
  const { body } = await requestToken(
    server.issuer,
    { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: CALLBACK },
    { authorization: basic(client, clientSecret) },
  )
  return { ...body, browser, url }
}

const refresh = (token: string, client = 'shop', clientSecret = secret) =>
  requestToken(
    server.issuer,
    { grant_type: 'refresh_token', refresh_token: token },
    { authorization: basic(client, clientSecret) },
  )

/** Whether the browser comes back from the server without being asked anything. */
async function isSignedOn(browser: Browser, url: string): Promise<boolean> {
  const { location } = await browser.get(url)
  return new URL(location ?? CALLBACK).searchParams.has('code')
}

/** Every command is a process of its own. */
const PATIENCE = { timeout: 120_000 }

describe('a running server notices at once that', PATIENCE, () => {
  test('a client was disabled, and begins anew when it is enabled', async () => {
    await addUser('lou')
    const own = await addClient('kiosk')
    const { access_token, refresh_token } = await obtainTokens('lou', 'kiosk', own)
    const askUserinfo = async () => {
      const headers = { authorization: `Bearer ${access_token}` }
      return (await fetch(`${server.issuer}/userinfo`, { headers })).status
    }
    expect(await askUserinfo()).toBe(200)
    await run('clients disable kiosk')
    expect(await askUserinfo()).toBe(401)
    expect(await refresh(refresh_token, 'kiosk', own)).toMatchObject({
      status: 401,
      body: { error: 'invalid_client' },
    })
    await run('clients enable kiosk')
    expect(await askUserinfo()).toBe(401)
    expect(await refresh(refresh_token, 'kiosk', own)).toMatchObject({
      status: 400,
      body: { error: 'invalid_grant' },
    })
    await nextSecond()
    const again = await obtainTokens('lou', 'kiosk', own)
    expect((await refresh(again.refresh_token, 'kiosk', own)).status).toBe(200)
  })

  test('an API key was made, revoked, or has lost its owner', async () => {
    await addUser('kim')
    const added = await run('clients add backup --grant api_key --scope notes:read')
    const redeem = async (key: unknown) => {
      const { status, body } = await requestToken(
        server.issuer,
        { grant_type: 'urn:portreeve:params:oauth:grant-type:api-key', api_key: String(key) },
        { authorization: basic('backup', String(added['secret'])) },
      )
      return [status, body.scope ?? body.error_description]
    }
    const make = () => run('api-keys add kim --name Backup --scope notes:read')
    const [one, two] = [await make(), await make()]
    expect([await redeem(one['key']), await redeem(two['key'])]).toEqual([
      [200, 'notes:read'],
      [200, 'notes:read'],
    ])
    const { id } = one['apiKey'] as { id: string }
    await run(`api-keys revoke ${id}`)
    expect(await redeem(one['key'])).toEqual([400, 'the API key was revoked'])
    expect(await redeem(two['key'])).toEqual([200, 'notes:read'])
    await run('users disable kim')
    await run('users enable kim')
    expect(await redeem(two['key'])).toEqual([400, 'the API key was revoked'])
  })

  test('a user was added', async () => {
    expect((await signIn('dora')).code).toBe('')
    await addUser('dora')
    const { access_token } = await obtainTokens('dora')
    expect(decodeJwt(access_token).claims).toMatchObject({ scope: 'openid notes:read notes:write' })
  })

  test('a user was disabled, and enabled again', async () => {
    await addUser('erna')
    const { refresh_token, browser, url } = await obtainTokens('erna')
    expect(await isSignedOn(browser, url)).toBe(true)
    await run('users disable erna')
    const refused = await refresh(refresh_token)
    expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
    expect(await isSignedOn(browser, url)).toBe(false)
    expect((await signIn('erna')).code).toBe('')
    await run('users enable erna')
    expect((await signIn('erna')).code).not.toBe('')
  })

  test('a user was removed', async () => {
    await addUser('fritz')
    const { refresh_token, browser, url } = await obtainTokens('fritz')
    await run('users remove fritz')
    expect((await refresh(refresh_token)).body.error).toBe('invalid_grant')
    expect(await isSignedOn(browser, url)).toBe(false)
    await addUser('fritz')
    expect((await refresh(refresh_token)).body.error).toBe('invalid_grant')
  })

  test('a role was taken away: the next token is smaller', async () => {
    await addUser('gerd')
    const { refresh_token } = await obtainTokens('gerd')
    await run('users set-roles gerd reader')
    await nextSecond()
    const { body } = await refresh(refresh_token)
    expect(decodeJwt(body.access_token).claims).toMatchObject({
      scope: 'openid notes:read',
      roles: ['reader'],
    })
    await run('users set-roles gerd --none')
    expect((await refresh(body.refresh_token)).status).toBe(400)
  })

  test('a password was changed: the old one and what it began is refused', async () => {
    await addUser('hans')
    const { refresh_token, browser, url } = await obtainTokens('hans')
    await run('users set-password hans --password-stdin', 'quite another password')
    expect((await signIn('hans')).code).toBe('')
    expect((await refresh(refresh_token)).body.error).toBe('invalid_grant')
    expect(await isSignedOn(browser, url)).toBe(false)
  })

  test('a secret was rotated: the old one is refused, and the tokens live on', async () => {
    const first = await addClient('rotating')
    await addUser('ida')
    const { refresh_token } = await obtainTokens('ida', 'rotating', first)
    const { body } = await refresh(refresh_token, 'rotating', first)
    const rotated = String((await run('clients rotate-secret rotating'))['secret'])
    const refused = await refresh(body.refresh_token, 'rotating', first)
    expect([refused.status, refused.body.error]).toEqual([401, 'invalid_client'])
    expect((await refresh(body.refresh_token, 'rotating', rotated)).status).toBe(200)
  })

  test('a secret was rotated because others had it: the tokens end with it', async () => {
    const first = await addClient('leaked')
    await addUser('ina')
    const { refresh_token } = await obtainTokens('ina', 'leaked', first)
    const rotated = String((await run('clients rotate-secret leaked --revoke'))['secret'])
    const refused = await refresh(refresh_token, 'leaked', rotated)
    expect([refused.status, refused.body.error]).toEqual([400, 'invalid_grant'])
  })

  test('a client was removed: its tokens end, and a new one of its name has none of them', async () => {
    const first = await addClient('passing')
    await addUser('jan')
    const { refresh_token, browser } = await obtainTokens('jan', 'passing', first)
    await run('clients remove passing')
    const refused = await refresh(refresh_token, 'passing', first)
    expect([refused.status, refused.body.error]).toEqual([401, 'invalid_client'])
    const request = { client_id: 'passing', redirect_uri: CALLBACK }
    const page = await browser.get(authorizationUrl(server.issuer, makePkce().challenge, request))
    expect(page.status).toBe(400)
    const second = await addClient('passing')
    expect((await refresh(refresh_token, 'passing', second)).body.error).toBe('invalid_grant')
  })

  test('and its keys are listed without their private half', async () => {
    const { keys } = (await run('keys list')) as { keys: object[] }
    expect(keys).toEqual(
      expect.arrayContaining(
        ['ES256', 'RS256'].map((algorithm) => ({
          kid: expect.any(String),
          algorithm,
          phase: 'active',
          announcedAt: expect.any(String),
          activeAt: expect.any(String),
        })),
      ),
    )
    const jwks = (await (await fetch(`${server.issuer}/jwks`)).json()) as {
      keys: { kid: string }[]
    }
    expect(new Set((keys as { kid: string }[]).map(({ kid }) => kid))).toEqual(
      new Set(jwks.keys.map(({ kid }) => kid)),
    )
  })
})

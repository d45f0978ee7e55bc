import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ask, CIBA_GRANT, openRequests, pollRequest, withDesks } from '../support/ciba.ts'
import { decodeJwt } from '../support/flow.ts'
import { startServer, type TestServer } from '../support/server.ts'

let running: TestServer | undefined

/** For tests that leave no trace but requests of their own. */
function shared(): TestServer {
  if (!running) throw new Error('the shared server is there inside of tests only')
  return running
}

beforeAll(async () => {
  running = await startServer(withDesks)
})

afterAll(async () => {
  await running?.[Symbol.asyncDispose]()
})

test('§4 the metadata says where, how, and that there are no user codes', async () => {
  const { issuer } = shared()
  for (const name of ['openid-configuration', 'oauth-authorization-server']) {
    const metadata = await (await fetch(`${issuer}/.well-known/${name}`)).json()
    expect(metadata).toMatchObject({
      backchannel_authentication_endpoint: `${issuer}/backchannel`,
      backchannel_token_delivery_modes_supported: ['poll', 'ping'],
      backchannel_user_code_parameter_supported: false,
      grant_types_supported: expect.arrayContaining([CIBA_GRANT]) as unknown,
    })
  }
})

describe('a person who is asked', () => {
  test('sees who asks for what, approves, and the client has its tokens', async () => {
    await using server = await startServer(withDesks)
    const scope = 'openid notes:read notes:write'
    const { status, body } = await ask(server.issuer, { scope, binding_message: 'W4SCT' })
    expect([status, body]).toEqual([
      200,
      { auth_req_id: expect.stringMatching(/^[\w-]{43}$/), expires_in: 600, interval: 5 },
    ])
    const waiting = await pollRequest(server.issuer, body.auth_req_id)
    expect([waiting.status, waiting.body.error]).toEqual([400, 'authorization_pending'])
    const { browser, page } = await openRequests(server)
    for (const text of ['The Service Desk', 'W4SCT', 'Change your notes']) {
      expect(page.text).toContain(text)
    }
    const end = await browser.submit(page, '/approve')
    expect([end.status, end.text]).toEqual([200, expect.stringContaining('You have approved')])
    const tokens = await pollRequest(server.issuer, body.auth_req_id)
    expect([tokens.status, tokens.body.scope]).toEqual([200, scope])
    const { claims } = decodeJwt(tokens.body.id_token)
    expect(claims).toMatchObject({ aud: 'desk', amr: ['pwd'], auth_time: expect.any(Number) })
  })
})

import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRevocationFeed } from '../../resource-server/index.ts'
import { systemClock } from '../../resource-server/clock.ts'
import { LISTENER_SECRET, withListener } from '../support/feed.ts'
import { authorizationUrl, makePkce, requestToken } from '../support/flow.ts'
import { startApi } from '../support/protected-api.ts'
import { BASE_CONFIG, NOTES, PASSWORDS, REDIRECT, startServer } from '../support/server.ts'
import { fillSignIn, launchChromium } from './world.ts'

const NAME = BASE_CONFIG.clients?.find(({ id }) => id === 'web')?.name ?? ''

let chromium: Browser
beforeAll(async () => {
  chromium = await launchChromium()
})
afterAll(async () => {
  await chromium.close()
})

describe('a consent withdrawn in a real browser', () => {
  test('makes the next API call with the old token fail, and the offline refresh', async () => {
    await using server = await startServer(
      (config) => withListener(config),
      {},
      { LISTENER_SECRET },
    )
    const { issuer } = server
    await using feed = createRevocationFeed({
      issuer,
      clientId: 'api',
      clientSecret: LISTENER_SECRET,
    })
    await feed.whenFresh()
    const verifier = { issuer, audience: NOTES, revocations: feed, clock: systemClock }
    await using api = await startApi(verifier, { scope: 'notes:read', whenStale: 'closed' })

    const context = await chromium.newContext({ javaScriptEnabled: false })
    const page = await context.newPage()
    const { verifier: code_verifier, challenge } = makePkce()
    const scope = 'openid offline_access notes:read'
    await page.route(`${REDIRECT}**`, (route) => route.fulfill({ body: 'the client' }))
    await page.goto(authorizationUrl(issuer, challenge, { scope, prompt: 'consent' }))
    await fillSignIn(page, 'alice', PASSWORDS.alice)
    await page.getByRole('button', { name: 'Allow' }).click()
    await page.waitForURL(`${REDIRECT}**`)
    const code = new URL(page.url()).searchParams.get('code') ?? ''
    const { body } = await requestToken(issuer, {
      grant_type: 'authorization_code',
      code,
      code_verifier,
      redirect_uri: REDIRECT,
    })
    expect(await api.status(body.access_token)).toBe(200)

    await page.goto(`${issuer}/account`)
    await page.getByRole('heading', { name: NAME }).waitFor()
    await page.getByText('Keeps its access when you sign out').waitFor()
    const learned = new Promise<number>((resolve) => {
      const unsubscribe = feed.subscribe(() => {
        unsubscribe()
        resolve(performance.now())
      })
    })
    await page.getByRole('button', { name: `Remove access of ${NAME}` }).click()
    await page.getByText('No app may do anything for you.').waitFor()
    const clicked = performance.now()
    const heardAt = await learned
    expect(await api.status(body.access_token)).toBe(401)
    expect(api.refusals).toEqual([{ kind: 'revoked' }])
    expect(heardAt - clicked).toBeLessThan(1000)

    const again = await requestToken(issuer, {
      grant_type: 'refresh_token',
      refresh_token: body.refresh_token,
    })
    expect([again.status, again.body.error]).toEqual([400, 'invalid_grant'])
    await context.close()
  })
})

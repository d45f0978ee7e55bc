import { AuthorizationResponseError, buildEndSessionUrl, randomState } from 'openid-client'
import { hasForm } from '../../browser.ts'
import type { Step } from '../../flow.ts'
import { checkRefreshRefused, redeem } from '../../oauth.ts'
import { askAgain, receiveAnswerOf } from './authorize.ts'
import type { CodeStage } from './stage.ts'

type CodeStep = Step<CodeStage>

export const comeAgain: CodeStep = {
  title: 'Alice comes again, and is still signed in',
  why:
    'The family ended, her session did not: no password. She is asked for consent, because any ' +
    'program on her machine could pose as a client that listens on loopback.',
  async run(stage, { check }) {
    const { request, answer, asked } = await askAgain(stage)
    if (!stage.openBrowser) check('she is asked for', 'consent', asked.join(', '))
    stage.tokens.alice.set(await redeem(stage.client.get(), request, answer))
  },
}

export const signOut: CodeStep = {
  title: 'Alice signs out, at the server',
  why:
    'The client sends her browser with her ID token as a hint; she confirms, so that no link can ' +
    'sign her out; then she is back at the client.',
  async run(stage, { check }) {
    const state = randomState()
    const url = buildEndSessionUrl(stage.client.get(), {
      id_token_hint: stage.tokens.alice.get().id,
      post_logout_redirect_uri: stage.world.callback.signedOutUri,
      state,
    })
    if (stage.openBrowser) {
      await stage.openBrowser(url.href, 'Confirm that you sign out.')
    } else {
      const { alice } = stage.browsers
      const page = await alice.get(url.href)
      check('the page asks whether she means it', true, hasForm(page, '/session/end/confirm'))
      await alice.submit(page, '/session/end/confirm', { logout: 'yes' })
    }
    const answer = await receiveAnswerOf(stage)
    check('she is back at', '/signed-out', answer.pathname)
    check('state', state, answer.searchParams.get('state'))
  },
}

export const afterSignOut: CodeStep = {
  title: 'No token comes from that session any more',
  why: 'Its refresh token is dead, and her browser is nobody’s: without a page, no sign-in.',
  async run(stage, notes) {
    const client = stage.client.get()
    await checkRefreshRefused(notes, client, stage.tokens.alice.get(), 'its refresh token')
    const { request, answer } = await askAgain(stage, { prompt: 'none' })
    const refusal = await redeem(client, request, answer).catch((error: unknown) => error)
    const isRefusal = refusal instanceof AuthorizationResponseError
    notes.check('no page: error', 'login_required', isRefusal ? refusal.error : String(refusal))
  },
}

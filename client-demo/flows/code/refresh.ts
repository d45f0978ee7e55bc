import type { Step } from '../../flow.ts'
import { checkRefreshRefused, refresh } from '../../oauth.ts'
import type { CodeStage } from './stage.ts'

type CodeStep = Step<CodeStage>

export const refreshOnce: CodeStep = {
  title: 'The client refreshes',
  why: 'A new access token without bothering Alice, and a new refresh token: each is used once.',
  async run(stage, { check }) {
    const before = stage.tokens.alice.get()
    const after = await refresh(stage.client.get(), before)
    check('the refresh token is another one', true, after.refresh !== before.refresh)
    check('the access token is another one', true, after.access !== before.access)
    stage.refreshed.set(after)
  },
}

export const retryRefresh: CodeStep = {
  title: 'It did not hear the answer, and tries again with the old token',
  why:
    'A lost answer, or a second tab, is no theft: within 30 seconds the same client gets the same ' +
    'successor once more.',
  async run(stage, { check }) {
    const again = await refresh(stage.client.get(), stage.tokens.alice.get())
    const isSame = again.refresh === stage.refreshed.get().refresh
    check('the refresh token is the same successor', true, isSame)
  },
}

export const reuseRefresh: CodeStep = {
  title: 'The successor is used, and then somebody comes with the old token',
  why:
    'Two hold tokens of one family, all that descend from one sign-in, and one of them is a thief; ' +
    'nobody can tell which. So the family ends: the newest token, good until now, is dead too.',
  async run(stage, notes) {
    const newest = await refresh(stage.client.get(), stage.refreshed.get())
    const client = stage.client.get()
    await checkRefreshRefused(notes, client, stage.tokens.alice.get(), 'the old token')
    await checkRefreshRefused(notes, client, newest, 'the newest')
  },
}

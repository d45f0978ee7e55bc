import { Router } from '@koa/router'
import type { Context } from 'koa'
import type { Access } from './access.ts'
import { explainRefusal, pathOfNote, readNote, readNotes, type ApiAnswer } from './api.ts'
import type { Bindings } from './bindings.ts'
import type { Clock } from './clock.ts'
import { readField, seeOther } from './guard.ts'
import type { Issuer } from './issuer.ts'
import { Problem } from './problem.ts'
import type { Recorder } from './recorder.ts'
import { makeId, type Session, type Sessions } from './sessions.ts'
import { describeToken, showSpan, showTime } from './token-words.ts'
import type { Visitors } from './visitors.ts'

const MAX_NOTES_SHOWN = 100

export interface Collaborators {
  readonly clock: Clock
  readonly issuer: Issuer
  readonly access: Access
  readonly sessions: Sessions
  readonly visitors: Visitors
  readonly recorder: Recorder
  readonly bindings: Bindings
  readonly publicUrl: string
  readonly render: (ctx: Context, status: number, view: string, data: object) => void
}

/** Signing in and out. */
export function createSignInRoutes(collaborators: Collaborators): Router {
  const { issuer, sessions, visitors, bindings, publicUrl } = collaborators
  const router = new Router()

  router.post('/sign-in', async (ctx) => {
    const { id } = visitors.of(ctx)
    const state = bindings.makeState('sign-in', id)
    seeOther(ctx, await issuer.startSignIn({ state, ...bindings.deriveSecrets(state, id) }))
  })

  router.get('/callback', async (ctx) => {
    const { id } = visitors.of(ctx)
    const { state } = ctx.query
    if (typeof state !== 'string' || !bindings.isState(state, 'sign-in', id)) {
      const text = 'It was not begun in this browser, or it is finished already. Begin again.'
      throw new Problem(400, 'This sign-in cannot be finished', text)
    }
    const url = new URL(`${publicUrl}/callback${ctx.search}`)
    const secrets = bindings.deriveSecrets(state, id)
    const signedIn = await issuer.finishSignIn(url, { state, ...secrets })
    visitors.become(ctx, sessions.begin(signedIn))
    seeOther(ctx, '/')
  })

  router.post('/sign-out', async (ctx) => {
    visitors.become(ctx, makeId())
    const state = bindings.makeState('sign-out', visitors.of(ctx).id)
    seeOther(ctx, await issuer.startSignOut(state))
  })

  return router
}

/** The notes, and what the access token says. */
export function createNoteRoutes(collaborators: Collaborators): Router {
  const { clock, access, visitors, recorder, bindings, render } = collaborators
  const router = new Router()

  const requireSession = (ctx: Context): Session => {
    const { session, signedOut } = visitors.of(ctx)
    if (session) return session
    if (signedOut)
      throw new Problem(
        401,
        'Your sign-in here is over',
        'The authorization server has ended it. Sign in to go on.',
      )
    throw new Problem(401, 'You are not signed in', 'Or no longer. Sign in to go on.')
  }

  const showNotes = async (ctx: Context, session: Session, outcome?: ApiAnswer) => {
    const list = await access.ask(session, 'GET', '/notes')
    const trouble = [outcome, list].find((answer) => answer && answer.status >= 400)
    const { accessToken, expiresAt } = session.tokens
    const notes = readNotes(list.body)
    const status = trouble?.status ?? 200
    // The page draws its own answer too.
    ctx.status = status
    render(ctx, status, 'notes', {
      notes: notes.slice(0, MAX_NOTES_SHOWN),
      hidden: Math.max(0, notes.length - MAX_NOTES_SHOWN),
      draft: readField(ctx, 'text') ?? '',
      opened: outcome?.status === 200 ? readNote(outcome.body) : undefined,
      refusal: trouble && { ...trouble, meaning: explainRefusal(trouble) },
      token: describeToken(accessToken),
      arrows: recorder.listUntilNow(ctx),
      expiry: { at: showTime(expiresAt), in: showSpan(expiresAt - clock.now()) },
    })
  }

  const change = async (ctx: Context, method: string, path: string, body?: object) => {
    const session = requireSession(ctx)
    const answer = await access.ask(session, method, path, body)
    if (answer.status >= 400) await showNotes(ctx, session, answer)
    else seeOther(ctx, '/')
  }

  router.get('/', async (ctx) => {
    const { id, session, signedOut } = visitors.of(ctx)
    if (session) return showNotes(ctx, session)
    const { state } = ctx.query
    const hasLeft = typeof state === 'string' && bindings.isState(state, 'sign-out', id)
    render(ctx, 200, 'welcome', { hasLeft, isSignedOut: signedOut !== undefined })
  })

  // Browsers write a line break as CRLF, which the limit on characters did not count.
  router.post('/notes', (ctx) => {
    const text = readField(ctx, 'text')?.replaceAll('\r\n', '\n')
    return change(ctx, 'POST', '/notes', { text })
  })

  router.post('/notes/delete', (ctx) => change(ctx, 'DELETE', pathOfNote(readField(ctx, 'id'))))

  router.post('/notes/open', async (ctx) => {
    const session = requireSession(ctx)
    const path = pathOfNote(readField(ctx, 'id'))
    await showNotes(ctx, session, await access.ask(session, 'GET', path))
  })

  router.post('/refresh', async (ctx) => {
    await access.renew(requireSession(ctx))
    seeOther(ctx, '/#token')
  })

  return router
}

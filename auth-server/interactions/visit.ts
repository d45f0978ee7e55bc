import type { RouterContext } from '@koa/router'
import type { ApiKeyStore } from '../api-keys/api-key.ts'
import type { Events } from '../events.ts'
import { readForm, type Form } from '../form.ts'
import type { Approvals } from '../provider/approvals.ts'
import type { OwnAccess } from '../provider/own-access.ts'
import type { Sessions, SignedInPerson } from '../provider/session.ts'
import type { Catalogue } from '../scopes/catalogue.ts'
import type { Pace } from '../throttle.ts'
import { isSentFrom, type Csrf } from './csrf.ts'
import type { Pages } from './pages.ts'
import { NOT_FROM_HERE, type Problem } from './problem.ts'

/*
 * What the pages share that people have of their own: whoever opens one is signed in, lately enough for
 * it, and what they send was sent from it.
 */

export interface AccountCollaborators {
  readonly sessions: Sessions
  readonly approvals: Approvals
  readonly access: OwnAccess
  readonly apiKeys: ApiKeyStore
  /** Whether an account makes keys too fast. */
  readonly newKeys: Pace
  readonly catalogue: Catalogue
  readonly pages: Pages
  readonly csrf: Csrf
  readonly events: Events
  /**
   * Milliseconds since the epoch, by the clock of the database, after waiting for whoever is ending access.
   */
  readonly readTime: () => Promise<number>
  readonly requestId: () => string
}

export interface AccountOptions {
  /** The origin that the pages are served from. */
  readonly issuer: string
}

type Parts = AccountCollaborators

export const PAGE = '/account'
export const KEYS: string = `${PAGE}/api-keys`
export const NEW_KEY: string = `${KEYS}/new`
export const REQUESTS: string = `${PAGE}/requests`

/**
 * Whoever finds a browser open must not leave with a key, nor agree for its owner: both want a sign-in
 * this fresh.
 */
const FRESH_SECONDS = 600
/** Where a browser goes on after a sign-in, by the `state` that it comes back with. */
const PLACES = {
  account: { path: PAGE, signIn: {} },
  'new-api-key': { path: NEW_KEY, signIn: { maxAgeSeconds: FRESH_SECONDS } },
  requests: { path: REQUESTS, signIn: { maxAgeSeconds: FRESH_SECONDS } },
} as const

export type Place = keyof typeof PLACES

/** The code is left where it is: the sign-in is in the session. Whoever turned back goes home. */
export function goOn(ctx: RouterContext): void {
  const { state, error } = ctx.query
  const known = Object.hasOwn(PLACES, String(state)) ? (state as Place) : 'account'
  redirect(ctx, error === undefined ? PLACES[known].path : '/')
}

export function redirect(ctx: RouterContext, to: string): void {
  ctx.status = 303
  ctx.redirect(to)
}

export interface Visit {
  readonly person: SignedInPerson
  /** Milliseconds since the epoch, by the clock of the database, from before the session was looked at. */
  readonly at: number
}

export type Step = (parts: Parts, ctx: RouterContext, visit: Visit) => unknown

/** Sends whoever is not signed in, or not lately enough, to sign in first. */
export function open(parts: Parts, place: Place, step: Step) {
  return async (ctx: RouterContext): Promise<void> => {
    const at = await parts.readTime()
    const person = await parts.sessions.find(ctx.req, ctx.res)
    const { signIn } = PLACES[place]
    const isFresh = person && (!('maxAgeSeconds' in signIn) || isRecent(person, at))
    if (isFresh) await step(parts, ctx, { person, at })
    else redirect(ctx, parts.sessions.signInUrl(place, signIn))
  }
}

function isRecent({ signedInAt }: SignedInPerson, now: number): boolean {
  return now - signedInAt <= FRESH_SECONDS * 1000
}

export type Act = (parts: Parts, ctx: RouterContext, visit: Visit, form: Form) => Promise<void>

export type Show = (
  parts: Parts,
  ctx: RouterContext,
  visit: Visit,
  problem: Problem,
) => Promise<void>

/**
 * Does `act` with a form that was sent from our own page. Each has a binding of its own to check. Who is
 * signed in is asked again once it is here: a session that is ended must not have a form on its way.
 */
export function takeForm(issuer: string, act: Act, show: Show): Step {
  return async (parts, ctx, visit) => {
    const sender = { origin: ctx.get('Origin'), secFetchSite: ctx.get('Sec-Fetch-Site') }
    if (!isSentFrom(issuer, sender)) {
      await show(parts, ctx, visit, NOT_FROM_HERE)
      return
    }
    const form = await readForm(ctx)
    const person = await parts.sessions.find(ctx.req, ctx.res)
    if (person?.sessionUid !== visit.person.sessionUid) {
      redirect(ctx, parts.sessions.signInUrl('account'))
      return
    }
    const now = { ...visit, person }
    if (form.ok) await act(parts, ctx, now, form.value)
    else await show(parts, ctx, now, { ...form.reason, fields: [] })
  }
}

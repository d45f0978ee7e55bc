import { Router, type RouterContext } from '@koa/router'
import type { Middleware } from 'koa'
import type { SignIn } from '../accounts/sign-in.ts'
import type { Events } from '../events.ts'
import type { Asked, Interactions, PendingInteraction } from '../provider/interaction.ts'
import { isSentFrom, type Csrf } from './csrf.ts'
import { readForm, type Form } from '../form.ts'
import type { FormTokens, Pages } from './pages.ts'
import {
  describeRefusal,
  NOT_FROM_HERE,
  NO_PASSWORD,
  NO_USERNAME,
  type Problem,
} from './problem.ts'

export interface InteractionCollaborators {
  readonly interactions: Interactions
  readonly signIn: SignIn
  readonly pages: Pages
  readonly csrf: Csrf
  readonly events: Events
  readonly requestId: () => string
}

export interface InteractionOptions {
  /** The origin that the pages are served from. */
  readonly issuer: string
}

type Parts = InteractionCollaborators
type Action = keyof FormTokens

const PAGE = '/interaction/:uid'
const UID = /^[A-Za-z0-9_-]{16,64}$/
/** No username is longer: a longer suggestion is not filled in. */
const MAX_USERNAME_LENGTH = 100

/** The front page, the sign-in and consent pages, and what their forms do. */
export function createInteractionRoutes(parts: Parts, { issuer }: InteractionOptions): Middleware {
  const router = new Router({ strict: true, sensitive: true })
  router.use(setPageHeaders)
  router.get('/', (ctx) => answer(ctx, 200, parts.pages.home()))
  router.get(PAGE, open(parts, showCurrent))
  router.get(`${PAGE}/other-account`, open(parts, showSignIn))
  router.all([PAGE, `${PAGE}/other-account`], refuseMethod(parts, 'GET, HEAD'))
  router.post(`${PAGE}/sign-in`, open(parts, takeForm(issuer, 'sign-in', signIn, showSignIn)))
  router.post(
    `${PAGE}/keep-account`,
    open(parts, takeForm(issuer, 'keep-account', keep, showCurrent)),
  )
  router.post(`${PAGE}/consent`, open(parts, takeForm(issuer, 'consent', consent, showCurrent)))
  router.post(`${PAGE}/cancel`, open(parts, takeForm(issuer, 'cancel', cancel, showCurrent)))
  const forms = ['sign-in', 'keep-account', 'consent', 'cancel'].map((form) => `${PAGE}/${form}`)
  router.all(forms, refuseMethod(parts, 'POST'))
  return router.routes() as Middleware
}

/** The referrer policy lets the browser say where a form comes from: `no-referrer` would hide it. */
export const setPageHeaders: Middleware = async (ctx, next) => {
  ctx.set('Cache-Control', 'no-store')
  ctx.set('Referrer-Policy', 'same-origin')
  await next()
}

type Step = (parts: Parts, ctx: RouterContext, pending: PendingInteraction) => unknown

/** Finds the interaction of the path, which only the browser has that started it. */
function open(parts: Parts, step: Step) {
  return async (ctx: RouterContext): Promise<void> => {
    const uid = ctx.params['uid'] ?? ''
    if (!UID.test(uid)) {
      answerError(parts, ctx, 404, 'not_found', 'There is nothing at this address.')
      return
    }
    const pending = await parts.interactions.find(ctx.req, ctx.res)
    // Compared, because a cookie of one path can be planted for another.
    if (pending?.uid === uid) await step(parts, ctx, pending)
    else answer(ctx, 410, parts.pages.over())
  }
}

export function refuseMethod(parts: Pick<Parts, 'pages' | 'requestId'>, allow: string) {
  return (ctx: RouterContext): void => {
    ctx.set('Allow', allow)
    const description = 'This address belongs to a form. Go back to the page and use its buttons.'
    answerError(parts, ctx, 405, 'method_not_allowed', description)
  }
}

function answerError(
  { pages, requestId }: Pick<Parts, 'pages' | 'requestId'>,
  ctx: RouterContext,
  status: number,
  error: string,
  description: string,
): void {
  answer(ctx, status, pages.error({ status, error, description, requestId: requestId() }))
}

export function answer(ctx: RouterContext, status: number, html: string): void {
  ctx.status = status
  ctx.type = 'html'
  ctx.body = html
}

type Show = (
  parts: Parts,
  ctx: RouterContext,
  pending: PendingInteraction,
  problem?: Problem,
  username?: string,
) => void

const showCurrent: Show = (parts, ctx, pending, problem) => {
  if (pending.prompt === 'login') {
    showSignIn(parts, ctx, pending, problem)
    return
  }
  const tokens = issueTokens(parts.csrf, pending)
  const show = pending.prompt === 'consent' ? parts.pages.consent : parts.pages.chooseAccount
  answer(ctx, problem?.status ?? 200, show({ pending, tokens, problem }))
}

/** On another page it is the way to go on as somebody else. */
const showSignIn: Show = (parts, ctx, pending, problem, typed) => {
  const tokens = issueTokens(parts.csrf, pending)
  const username = typed ?? suggestUsername(pending)
  answer(ctx, problem?.status ?? 200, parts.pages.signIn({ pending, tokens, problem, username }))
}

function suggestUsername({ prompt, loginHint, account, again }: PendingInteraction): string {
  if (prompt === 'consent') return ''
  const isSame = prompt === 'login' && again !== 'another'
  const suggested = loginHint ?? (isSame ? account?.username : undefined) ?? ''
  return suggested.length > MAX_USERNAME_LENGTH ? '' : suggested
}

function issueTokens(csrf: Csrf, pending: PendingInteraction): FormTokens {
  return {
    'sign-in': csrf.issue(bindingOf(pending, 'sign-in')),
    'keep-account': csrf.issue(bindingOf(pending, 'keep-account')),
    consent: csrf.issue(bindingOf(pending, 'consent')),
    cancel: csrf.issue(bindingOf(pending, 'cancel')),
  }
}

/** An answer is bound to who was asked for what: a page that has become untrue is not agreed to. */
function bindingOf(pending: PendingInteraction, action: Action): string[] {
  const { uid, prompt, client, account } = pending
  if (action === 'sign-in' || action === 'cancel') return [uid, action]
  const document = client.document?.hash ?? ''
  return [uid, action, prompt, account?.id ?? '', document, ...listAsked(pending)]
}

/** Everything that a page asks for. */
export function listAsked({ asked, claims }: Pick<Asked, 'asked' | 'claims'>): string[] {
  const scopes = asked.map(({ resource = '', scope }) => `${resource} ${scope}`)
  return [...scopes, ...claims.map(({ claim }) => `claim ${claim}`)]
}

type Act = (
  parts: Parts,
  ctx: RouterContext,
  pending: PendingInteraction,
  form: Form,
) => Promise<void>

/** Does `act` with a form that was sent from our own page; anything else gets the page again. */
function takeForm(issuer: string, action: Action, act: Act, show: Show): Step {
  return async (parts, ctx, pending) => {
    const sender = { origin: ctx.get('Origin'), secFetchSite: ctx.get('Sec-Fetch-Site') }
    if (!isSentFrom(issuer, sender)) {
      show(parts, ctx, pending, NOT_FROM_HERE)
      return
    }
    const form = await readForm(ctx)
    if (!form.ok) {
      show(parts, ctx, pending, { ...form.reason, fields: [] })
      return
    }
    const token = form.value.get('csrf') ?? ''
    if (parts.csrf.isValid(token, bindingOf(pending, action))) {
      await act(parts, ctx, pending, form.value)
    } else {
      show(parts, ctx, pending, NOT_FROM_HERE)
    }
  }
}

const signIn: Act = async (parts, ctx, pending, form) => {
  const username = form.get('username') ?? ''
  const password = form.get('password') ?? ''
  if (username.trim() === '' || password === '') {
    const problem = username.trim() === '' ? NO_USERNAME : NO_PASSWORD
    showSignIn(parts, ctx, pending, problem, username)
    return
  }
  const address = String(ctx.state['address'])
  const outcome = await parts.signIn({ username, password, address })
  if (!outcome.ok) {
    const { reason } = outcome
    if ('retryAfterSeconds' in reason) ctx.set('Retry-After', String(reason.retryAfterSeconds))
    showSignIn(parts, ctx, pending, describeRefusal(reason), username)
    return
  }
  const { account, at } = outcome.value
  const accountId = account.id
  const proof = { accountId, at, methods: ['pwd'] }
  const next = await parts.interactions.finishSignIn(ctx.req, ctx.res, proof)
  if (next !== undefined) parts.events.signedIn({ accountId, clientId: pending.client.id })
  goOn(parts, ctx, next)
}

const keep: Act = async (parts, ctx, { prompt }) => {
  if (prompt === 'select_account') {
    goOn(parts, ctx, await parts.interactions.keepAccount(ctx.req, ctx.res))
  }
}

const consent: Act = async (parts, ctx, pending) => {
  goOn(parts, ctx, await parts.interactions.finishConsent(ctx.req, ctx.res, pending))
}

const cancel: Act = async (parts, ctx) => {
  goOn(parts, ctx, await parts.interactions.cancel(ctx.req, ctx.res))
}

function goOn({ pages }: Parts, ctx: RouterContext, next: string | undefined): void {
  if (next === undefined) {
    answer(ctx, 410, pages.over())
    return
  }
  ctx.status = 303
  ctx.redirect(next)
}

import { Router, type RouterContext } from '@koa/router'
import type { Middleware } from 'koa'
import { dateAccess, type Account } from '../accounts/account.ts'
import {
  createApiKeyId,
  generateApiKey,
  hashApiKey,
  judgeState,
  LONGEST_NAME,
  MOST_API_KEYS,
  type ApiKey,
} from '../api-keys/api-key.ts'
import { OWN_CALLBACK } from '../clients/own-client.ts'
import { NAME_RULE, namePattern } from '../config/name.ts'
import { scopesOfRoles, type Catalogue } from '../scopes/catalogue.ts'
import type { GuessLimit, Throttled } from '../throttle.ts'
import type { Form } from '../form.ts'
import { readDone, type Done } from './done.ts'
import {
  describeOwnAccess,
  END_OTHERS,
  END_SESSION,
  endOthers,
  endSession,
  REMOVE_APP,
  removeApp,
  type EndOwn,
} from './own-access.ts'
import type { GrantableResource, NewKeyFacts } from './pages.ts'
import { describeWait, NOT_FROM_HERE, type Problem } from './problem.ts'
import { answer, refuseMethod, setPageHeaders } from './routes.ts'
import {
  goOn,
  KEYS,
  NEW_KEY,
  open,
  PAGE,
  redirect,
  takeForm,
  type AccountCollaborators,
  type AccountOptions,
  type Act,
  type Visit,
} from './visit.ts'

type Parts = AccountCollaborators

const REVOKE_KEY = `${KEYS}/revoke`

/**
 * Keys of one account, which a person does not make in such numbers. A program with the cookie would
 * make and revoke them in a loop, to fill the audit log. Revoking waits for nothing: a key is
 * revoked once, and whoever has lost some must be rid of them now.
 */
export const NEW_API_KEYS: GuessLimit = { attempts: 30, windowSeconds: 3600 }
const DAY_MS = 86_400_000
/** What a form may say, with the days that it stands for. */
const EXPIRIES: ReadonlyMap<string, number | undefined> = new Map([
  ['7', 7],
  ['30', 30],
  ['90', 90],
  ['365', 365],
  ['never', undefined],
])
const DEFAULT_EXPIRY = '90'
const NAME = namePattern(LONGEST_NAME)

/** The page where people see where they are signed in and what they have allowed, and end it. */
export function createAccountRoutes(parts: Parts, { issuer }: AccountOptions): Middleware {
  const router = new Router({ strict: true, sensitive: true })
  router.use(setPageHeaders)
  router.get(PAGE, open(parts, 'account', showAccount))
  router.get(NEW_KEY, open(parts, 'new-api-key', showNewKey))
  router.get(OWN_CALLBACK, goOn)
  router.all([PAGE, NEW_KEY, OWN_CALLBACK], refuseMethod(parts, 'GET, HEAD'))
  router.post(KEYS, open(parts, 'new-api-key', takeForm(issuer, makeKey, showAccount)))
  const ends: Readonly<Record<string, Act>> = {
    [END_SESSION]: end(endSession, 'session'),
    [END_OTHERS]: end(endOthers, 'others'),
    [REMOVE_APP]: end(removeApp, 'app'),
    [REVOKE_KEY]: revokeKey,
  }
  for (const [path, act] of Object.entries(ends)) {
    router.post(path, open(parts, 'account', takeForm(issuer, act, showAccount)))
  }
  router.all([KEYS, ...Object.keys(ends)], refuseMethod(parts, 'POST'))
  return router.routes() as Middleware
}

/** The page, without what has ended and saying so, or with what was wrong. */
function end(endOwn: EndOwn, done: Done): Act {
  return async (parts, ctx, visit, form) => {
    const problem = await endOwn(parts, visit, form)
    if (problem) await showAccount(parts, ctx, visit, problem)
    else showDone(ctx, done)
  }
}

function showDone(ctx: RouterContext, done: Done): void {
  redirect(ctx, `${PAGE}?done=${done}`)
}

type FormName = 'new-api-key' | 'revoke-api-key'

function bindingOf({ person }: Visit, form: FormName, keyId: string): string[] {
  return ['account', person.sessionUid, person.account.id, form, keyId]
}

function isOurs({ csrf }: Parts, visit: Visit, name: FormName, form: Form): boolean {
  return csrf.isValid(form.get('csrf') ?? '', bindingOf(visit, name, form.get('id') ?? ''))
}

async function showAccount(
  parts: Parts,
  ctx: RouterContext,
  visit: Visit,
  problem?: Problem,
): Promise<void> {
  const { apiKeys, approvals, catalogue, csrf, pages } = parts
  const { account } = visit.person
  const made = await apiKeys.listByAccount(account.id)
  const keys = made.flatMap((key) => {
    const state = judgeState(key, visit.at)
    if (state === 'revoked') return []
    const token = csrf.issue(bindingOf(visit, 'revoke-api-key', key.id))
    return [{ key, isExpired: state === 'expired', token, ...describeBounds(catalogue, key) }]
  })
  const waiting = (await approvals.list(account)).length
  const own = await describeOwnAccess(parts, visit)
  const done = problem ? undefined : readDone(ctx.query['done'])
  const facts = { account, waiting, ...own, keys: keys.toReversed(), done, problem }
  answer(ctx, problem?.status ?? 200, pages.account(facts))
}

/** In words; what the configuration no longer has, by its name. */
function describeBounds({ resources }: Catalogue, { resource, scopes }: ApiKey) {
  const known = resources.get(resource)
  return {
    resourceName: known?.name ?? resource,
    can: scopes.map((scope) => known?.scopes.get(scope)?.description ?? scope),
  }
}

/** What the person may do now, by resource: a key can be no more. */
function listGrantable(catalogue: Catalogue, { roles }: Account): GrantableResource[] {
  const carried = scopesOfRoles(catalogue, roles)
  return [...catalogue.resources.values()].flatMap(({ identifier, name, scopes }) => {
    const grantable = [...scopes].filter(([scope]) => carried.has(scope))
    if (grantable.length === 0) return []
    return [
      {
        identifier,
        name,
        scopes: grantable.map(([scope, { description }]) => ({ scope, description })),
      },
    ]
  })
}

type Typed = Pick<NewKeyFacts, 'name' | 'ticked' | 'expires'>
const NOTHING_TYPED: Typed = { name: '', ticked: new Set(), expires: DEFAULT_EXPIRY }

function showNewKey(parts: Parts, ctx: RouterContext, visit: Visit): void {
  const resources = listGrantable(parts.catalogue, visit.person.account)
  const [only, ...others] = resources
  const chosen = others.length === 0 ? only?.identifier : ctx.query['resource']
  const resource = resources.find(({ identifier }) => identifier === chosen)
  if (resource) showKeyForm(parts, ctx, visit, resource, NOTHING_TYPED)
  else answer(ctx, 200, parts.pages.chooseResource({ resources, path: NEW_KEY }))
}

function showKeyForm(
  { pages, csrf }: Parts,
  ctx: RouterContext,
  visit: Visit,
  resource: GrantableResource,
  typed: Typed,
  problem?: Problem,
): void {
  // A form that is sent twice names the key that it has made already.
  const id = createApiKeyId()
  const token = csrf.issue(bindingOf(visit, 'new-api-key', id))
  const facts = { ...typed, resource, id, token, longestName: LONGEST_NAME, problem }
  answer(ctx, problem?.status ?? 200, pages.newApiKey(facts))
}

const makeKey: Act = async (parts, ctx, visit, form) => {
  const { account } = visit.person
  if (!isOurs(parts, visit, 'new-api-key', form)) {
    await showAccount(parts, ctx, visit, NOT_FROM_HERE)
    return
  }
  const resources = listGrantable(parts.catalogue, account)
  const resource = resources.find(({ identifier }) => identifier === form.get('resource'))
  if (!resource) {
    await showAccount(parts, ctx, visit, NOT_ALLOWED_NOW)
    return
  }
  const typed = readTyped(form)
  const scopes = resource.scopes.map(({ scope }) => scope).filter((it) => typed.ticked.has(it))
  const problem = findProblem(typed, scopes)
  if (problem) {
    showKeyForm(parts, ctx, visit, resource, typed, problem)
    return
  }
  const paced = await parts.newKeys(account.id)
  if (paced) {
    ctx.set('Retry-After', String(paced.retryAfterSeconds))
    showKeyForm(parts, ctx, visit, resource, typed, describeTooFast(paced))
    return
  }
  const key = generateApiKey()
  const days = EXPIRIES.get(typed.expires)
  const stored = {
    id: form.get('id') ?? '',
    accountId: account.id,
    name: typed.name,
    resource: resource.identifier,
    scopes,
    hash: hashApiKey(key),
    createdAt: dateAccess(account, visit.at),
    expiresAt: days === undefined ? undefined : visit.at + days * DAY_MS,
    lastUsedAt: undefined,
    revokedAt: undefined,
  }
  const outcome = await parts.apiKeys.insert(stored, MOST_API_KEYS)
  if (outcome === 'no_owner') redirect(ctx, parts.sessions.signInUrl('new-api-key'))
  else if (outcome === 'taken') await showAccount(parts, ctx, visit, MADE_ALREADY)
  else if (outcome === 'too_many') await showAccount(parts, ctx, visit, TOO_MANY)
  else {
    const { id: keyId, accountId } = stored
    parts.events.apiKeyMade({ keyId, accountId, resource: stored.resource, scopes, by: 'user' })
    const bounds = describeBounds(parts.catalogue, stored)
    answer(ctx, 200, parts.pages.apiKeyMade({ key, stored, ...bounds }))
  }
}

const SCOPE = 'scope '

function readTyped(form: Form): Typed {
  const names = [...form.keys()].filter((name) => name.startsWith(SCOPE))
  return {
    name: (form.get('name') ?? '').trim(),
    ticked: new Set(names.map((name) => name.slice(SCOPE.length))),
    expires: form.get('expires') ?? '',
  }
}

function findProblem({ name, expires }: Typed, scopes: readonly string[]): Problem | undefined {
  if (name === '') return { status: 422, text: 'Say what the key is for.', fields: ['name'] }
  if (!NAME.test(name)) {
    const text = `The name may have ${LONGEST_NAME} characters, ${NAME_RULE}.`
    return { status: 422, text, fields: ['name'] }
  }
  if (scopes.length === 0) {
    return { status: 422, text: 'Choose at least one thing that it may do.', fields: ['scopes'] }
  }
  if (EXPIRIES.has(expires)) return undefined
  return { status: 422, text: 'Choose when the key ends.', fields: ['expires'] }
}

const NOT_ALLOWED_NOW: Problem = {
  status: 403,
  text: 'Your role no longer allows what that key was to be for, so none was made.',
  fields: [],
}
const MADE_ALREADY: Problem = {
  status: 409,
  text: 'That key was made already, and is shown only once. If it is lost, revoke it and make another.',
  fields: [],
}
function describeTooFast({ retryAfterSeconds }: Throttled): Problem {
  const wait = describeWait(retryAfterSeconds)
  const text = `You have made many API keys in a short time. Make the next one in ${wait}.`
  return { status: 429, text, fields: [] }
}
const TOO_MANY: Problem = {
  status: 409,
  text: `You have ${MOST_API_KEYS} API keys, and there can be no more. Revoke one that you do not need.`,
  fields: [],
}

const revokeKey: Act = async (parts, ctx, visit, form) => {
  const keyId = form.get('id') ?? ''
  const accountId = visit.person.account.id
  const key = isOurs(parts, visit, 'revoke-api-key', form)
    ? await parts.apiKeys.findById(keyId)
    : undefined
  if (key?.accountId !== accountId) {
    await showAccount(parts, ctx, visit, NOT_FROM_HERE)
    return
  }
  const isDone = await parts.apiKeys.revoke(keyId)
  if (isDone) parts.events.apiKeyRevoked({ keyId, accountId, by: 'user' })
  showDone(ctx, 'key')
}

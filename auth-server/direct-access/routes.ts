import { bodyParser } from '@koa/bodyparser'
import { Router, type RouterContext } from '@koa/router'
import type { Middleware } from 'koa'
import type { Account, AccountStore } from '../accounts/account.ts'
import type { SignIn, SignInRefusal } from '../accounts/sign-in.ts'
import type { VerifyApiKey } from '../api-keys/verify.ts'
import type { ClientStore } from '../clients/client.ts'
import { formatTime } from '../clock.ts'
import type { DirectAccessConfig } from '../config/schema.ts'
import { assertNever } from '../errors.ts'
import type { Events } from '../events.ts'
import { readForm, takesEncoding } from '../form.ts'
import type { BeginIssuance } from '../revocation/issuance.ts'
import type { Resource } from '../scopes/catalogue.ts'
import type { IssueDirectly } from './issue.ts'
import { isSentByLocalProgram } from './local.ts'

export interface DirectAccessCollaborators {
  readonly beginIssuance: BeginIssuance
  readonly issue: IssueDirectly
  readonly findResource: (identifier: string) => Resource
  readonly accounts: Pick<AccountStore, 'findById'>
  readonly clients: Pick<ClientStore, 'findById'>
  readonly signIn: SignIn
  readonly verifyApiKey: VerifyApiKey<Account>
  readonly events: Pick<Events, 'signedIn' | 'requestRefused'>
}

type Parts = DirectAccessCollaborators

const MAX_JSON_BYTES = 4096
const INVALID_KEY = 'invalid api key'
const NOT_LOCAL = 'This token is for programs on this machine'
const NOTHING_ALLOWED = 'whoever asks may do nothing at this resource'
const NOT_A_FORM = 'Please pass the data as URL form encoded'

/** A token for a password, and one for an API key: what the configuration wants of them. */
export function createSecretRoutes(
  parts: Parts,
  { password, apiKey }: Pick<DirectAccessConfig, 'password' | 'apiKey'>,
): Middleware {
  const router = new Router({ strict: true, sensitive: true })
  if (password) {
    const resource = parts.findResource(password.resource)
    const reveal = password.revealUnknownUsers
    router.post('/getToken', (ctx) => takePassword(parts, ctx, resource, reveal))
    router.all('/getToken', refuseMethod('POST'))
  }
  if (apiKey) {
    const resource = parts.findResource(apiKey.resource)
    const take = (ctx: RouterContext) => takeApiKey(parts, ctx, resource)
    router.get('/api/v3/auth', take)
    router.post('/api/v3/auth', take)
    router.all('/api/v3/auth', refuseMethod('GET, HEAD, POST'))
  }
  return router.routes() as Middleware
}

/** **Warning:** gives a token to whoever asks, if it is a program on this machine. */
export function createUnauthenticatedRoute(
  parts: Parts,
  { resource: identifier, client: clientId }: NonNullable<DirectAccessConfig['unauthenticated']>,
): Middleware {
  const router = new Router({ strict: true, sensitive: true })
  const resource = parts.findResource(identifier)
  router.get('/', async (ctx) => {
    const issuance = await parts.beginIssuance()
    const client = await parts.clients.findById(clientId)
    const { socket, url, headers } = ctx.req
    const isLocal = isSentByLocalProgram({ address: socket.remoteAddress, url, headers })
    const issued =
      isLocal && client && !client.disabled
        ? await parts.issue(resource, { kind: 'nobody', client }, issuance)
        : undefined
    if (issued) answer(ctx, 200, issued.token)
    else refuse(parts, ctx, isLocal ? NOTHING_ALLOWED : 'it comes from elsewhere', NOT_LOCAL)
  })
  router.all('/', refuseMethod('GET, HEAD'))
  return router.routes() as Middleware
}

async function takePassword(
  parts: Parts,
  ctx: RouterContext,
  resource: Resource,
  revealUnknownUsers: boolean,
): Promise<void> {
  const form = await readForm(ctx)
  if (!form.ok) {
    const isTooLong = form.reason.status === 413
    answer(ctx, isTooLong ? 413 : 400, isTooLong ? form.reason.text : NOT_A_FORM)
    return
  }
  const username = form.value.get('username') ?? ''
  const password = form.value.get('password') ?? ''
  if (username.trim() === '' || password === '') {
    answer(ctx, 400, NOT_A_FORM)
    return
  }
  const address = String(ctx.state['address'])
  const issuance = await parts.beginIssuance()
  const outcome = await parts.signIn({ username, password, address })
  if (!outcome.ok) {
    refuseSignIn(ctx, outcome.reason, revealUnknownUsers)
    return
  }
  const { account: found, at } = outcome.value
  // Checking a password takes a while: what was ended meanwhile is ended for this sign-in, too.
  const account = await parts.accounts.findById(found.id)
  if (!account || account.disabled || account.accessEndedAt !== found.accessEndedAt) {
    answer(ctx, 401, 'Invalid Credentials')
    return
  }
  parts.events.signedIn({ accountId: account.id })
  const issued = await parts.issue(resource, { kind: 'password', account, at }, issuance)
  if (issued) answer(ctx, 200, { token: issued.token, status: 'success' })
  else refuse(parts, ctx, NOTHING_ALLOWED, 'Access Denied')
}

function refuseSignIn(ctx: RouterContext, reason: SignInRefusal, reveal: boolean): void {
  switch (reason.kind) {
    case 'credentials': {
      const isUnknown = reveal && reason.isUnknownUser
      answer(ctx, isUnknown ? 404 : 401, isUnknown ? 'User is not found' : 'Invalid Credentials')
      return
    }
    case 'throttled':
      ctx.set('Retry-After', String(reason.retryAfterSeconds))
      answer(ctx, 429, 'Too many attempts')
      return
    case 'busy':
      ctx.set('Retry-After', String(reason.retryAfterSeconds))
      answer(ctx, 503, 'Please try again')
      return
    default:
      assertNever(reason)
  }
}

async function takeApiKey(parts: Parts, ctx: RouterContext, resource: Resource): Promise<void> {
  const text = await readApiKey(ctx)
  if (text === undefined) {
    answerData(ctx, 400, 'expected JSON with an api-key')
    return
  }
  const issuance = await parts.beginIssuance()
  const source = { clientId: undefined, address: String(ctx.state['address']) }
  const verified = await parts.verifyApiKey(text, source)
  if (!verified.ok && verified.reason.kind === 'throttled') {
    ctx.set('Retry-After', String(verified.reason.retryAfterSeconds))
    answerData(ctx, 429, 'too many attempts')
    return
  }
  if (!verified.ok) {
    answerData(ctx, 400, INVALID_KEY)
    return
  }
  const { key, owner: account } = verified.value
  if (key.resource !== resource.identifier) {
    refuse(parts, ctx, 'the API key is for another resource')
    answerData(ctx, 400, INVALID_KEY)
    return
  }
  const { id: keyId, scopes, expiresAt: notAfter } = key
  const holder = { kind: 'api_key', account, keyId, scopes, notAfter } as const
  const issued = await parts.issue(resource, holder, issuance)
  if (!issued) {
    refuse(parts, ctx, NOTHING_ALLOWED)
    answerData(ctx, 403, 'access denied')
    return
  }
  answerData(ctx, 200, 'Your token is created successfully', {
    token: issued.token,
    expiration_at: formatTime(issued.expiresAt),
  })
}

const parseJson = bodyParser({
  // A body with GET has no meaning of its own (RFC 9110 §9.3.1), but these clients send one.
  parsedMethods: ['GET', 'POST'],
  enableTypes: ['json'],
  jsonLimit: `${MAX_JSON_BYTES}b`,
})

async function readApiKey(ctx: RouterContext): Promise<string | undefined> {
  if (!takesEncoding(ctx)) return undefined
  try {
    await parseJson(ctx, async () => {})
  } catch (error) {
    // The rest of the body stays unread: the connection is of no further use.
    ctx.set('Connection', 'close')
    if (typeof (error as { status?: unknown }).status === 'number') return undefined
    throw error
  }
  const body: unknown = ctx.request.body
  if (typeof body !== 'object' || body === null || !Object.hasOwn(body, 'api-key')) return undefined
  const { 'api-key': key } = body as { 'api-key': unknown }
  return typeof key === 'string' && key !== '' ? key : undefined
}

/** `detail` is for the operator. */
function refuse({ events }: Parts, ctx: RouterContext, detail: string, text = ''): void {
  events.requestRefused({ endpoint: ctx.path, error: 'access_denied', detail })
  answer(ctx, 403, text)
}

function answerData(
  ctx: RouterContext,
  code: number,
  message: string,
  more: Readonly<Record<string, string>> = {},
): void {
  answer(ctx, code, { data: { code, message, ...more } })
}

function answer(ctx: RouterContext, status: number, body: string | object): void {
  ctx.status = status
  ctx.body = body
}

function refuseMethod(allow: string) {
  return (ctx: RouterContext): void => {
    ctx.set('Allow', allow)
    answer(ctx, 405, `Use ${allow} here`)
  }
}

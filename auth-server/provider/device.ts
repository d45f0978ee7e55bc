import {
  errors,
  type Client as EngineClient,
  type Configuration,
  type KoaContextWithOIDC,
} from 'oidc-provider'
import { isSelfDescribed } from '../clients/client.ts'
import type { Events } from '../events.ts'
import type { Catalogue } from '../scopes/catalogue.ts'
import type { GuessThrottle, Pace } from '../throttle.ts'
import { PortreeveError } from '../errors.ts'
import { BACKCHANNEL_PATH } from './ciba.ts'
import { recordOf } from './clients.ts'
import { toEngineError, TooManyAttempts } from './errors.ts'
import type { DeviceCodeFault, DeviceEnd, EnginePages } from './interaction.ts'
import { isDeviceRefused, nameCodeFault, readFormSecret } from './internals.ts'
import type { EngineMiddleware } from './engine-middleware.ts'
import type { ModelStore } from './model-store.ts'
import { DECLINED } from './pending.ts'
import { sortScopes } from './scopes-in-words.ts'
import { collectWrites } from './unit-of-work.ts'

/*
 * Devices without a browser (RFC 8628). The engine does the protocol; here are its pages, the rest of
 * what the specification asks of the token endpoint, and bounds for whoever guesses.
 */

export const DEVICE_PATH = '/device'
export const DEVICE_AUTHORIZATION_PATH = '/device_authorization'

/** RFC 8628 §6.1: twenty letters that spell no word and look like no other; 34 bits. */
const ALPHABET = 'base-20'
const MASK = '****-****'
/** Whoever types needs a browser, a password and a look at the device. */
export const DEVICE_CODE_TTL_SECONDS = 600
/** How long a device is told to wait between two polls. */
const INTERVAL_SECONDS = 5
/** On its way a poll may catch up with the one before. */
export const SHORTEST_INTERVAL_SECONDS: number = INTERVAL_SECONDS - 1
const MAX_TYPED_LENGTH = 40

type Flow = Exclude<NonNullable<Configuration['features']>['deviceFlow'], undefined>
type RenderError = NonNullable<Configuration['renderError']>

export interface DeviceCollaborators {
  readonly pages: EnginePages
  readonly catalogue: Catalogue
  readonly events: Events
  readonly renderError: RenderError
}

/** The engine's flow, with our pages. */
export function createDeviceFlow(parts: DeviceCollaborators): Flow {
  return {
    enabled: true,
    charset: ALPHABET,
    mask: MASK,
    // Nobody is shown it, and it would say where people are.
    deviceInfo: () => ({}),
    async userCodeInputSource(ctx, _form, out, error) {
      if (error && out) await showError(parts, ctx, out, error)
      else if (heldCodes.has(ctx.req)) await showHeld(parts, ctx, heldCodes.get(ctx.req) ?? '')
      else showInput(parts, ctx, '')
    },
    userCodeConfirmSource(ctx, _form, client, _deviceInfo, userCode) {
      showConfirmation(parts, ctx, client, userCode, ctx.oidc.entities.DeviceCode?.params)
    },
    successSource(ctx) {
      const { client } = ctx.oidc
      if (client) showEnd(parts, ctx, { kind: 'done', clientName: recordOf(client).name })
    },
  }
}

function showInput(
  { pages, events }: DeviceCollaborators,
  ctx: KoaContextWithOIDC,
  typed: unknown,
  fault?: DeviceCodeFault,
): void {
  if (fault) events.deviceCodeRefused({ reason: fault.kind })
  ctx.status = fault ? statusOf(fault) : 200
  ctx.type = 'html'
  ctx.body = pages.deviceCode({ ...describeForm(ctx, typed), fault })
}

function statusOf({ kind }: DeviceCodeFault): number {
  if (kind === 'throttled') return 429
  return kind === 'form' ? 403 : 422
}

function describeForm(ctx: KoaContextWithOIDC, typed: unknown) {
  return {
    action: ctx.oidc.urlFor('code_verification'),
    xsrf: readFormSecret(ctx),
    userCode: typeof typed === 'string' ? typed.slice(0, MAX_TYPED_LENGTH) : '',
  }
}

function showConfirmation(
  { pages, catalogue }: DeviceCollaborators,
  ctx: KoaContextWithOIDC,
  client: EngineClient,
  userCode: string,
  params: Readonly<Record<string, unknown>> = {},
): void {
  const record = recordOf(client)
  // Who will be signed in is not certain yet: what their roles do not carry is said by the consent page.
  const { asked, claims } = sortScopes(catalogue, params, record, undefined)
  ctx.type = 'html'
  ctx.body = pages.deviceConfirm({
    ...describeForm(ctx, userCode),
    clientName: record.name,
    isDynamic: isSelfDescribed(record),
    asked,
    claims,
  })
}

function showEnd({ pages }: DeviceCollaborators, ctx: KoaContextWithOIDC, end: DeviceEnd): void {
  ctx.status = end.kind === 'refused' ? 403 : 200
  ctx.type = 'html'
  ctx.body = pages.deviceEnd(end)
}

async function showError(
  parts: DeviceCollaborators,
  ctx: KoaContextWithOIDC,
  out: Parameters<RenderError>[1],
  error: Error,
): Promise<void> {
  if (isDeviceRefused(error)) {
    showEnd(parts, ctx, describeRefusal(error.cause))
    return
  }
  const fault = findFault(ctx, error)
  const typed = 'userCode' in error ? error.userCode : ctx.oidc.params?.['user_code']
  if (fault) showInput(parts, ctx, typed, fault)
  else await parts.renderError(ctx, out, error)
}

/** What the person has declined, they know of; what a policy has, is said. */
function describeRefusal(cause: unknown): DeviceEnd {
  const reason = cause instanceof errors.OIDCProviderError ? cause.error_description : undefined
  return reason === undefined || reason === DECLINED
    ? { kind: 'cancelled' }
    : { kind: 'refused', reason }
}

function findFault(ctx: KoaContextWithOIDC, error: Error): DeviceCodeFault | undefined {
  const kind = nameCodeFault(error)
  if (kind) return { kind }
  if (error instanceof TooManyAttempts) {
    return { kind: 'throttled', retryAfterSeconds: error.retryAfterSeconds }
  }
  const isForm = error instanceof errors.InvalidRequest && !ctx.oidc.entities.DeviceCode
  return isForm && ctx.oidc.route === 'code_verification' ? { kind: 'form' } : undefined
}

/** Codes that came in the address, by their requests. */
const heldCodes = new WeakMap<object, string>()

/**
 * The engine would answer `verification_uri_complete` with a form that a script sends. It is given the
 * plain address, and the code is looked at when the page is made: who comes by a QR code sees the
 * device's name and compares the code, with one click and without a script.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8628.html#section-3.3.1 RFC 8628 §3.3.1}
 */
const holdCode: EngineMiddleware = async (ctx, next) => {
  const { user_code: code } = ctx.query
  if (ctx.path === DEVICE_PATH && ctx.method === 'GET' && typeof code === 'string') {
    heldCodes.set(ctx.req, code)
    ctx.querystring = ''
  }
  await next()
}

async function showHeld(
  parts: DeviceCollaborators,
  ctx: KoaContextWithOIDC,
  typed: string,
): Promise<void> {
  const { provider } = ctx.oidc
  const normalized = typed.replaceAll(/\W/g, '').toUpperCase()
  const code =
    normalized === ''
      ? undefined
      : await provider.DeviceCode.findByUserCode(normalized, { ignoreExpiration: true })
  const client = code && (await provider.Client.find(code.clientId ?? ''))
  if (!code || !client) {
    showInput(parts, ctx, typed, { kind: normalized === '' ? 'missing' : 'unknown' })
  } else if (code.isExpired) {
    showInput(parts, ctx, typed, { kind: 'expired' })
  } else if (code.error !== undefined || code.accountId !== undefined || code.inFlight) {
    showInput(parts, ctx, typed, { kind: 'used' })
  } else {
    const shown = normalized.replace(/(?<=^.{4})/, '-')
    showConfirmation(parts, ctx, client, shown, code.params)
  }
}

/**
 * Counts each look-up of a code by who asks, and takes it back where there is such a code. Codes belong
 * to nobody that they could be counted by: an address stands for itself.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8628.html#section-5.1 RFC 8628 §5.1}
 */
export function createUserCodeGuard(
  throttle: GuessThrottle,
  currentContext: () => KoaContextWithOIDC | undefined,
) {
  return async <Row>(find: () => Promise<Row | undefined>): Promise<Row | undefined> => {
    const ctx = currentContext()
    const address = ctx?.ip ?? ''
    const guess = await throttle.begin(address, address)
    if ('retryAfterSeconds' in guess) {
      const error = new PortreeveError('throttled', 'too many user codes', { cause: guess })
      throw toEngineError(error, (seconds) => ctx?.set('Retry-After', String(seconds)))
    }
    const row = await find()
    if (row !== undefined) await guess.forgive()
    return row
  }
}

export interface DeviceAnswerCollaborators {
  readonly models: ModelStore
  readonly events: Events
  readonly pages: EnginePages
  /** Whether a device polls again too soon. */
  readonly polls: Pace
}

/** What runs around the engine's routes for devices, outermost first. */
export function createDeviceMiddleware(
  collaborators: DeviceAnswerCollaborators,
): readonly EngineMiddleware[] {
  return [holdCode, addInterval, createSlowDown(collaborators), createDeviceUnit(collaborators)]
}

/**
 * What a person has decided is one commit. A device that polls in between would find its request
 * approved in a session that does not know of it yet, and be told that there is no such code.
 */
function createDeviceUnit({ models, pages }: DeviceAnswerCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    const isDecision = ctx.path === DEVICE_PATH && ctx.method === 'POST'
    if (!isDecision && !ctx.path.startsWith(`${DEVICE_PATH}/`)) {
      await next()
      return
    }
    const writes = await collectWrites(async () => {
      await next()
    })
    if (ctx.status >= 500) return
    const { outcome } = await models.apply(writes)
    if (outcome === 'applied') return
    ctx.status = 403
    ctx.type = 'html'
    ctx.body = pages.deviceEnd({ kind: 'refused', reason: 'the grant was withdrawn meanwhile' })
  }
}

const WITH_INTERVAL = new Set([DEVICE_AUTHORIZATION_PATH, BACKCHANNEL_PATH])

/** RFC 8628 §3.2, CIBA Core §7.3. */
const addInterval: EngineMiddleware = async (ctx, next) => {
  await next()
  if (!WITH_INTERVAL.has(ctx.path) || ctx.status !== 200) return
  ctx.body = { ...(ctx.body as object), interval: INTERVAL_SECONDS }
}

/**
 * Only what waits for a person is counted: who polls too fast gets its token as soon as any other.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8628.html#section-3.5 RFC 8628 §3.5}
 */
function createSlowDown({ polls, events }: DeviceAnswerCollaborators): EngineMiddleware {
  return async (ctx, next) => {
    await next()
    const { error: pending } = (ctx.body ?? {}) as { error?: string }
    if (ctx.path !== '/token' || pending !== 'authorization_pending') return
    const { device_code: code, auth_req_id: request } = ctx.oidc.params ?? {}
    if (!(await polls(String(code ?? request)))) return
    const { error, error_description } = new errors.SlowDown()
    ctx.body = { error, error_description }
    const clientId = ctx.oidc.client?.clientId
    events.requestRefused({ endpoint: 'token', error, clientId, detail: error_description })
  }
}

import { createHash } from 'node:crypto'
import {
  errors,
  type Account as EngineAccount,
  type Configuration,
  type KoaContextWithOIDC,
} from 'oidc-provider'
import type { AccountStore } from '../accounts/account.ts'
import { NAME_RULE, namePattern } from '../config/name.ts'
import { normalizeUsername } from '../config/username.ts'
import type { Events } from '../events.ts'
import { createPace, type CreateLimiter, type Pace } from '../throttle.ts'
import { TooManyAttempts } from './errors.ts'
import type { EngineMiddleware } from './engine-middleware.ts'
import { refuseUnknownAcrs } from './step-up.ts'

/*
 * Requests that a person answers elsewhere (OpenID Connect Client-Initiated Backchannel Authentication
 * Core 1.0), polled for or pinged about. The engine does the protocol; here is whom a request is for, and
 * how many there may be. `approvals.ts` has the person's side.
 */

export const BACKCHANNEL_PATH = '/backchannel'
export const BACKCHANNEL_MODEL = 'BackchannelAuthenticationRequest'

/** Whoever is asked has to notice, and may have to sign in. */
const LONGEST_SECONDS = 600
/** It is read on a phone, beside that of another device. */
const LONGEST_MESSAGE = 64
const MESSAGE = namePattern(LONGEST_MESSAGE)

type Ciba = Exclude<NonNullable<Configuration['features']>['ciba'], undefined>

/** How many requests are let through in a while. */
export interface CibaPaces {
  readonly client: Pace
  /** Of one client to one person. */
  readonly pair: Pace
  /** Of all clients to one person: not all that is shown may be one client's. */
  readonly person: Pace
}

/** Whoever is asked again and again agrees at last: so what was answered counts as well. */
export function createCibaPaces(createLimiter?: CreateLimiter): CibaPaces {
  const windowSeconds = LONGEST_SECONDS
  const limit = (name: string, attempts: number) =>
    createPace(`ciba_${name}`, { attempts, windowSeconds }, createLimiter)
  return { client: limit('client', 300), pair: limit('pair', 5), person: limit('person', 20) }
}

/** More than the paces let through in the time that a request may live. */
export const MOST_WAITING = 50

export interface CibaCollaborators {
  readonly accounts: Pick<AccountStore, 'findByUsername'>
  readonly events: Pick<Events, 'cibaRequested'>
  readonly cibaPaces: CibaPaces
}

/** The engine's feature, with our rules. */
export function createCiba({ accounts, events, cibaPaces: paces }: CibaCollaborators): Ciba {
  return {
    enabled: true,
    deliveryModes: ['poll', 'ping'],
    async validateRequestContext(ctx) {
      if (ctx.oidc.params?.['user_code'] !== undefined) {
        throw new errors.InvalidRequest('user_code: this server has no user codes')
      }
      refuseUnknownAcrs(ctx)
      const paced = await paces.client(ctx.oidc.client?.clientId ?? '')
      if (!paced) return
      ctx.set('Retry-After', String(paced.retryAfterSeconds))
      throw new TooManyAttempts(paced.retryAfterSeconds, 'requests')
    },
    validateBindingMessage(_ctx, message) {
      if (message === undefined || MESSAGE.test(message)) return
      const rule = `1 to ${LONGEST_MESSAGE} characters, ${NAME_RULE}`
      throw new errors.InvalidBindingMessage(`binding_message: ${rule}`)
    },
    processLoginHintToken() {
      throw new errors.InvalidRequest('login_hint_token: use login_hint or id_token_hint')
    },
    async processLoginHint(_ctx, hint = '') {
      const username = normalizeUsername(hint)
      return (await accounts.findByUsername(username))?.id ?? `${UNKNOWN}${digest(username)}`
    },
    // The last that is asked before the request is kept, and for every kind of hint.
    async verifyUserCode(ctx, account) {
      const { accountId } = account
      const paced =
        (await paces.pair(`${ctx.oidc.client?.clientId}\0${accountId}`)) ??
        (await paces.person(accountId))
      if (paced) ctx.oidc.entity('Account', createStandIn(`${CROWDED}${digest(accountId)}`))
    },
    // Nothing is sent to a person: who is asked finds the request at their account.
    triggerAuthenticationDevice(_ctx, _request, { accountId }, { clientId }) {
      if (accountId.startsWith(UNKNOWN)) events.cibaRequested({ clientId, outcome: 'unknown' })
      else if (accountId.startsWith(CROWDED))
        events.cibaRequested({ clientId, outcome: 'too_many' })
      else events.cibaRequested({ clientId, accountId, outcome: 'waits' })
    },
  }
}

/** What the account of a request for nobody is named: no account's id starts so. */
const UNKNOWN = 'nobody:'
/** The same for one that comes too often. */
const CROWDED = 'crowd:'

/**
 * Somebody to ask where there is nobody who may answer. The client learns no more than that its request
 * waits: whether a username is known, disabled, or asked too much already is not for it to find out.
 *
 * @see {@link https://openid.net/specs/openid-client-initiated-backchannel-authentication-core-1_0.html#rfc.section.14 CIBA Core §14}
 */
export function findStandIn({ oidc }: KoaContextWithOIDC, id: string): EngineAccount | undefined {
  if (oidc.route !== 'backchannel_authentication') return undefined
  return createStandIn(id.startsWith(UNKNOWN) ? id : `${UNKNOWN}${digest(id)}`)
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

function createStandIn(accountId: string): EngineAccount {
  return { accountId, claims: async () => ({ sub: accountId }) }
}

/** How long a request lives, where its client may want less. */
export function boundRequestLife(ctx: KoaContextWithOIDC | undefined): number {
  const wanted: unknown = ctx?.oidc.params?.['requested_expiry']
  return wanted === undefined ? LONGEST_SECONDS : Math.min(LONGEST_SECONDS, Number(wanted))
}

/** The engine would advertise what `verifyUserCode` might do. */
export const denyUserCodes: EngineMiddleware = async (ctx, next) => {
  await next()
  if (ctx.oidc?.route !== 'discovery' || ctx.status !== 200) return
  ctx.body = { ...(ctx.body as object), backchannel_user_code_parameter_supported: false }
}

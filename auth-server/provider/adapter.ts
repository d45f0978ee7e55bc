import { createHash } from 'node:crypto'
import { errors, type Adapter, type AdapterPayload } from 'oidc-provider'
import type { Clock } from '../clock.ts'
import type { Client, ClientStore } from '../clients/client.ts'
import { isDocumentUrl } from '../clients/document.ts'
import type { Events } from '../events.ts'
import { seal, unseal } from '../keys/seal.ts'
import { BACKCHANNEL_MODEL } from './ciba.ts'
import type { Catalogue } from '../scopes/catalogue.ts'
import { toMetadata } from './clients.ts'
import type { RevocationStore } from '../revocation/revocation.ts'
import { isForged, reattach, type Identifiers } from './identifiers.ts'
import type { ModelPayload, ModelRow, ModelStore, ModelWrite, StoredModel } from './model-store.ts'
import { write, writeLate } from './unit-of-work.ts'

/** No identifier that this server makes is longer. */
const MAX_ID_LENGTH = 512

export interface AdapterCollaborators {
  readonly models: ModelStore
  readonly revocations: Pick<RevocationStore, 'isRevoked'>
  readonly clients: ClientStore
  /** Looks up a client that is described by a document. Throws the engine's errors. */
  readonly findByDocument: (url: string) => Promise<Client | undefined>
  readonly catalogue: Pick<Catalogue, 'details'>
  readonly identifiers: Identifiers
  readonly events: Events
  readonly clock: Clock
}

export interface AdapterOptions {
  /** How long a retry of a refresh gets the same successor; 0 turns it off. */
  readonly refreshRetryWindowSeconds: number
  /** How long a person may take to sign in and consent. */
  readonly interactionTtlSeconds: number
  /** True while an authorization request runs whose resource was chosen for the client. */
  readonly isResourceImplied: () => boolean
  /** The id that the session had before this request replaced it, if it has. */
  readonly replacedSession: () => string | undefined
  /** True where a device's request goes on: it is named by what its interaction remembers. */
  readonly isDeviceResumed: () => boolean
  /** True while the engine answers a request: what it looks up then may come from outside. */
  readonly isAnswering: () => boolean
  /** Seals what is only to be read when a person has decided (CIBA). */
  readonly sealNotice: (text: string) => string
  /** Counts a look-up by a user code, which is short enough to guess. Throws after too many. */
  readonly guessUserCode: LookUp
}

type LookUp = <Row>(find: () => Promise<Row | undefined>) => Promise<Row | undefined>

/** The engine's storage, for one model at a time. */
export function createAdapterFactory(
  collaborators: AdapterCollaborators,
  options: AdapterOptions,
): (model: string) => Adapter {
  return (model) => {
    if (model === 'Client') return createClientAdapter(collaborators)
    return createModelAdapter(model, collaborators, options)
  }
}

/** Clients are ours: the engine reads them and never writes them. */
function createClientAdapter({
  clients,
  findByDocument,
  catalogue,
}: AdapterCollaborators): Adapter {
  return {
    async find(id) {
      const client = await (isDocumentUrl(id) ? findByDocument(id) : clients.findById(id))
      return client && !client.disabled ? toMetadata(client, catalogue) : undefined
    },
    upsert: neverUsed,
    ...UNUSED,
  }
}

async function neverUsed(): Promise<never> {
  throw new TypeError('the engine has no reason to do this')
}

const UNUSED = {
  destroy: neverUsed,
  consume: neverUsed,
  findByUid: neverUsed,
  findByUserCode: neverUsed,
  revokeByGrantId: neverUsed,
}

/** Whether nobody has used this yet: a proof of a key, or an assertion, by who made it and its `jti`. */
export type TakeOnce = (issuer: string, jti: string, expiresAt: number) => Promise<boolean>

/**
 * Remembers what may be used once. To look it up first would prove nothing: of two requests with one
 * proof, the one that writes it wins. It is written at once, so that it is used up whatever becomes of
 * its request. `expiresAt` is in seconds.
 *
 * The engine takes a proof whose `iat` is up to five minutes ahead, and so for ten minutes in all; it
 * would have the proof forgotten after five.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9449.html#section-11.1 RFC 9449 §11.1}
 * @see {@link https://www.rfc-editor.org/rfc/rfc7523.html#section-3 RFC 7523 §3, 7}
 */
export function createReplayCheck({
  models,
  identifiers,
  clock,
}: Pick<AdapterCollaborators, 'models' | 'identifiers' | 'clock'>): TakeOnce {
  return async (issuer, jti, expiresAt) => {
    const now = clock.now()
    const keptUntil = now + 2 * Math.max(0, expiresAt * 1000 - now)
    const id = createHash('sha256').update(`${issuer}\0${jti}`).digest('base64url')
    const row = toRow('ReplayDetection', id, { iss: issuer }, keptUntil, identifiers)
    const { outcome } = await models.apply([{ kind: 'insert', ...row }])
    return outcome !== 'lost'
  }
}

function createModelAdapter(
  model: string,
  { models, revocations, clients, identifiers, events, clock }: AdapterCollaborators,
  options: AdapterOptions,
): Adapter {
  const { isResourceImplied, replacedSession } = options
  const windowMilliseconds = options.refreshRetryWindowSeconds * 1000
  const change = async (wanted: ModelWrite) => {
    const result = await write(models, wanted)
    if (result.outcome === 'lost') throw describeLoss(wanted, result.grantId, events)
  }
  const successorKey = (id: string) => identifiers.key('RefreshToken', identifiers.successor(id))

  /** Whether the first use was so recent, and its successor so fresh, that this may be its retry. */
  const isRetry = async (id: string, consumedAt: number) => {
    if (model !== 'RefreshToken' || clock.now() - consumedAt >= windowMilliseconds) return false
    const successor = await models.find(model, successorKey(id))
    return successor !== undefined && successor.consumedAt === undefined
  }

  /** What was to be settled may turn out to be over. */
  const findSettled = async (key: string) => {
    const row = await models.find(model, key)
    if (row?.replaces === undefined) return row
    await change({ kind: 'settle', key, uid: textOf(row.payload['uid']) })
    return models.find(model, key)
  }

  /**
   * A code belongs to the session that it was made in, also where its tokens would outlive it: they would
   * name, to a client that was told of its end already, a session that nobody ends any more. One that was
   * used is for the engine, which ends what was granted.
   */
  const isLate = async ({ consumedAt, payload }: StoredModel) => {
    const sid = textOf(payload['sid'])
    if (model !== 'AuthorizationCode' || consumedAt !== undefined || !sid) return false
    return revocations.isRevoked('session', sid)
  }

  return {
    async find(id) {
      if (id.length > MAX_ID_LENGTH || (isForged(id) && !mayBeRowKey(model, options))) {
        return undefined
      }
      const row = await findSettled(identifiers.key(model, id))
      if (!row || (await isLate(row))) return undefined
      const hidden = row.consumedAt !== undefined && (await isRetry(id, row.consumedAt))
      const payload = toPayload(model, row, id, hidden)
      if (model !== 'Grant') return payload
      return narrowGrant(payload, await clients.findById(textOf(payload['clientId']) ?? ''))
    },
    async findByUid(uid) {
      const row = await models.findByUid(model, uid)
      return row && toPayload(model, row, reattach(row.key), false)
    },
    async findByUserCode(userCode) {
      if (isForged(userCode)) return undefined
      const row = await options.guessUserCode(() =>
        models.findByUserCode(model, identifiers.userCode(userCode)),
      )
      return row && { ...toPayload(model, row, reattach(row.key), false), userCode }
    },
    async upsert(id, payload, expiresIn) {
      if (model === 'DeviceCode' && isOurFault(payload)) return
      if (model === 'PushedAuthorizationRequest') refuseLargeRequest(payload)
      const lifetime = boundLifetime(model, payload, expiresIn, options)
      const expiresAt = lifetime === undefined ? undefined : clock.now() + lifetime * 1000
      const kept = SIGN_INS.has(model) && isResourceImplied() ? implyResource(payload) : payload
      const replaced = model === 'Session' ? replacedSession() : undefined
      const row = model === BACKCHANNEL_MODEL ? keepAnswerable(kept, id, options) : kept
      await change({
        kind: 'put',
        ...toRow(model, id, row, expiresAt, identifiers),
        replaces: replaced && identifiers.key(model, replaced),
      })
    },
    async consume(id) {
      const key = identifiers.key(model, id)
      const retry =
        model === 'RefreshToken' && windowMilliseconds > 0
          ? { successorKey: successorKey(id), windowMilliseconds }
          : undefined
      await change({ kind: 'consume', model, key, retry })
    },
    async destroy(id) {
      // The store does this together with writing the session that replaces it.
      if (model === 'Session' && id === replacedSession()) return
      const wanted = { kind: 'destroy', model, key: identifiers.key(model, id) } as const
      if (model === 'Interaction') await writeLate(models, wanted)
      else await change(wanted)
    },
    async revokeByGrantId(id) {
      await change({ kind: 'revoke-grant', grantId: identifiers.grantId(id) })
    },
  }
}

/** In characters of base64url: as much as fits into the query of a request that was not pushed. */
const MAX_PUSHED_LENGTH = 11_000

/** Anybody can push what a public client may ask, and it is kept until somebody may have answered it. */
function refuseLargeRequest({ request }: AdapterPayload): void {
  const length = String(request).length
  if (length <= MAX_PUSHED_LENGTH) return
  throw new errors.InvalidRequest('the request is too large to be pushed')
}

function boundLifetime(
  model: string,
  payload: AdapterPayload,
  expiresIn: number | undefined,
  { interactionTtlSeconds }: AdapterOptions,
): number | undefined {
  if (model === 'Interaction') return boundAnswered(payload, expiresIn)
  // Its `exp` says until when it may be begun with. That it ends once has to be known until it ends.
  if (model === 'PushedAuthorizationRequest') return (expiresIn ?? 0) + interactionTtlSeconds
  return expiresIn
}

/** What a person's sign-in and consent end in. */
const SIGN_INS = new Set(['AuthorizationCode', 'DeviceCode', BACKCHANNEL_MODEL])

/**
 * The identifier of a grant never comes from outside, nor that of a device's request where it goes on, nor
 * that of a request that a person decides on. Any other that looks like a row key is a stolen hash shown
 * as if it were the token.
 */
function mayBeRowKey(model: string, { isDeviceResumed, isAnswering }: AdapterOptions): boolean {
  if (model === BACKCHANNEL_MODEL) return !isAnswering()
  return model === 'Grant' || (model === 'DeviceCode' && isDeviceResumed())
}

/** In characters, as it is kept. */
const MOST_BACKCHANNEL = 8192

/**
 * Of a request that waits for a person, what they are asked. What its client is to be told by stays with
 * it until then, so that neither can be read in the database.
 */
function keepAnswerable(
  payload: AdapterPayload,
  id: string,
  { sealNotice }: AdapterOptions,
): AdapterPayload {
  const { client_notification_token: token, ...params } = payload.params ?? {}
  const { scope, claims, resource, binding_message } = params
  const notice =
    typeof token === 'string' ? sealNotice(JSON.stringify({ auth_req_id: id, token })) : undefined
  const kept = { ...payload, params: { scope, claims, resource, binding_message }, notice }
  if (JSON.stringify(kept).length <= MOST_BACKCHANNEL) return kept
  throw new errors.InvalidRequest('the request is too large')
}

/** The engine ends a device's request at any error. What failed here may be tried again. */
function isOurFault({ error }: AdapterPayload): boolean {
  return error === 'server_error' || error === 'temporarily_unavailable'
}

/** The browser follows a redirect; where an account is switched without JavaScript, it waits for a click. */
const ANSWERED_SECONDS = 120

/**
 * An interaction that was answered signs somebody in. It ends when its browser has gone on with it; where
 * that answer was cut off it may be asked for again, but not for as long as a page may stay open.
 */
function boundAnswered({ result }: AdapterPayload, expiresIn = ANSWERED_SECONDS): number {
  return result === undefined ? expiresIn : Math.min(expiresIn, ANSWERED_SECONDS)
}

/**
 * A person may have agreed to more than the client's registration allows by now. For resources that is
 * decided in `resources.ts`; the scopes of OpenID Connect the engine takes from the grant.
 */
function narrowGrant(payload: AdapterPayload, client: Client | undefined): AdapterPayload {
  const openid = payload['openid'] as { readonly scope?: string } | undefined
  if (!client || openid?.scope === undefined) return payload
  const allowed = new Set(['openid', ...client.scopes])
  const scope = openid.scope.split(' ').filter((one) => allowed.has(one))
  return { ...payload, openid: { ...openid, scope: scope.join(' ') } }
}

/**
 * The engine keeps one resource as a string, whether the client named it or it was chosen for the
 * client. Only a chosen one lets the token serve userinfo too, so it is kept as a list of one.
 */
function implyResource(payload: AdapterPayload): AdapterPayload {
  const { resource } = payload
  return typeof resource === 'string' ? { ...payload, resource: [resource] } : payload
}

function toRow(
  model: string,
  id: string,
  payload: AdapterPayload,
  expiresAt: number | undefined,
  identifiers: Identifiers,
): ModelRow {
  const { jti: _jti, userCode: typed, ...rest } = payload
  const userCode = typed === undefined ? undefined : identifiers.userCode(typed)
  const grantId =
    model === 'Grant' ? id : model === 'Interaction' ? undefined : textOf(rest['grantId'])
  return {
    model,
    key: identifiers.key(model, id),
    payload:
      model === 'Interaction'
        ? forgetIds(rest, id)
        : { ...rest, ...(userCode === undefined ? {} : { userCode: reattach(userCode) }) },
    expiresAt,
    grantId: grantId === undefined ? undefined : nameGrant(grantId, identifiers),
    uid: textOf(rest['uid']),
    userCode,
    accountId: textOf(rest['accountId']),
    clientId: textOf(rest['clientId']),
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function nameGrant(id: string, identifiers: Identifiers): string {
  return identifiers.key('Grant', id)
}

/** Stands for an interaction's own id in the payload that is kept. */
const OWN_ID = '{uid}'

/**
 * An interaction names itself in its return address, and carries a copy of the session's cookie that
 * the engine never reads back. Neither is kept. The parameters of the request, which hold the client's
 * `state`, and the name of the pushed request that they come from are sealed under the interaction's own
 * id: nobody else can read them.
 */
function forgetIds(payload: ModelPayload, id: string): ModelPayload {
  const { session, returnTo, params, parJti } = payload
  const { cookie: _cookie, ...rest } = { ...(session as Record<string, unknown> | undefined) }
  return {
    ...payload,
    ...(session === undefined ? {} : { session: rest }),
    ...(params === undefined
      ? {}
      : { params: seal(deriveOwnKey(id), JSON.stringify(params), SEALED_PARAMS) }),
    ...(typeof parJti === 'string'
      ? { parJti: seal(deriveOwnKey(id), parJti, SEALED_PUSHED) }
      : {}),
    returnTo: textOf(returnTo)?.replace(id, OWN_ID),
  }
}

function restoreIds(payload: Record<string, unknown>, id: string): Record<string, unknown> {
  const sealed = textOf(payload['params'])
  const params =
    sealed === undefined
      ? payload['params']
      : (JSON.parse(unseal(deriveOwnKey(id), sealed, SEALED_PARAMS)) as unknown)
  const pushed = textOf(payload['parJti'])
  const parJti = pushed && unseal(deriveOwnKey(id), pushed, SEALED_PUSHED)
  return { ...payload, params, parJti, returnTo: textOf(payload['returnTo'])?.replace(OWN_ID, id) }
}

const SEALED_PARAMS = 'interaction params'
const SEALED_PUSHED = 'interaction request_uri'

function deriveOwnKey(id: string): Buffer {
  return createHash('sha256').update(`${SEALED_PARAMS}\0${id}`).digest()
}

function toPayload(
  model: string,
  row: StoredModel,
  jti: string,
  hideConsumed: boolean,
): AdapterPayload {
  const consumed = row.consumedAt !== undefined && !hideConsumed
  return {
    ...(model === 'Interaction' ? restoreIds(row.payload, jti) : row.payload),
    ...(outlivesSession(model, row.payload) ? { sid: undefined } : {}),
    jti,
    // The store may keep a grant for longer than it was given, and we an interaction for less.
    ...((model === 'Grant' || model === 'Interaction') && row.expiresAt !== undefined
      ? { exp: Math.floor(row.expiresAt / 1000) }
      : {}),
    ...(consumed ? { consumed: Math.floor((row.consumedAt ?? 0) / 1000) } : {}),
  }
}

/** What outlives a session does not name it: whoever reads its tokens would take it for one that goes on. */
function outlivesSession(model: string, { expiresWithSession }: ModelPayload): boolean {
  return (model === 'RefreshToken' || model === 'DeviceCode') && expiresWithSession !== true
}

/** Turns a lost write into the engine's error for the endpoint that made it. */
function describeLoss(
  lost: ModelWrite,
  grantId: string | undefined,
  events: Events,
): errors.OIDCProviderError {
  const model = 'model' in lost ? lost.model : lost.kind
  events.credentialReused({ kind: model, grantId })
  if (model === 'PushedAuthorizationRequest') {
    return new errors.InvalidRequestUri('request_uri was used already')
  }
  if (SIGN_INS.has(model) && lost.kind === 'put') {
    return new errors.AccessDenied('the grant was withdrawn meanwhile')
  }
  return new errors.InvalidGrant(`${model} was used already`)
}

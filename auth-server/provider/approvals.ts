import { errors, type Provider } from 'oidc-provider'
import type { Account } from '../accounts/account.ts'
import type { Client, ClientStore } from '../clients/client.ts'
import type { Clock } from '../clock.ts'
import type { Events } from '../events.ts'
import type { Catalogue } from '../scopes/catalogue.ts'
import { BACKCHANNEL_MODEL, MOST_WAITING } from './ciba.ts'
import type { EngineHost } from './host.ts'
import { reattach } from './identifiers.ts'
import type { Asked } from './interaction.ts'
import type { ModelStore, StoredModel } from './model-store.ts'
import type { Notifier } from './notify.ts'
import { addConsent, DECLINED, listConsent } from './pending.ts'
import { sortScopes } from './scopes-in-words.ts'
import type { SignedInPerson } from './session.ts'
import { collectWrites } from './unit-of-work.ts'

/** What an application elsewhere has asked a person for. */
export interface WaitingRequest extends Asked {
  /** Names it. It is no secret, and gets nobody a token. */
  readonly id: string
  readonly client: Client
  /** What the person may compare with what the application shows: its words, not ours. */
  readonly bindingMessage: string | undefined
  /** Whether there is anything that the person could give. */
  readonly isPossible: boolean
  /** Milliseconds since the epoch. */
  readonly askedAt: number
  readonly expiresAt: number
}

/** The engine's side of the page where people answer such requests. */
export interface Approvals {
  /** What waits for this person, the newest first. */
  list(account: Account): Promise<readonly WaitingRequest[]>
  /** The person agrees to everything in `asked` and `claims`. `false` where it was over already. */
  approve(person: SignedInPerson, request: WaitingRequest): Promise<boolean>
  refuse(person: SignedInPerson, request: WaitingRequest): Promise<boolean>
}

export interface ApprovalCollaborators {
  readonly host: EngineHost
  readonly models: ModelStore
  readonly clients: Pick<ClientStore, 'findById'>
  readonly catalogue: Catalogue
  readonly notifier: Pick<Notifier, 'notify'>
  readonly events: Pick<Events, 'cibaApproved' | 'cibaRefused'>
  readonly clock: Clock
}

export function createApprovals(collaborators: ApprovalCollaborators): Approvals {
  const { models, events } = collaborators
  return {
    async list(account) {
      const rows = await models.listByAccount(BACKCHANNEL_MODEL, account.id, MOST_WAITING)
      const found = await Promise.all(rows.map((row) => describe(collaborators, account, row)))
      return found.filter((request) => request !== undefined)
    },
    async approve({ account, signedInAt, acr, amr }, request) {
      const { client } = request
      const isDone = await decide(collaborators, account, request, async (provider) => {
        const grant = new provider.Grant({ accountId: account.id, clientId: client.id })
        addConsent(grant, request)
        await grant.save()
        const authTime = Math.floor(signedInAt / 1000)
        const proof = { authTime, amr: [...amr], ...(acr === undefined ? {} : { acr }) }
        await provider.backchannelResult(reattach(request.id), grant, proof)
      })
      const consent = listConsent(request)
      if (isDone) events.cibaApproved({ accountId: account.id, clientId: client.id, ...consent })
      return isDone
    },
    async refuse({ account }, request) {
      const isDone = await decide(collaborators, account, request, (provider) =>
        provider.backchannelResult(reattach(request.id), new errors.AccessDenied(DECLINED)),
      )
      if (isDone) events.cibaRefused({ accountId: account.id, clientId: request.client.id })
      return isDone
    },
  }
}

/**
 * What the person has decided is one commit, and of two decisions the first one counts: it takes a row
 * that there is once for each request. The engine is the same one from beginning to end: a change of the
 * keys swaps another in, which would know nothing of the objects of this one.
 */
async function decide(
  { host, models, notifier }: ApprovalCollaborators,
  account: Account,
  { id, client, expiresAt }: WaitingRequest,
  tellEngine: (provider: Provider) => Promise<void>,
): Promise<boolean> {
  const row = await models.find(BACKCHANNEL_MODEL, id)
  if (!row) return false
  const writes = await collectWrites(() => tellEngine(host.provider()))
  const owners = { accountId: account.id, clientId: client.id }
  const decision = { model: 'BackchannelDecision', key: id, payload: {}, expiresAt, ...owners }
  const { outcome } = await models.apply([{ kind: 'insert', ...decision }, ...writes])
  if (outcome === 'lost') return false
  const { notice } = row.payload
  if (typeof notice === 'string') notifier.notify(client, notice)
  return true
}

/** `undefined` for what was answered, and where the client may not have an answer any more. */
async function describe(
  { clients, catalogue }: ApprovalCollaborators,
  account: Account,
  { key, payload, expiresAt = 0 }: StoredModel,
): Promise<WaitingRequest | undefined> {
  if (payload['grantId'] !== undefined || payload['error'] !== undefined) return undefined
  const client = await clients.findById(String(payload['clientId']))
  if (!client || client.disabled || !client.grants.includes('ciba')) return undefined
  const params = payload['params'] as Readonly<Record<string, unknown>>
  const scopes = sortScopes(catalogue, params, client, account)
  const { binding_message: message } = params
  return {
    id: key,
    client,
    bindingMessage: typeof message === 'string' ? message : undefined,
    ...scopes,
    isPossible:
      scopes.leftOut.length === 0 || scopes.asked.some(({ resource }) => resource !== undefined),
    askedAt: Number(payload['iat']) * 1000,
    expiresAt,
  }
}

import type { IncomingMessage, ServerResponse } from 'node:http'
import { errors, type Grant, type Provider } from 'oidc-provider'
import type { AccountStore } from '../accounts/account.ts'
import type { Client, ClientStore } from '../clients/client.ts'
import { isDocumentClient, isDocumentUrl, type ClientDocuments } from '../clients/document.ts'
import type { Events } from '../events.ts'
import type { Catalogue } from '../scopes/catalogue.ts'
import { claimsOf } from './claims.ts'
import { describeDocumentRefusal } from './client-documents.ts'
import { describeDetails } from './details.ts'
import type { EngineHost } from './host.ts'
import type { Asked, Interactions, PendingInteraction } from './interaction.ts'
import { isOwnInteraction } from './own-interactions.ts'
import { sortScopes } from './scopes-in-words.ts'
import { ACR_PASSWORD, describeAgain } from './step-up.ts'

export interface InteractionCollaborators {
  readonly host: EngineHost
  readonly accounts: AccountStore
  readonly clients: ClientStore
  readonly documents: ClientDocuments | undefined
  readonly catalogue: Catalogue
  readonly events: Events
}

/** What the client is told of a person who has turned back. */
export const DECLINED = 'the person declined'

type Details = Awaited<ReturnType<Provider['interactionDetails']>>

/** The pages' side of the engine: reads what a browser is asked, and tells the engine the answer. */
export function createInteractions(collaborators: InteractionCollaborators): Interactions {
  const { host, events } = collaborators
  return {
    find: (req, res) =>
      unlessOver(async () => {
        const details = await readDetails(host, req, res)
        return describe(collaborators, details, addressOf(host, req, res))
      }),
    finishSignIn: (req, res, { accountId, at, methods }) =>
      unlessOver(async () => {
        // The engine reads this again after the consent page: without `ts` it would take that moment.
        const ts = Math.floor(at / 1000)
        const login = { accountId, acr: ACR_PASSWORD, amr: [...methods], remember: true, ts }
        // Whoever has signed in has chosen.
        const result = { login, select_account: {} }
        await readDetails(host, req, res)
        return host
          .provider()
          .interactionResult(req, res, result, { mergeWithLastSubmission: false })
      }),
    keepAccount: (req, res) =>
      unlessOver(async () => {
        await readDetails(host, req, res)
        return host.provider().interactionResult(req, res, { select_account: {} })
      }),
    finishConsent: (req, res, agreed) =>
      unlessOver(async () => {
        const details = await readDetails(host, req, res)
        const pending = await describe(collaborators, details, addressOf(host, req, res))
        const accountId = details.session?.accountId
        if (!pending || accountId === undefined) return undefined
        // The client may have become another, or ask for more, while the answer was looked at.
        if (describeConsent(pending) !== describeConsent(agreed)) return undefined
        const isNew = await keepDocument(collaborators, pending.client)
        const grantId = await saveGrant(host.provider(), details, pending, { accountId, isNew })
        events.consentGiven({
          accountId,
          clientId: pending.client.id,
          ...listConsent(pending),
        })
        return host.provider().interactionResult(req, res, { consent: { grantId } })
      }),
    cancel: (req, res) =>
      unlessOver(async () => {
        const details = await readDetails(host, req, res)
        events.consentRefused({
          accountId: details.session?.accountId,
          clientId: textOf(details.params['client_id']),
        })
        const result = { error: 'access_denied', error_description: DECLINED }
        return host
          .provider()
          .interactionResult(req, res, result, { mergeWithLastSubmission: false })
      }),
  }
}

/** All that a person agrees to, and who it is. */
function describeConsent({ client, account, asked, claims, details }: PendingInteraction): string {
  return JSON.stringify([client.document?.hash, account?.id, asked, claims, details])
}

/** Answers whether people had not agreed to this document before. */
async function keepDocument(
  { documents }: InteractionCollaborators,
  client: Client,
): Promise<boolean> {
  return documents !== undefined && isDocumentClient(client) && documents.keep(client)
}

function addressOf(host: EngineHost, req: IncomingMessage, res: ServerResponse): string {
  return host.provider().createContext(req, res).ip
}

/** The engine goes by a cookie that others may have planted: only this browser's own are answered. */
async function readDetails(
  host: EngineHost,
  req: IncomingMessage,
  res: ServerResponse,
): Promise<Details> {
  const provider = host.provider()
  const details = await provider.interactionDetails(req, res)
  if (isOwnInteraction(provider.createContext(req, res), details.uid)) return details
  throw new errors.SessionNotFound('another browser has started this interaction')
}

/** The engine throws where this browser has no such interaction, or has it no longer. */
async function unlessOver<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof errors.SessionNotFound) return undefined
    throw error
  }
}

/** `undefined` where the client was removed or disabled since, or waits for what we have no page for. */
async function describe(
  collaborators: InteractionCollaborators,
  { uid, prompt, params, session, deviceCode }: Details,
  address: string,
): Promise<PendingInteraction | undefined> {
  const { accounts, catalogue } = collaborators
  const client = await findClient(collaborators, textOf(params['client_id']), address)
  if (!client || client.disabled) return undefined
  if (!isKnownPrompt(prompt.name)) return undefined
  const account = session ? await accounts.findById(session.accountId) : undefined
  const scopes = prompt.name === 'consent' ? sortScopes(catalogue, params, client, account) : NONE
  return {
    uid,
    prompt: prompt.name,
    client,
    returnTo: deviceCode === undefined ? describeReturn(textOf(params['redirect_uri'])) : undefined,
    account,
    again: account && describeAgain(prompt.reasons),
    loginHint: textOf(params['login_hint']) || undefined,
    ...scopes,
    details: describeDetails(catalogue, params, scopes.asked),
  }
}

function isKnownPrompt(name: string): name is PendingInteraction['prompt'] {
  return name === 'login' || name === 'select_account' || name === 'consent'
}

/** Another server may have started the interaction, so that the document is not known here. */
async function findClient(
  { clients, documents, events }: InteractionCollaborators,
  id: string,
  address: string,
): Promise<Client | undefined> {
  if (!documents || !isDocumentUrl(id)) return clients.findById(id)
  const found = await documents.resolve(id, { purpose: 'page', address })
  if (found.ok) return found.value
  const detail = describeDocumentRefusal(id, found.reason)
  events.requestRefused({
    endpoint: 'authorization',
    error: 'invalid_client',
    clientId: id,
    detail,
  })
  return undefined
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

const NONE = { asked: [], claims: [], leftOut: [] } as const

/** Where the browser goes next, in the form that people can compare with what they expect. */
export function describeReturn(redirectUri: string): string {
  const uri = URL.parse(redirectUri)
  if (!uri) return redirectUri
  // A scheme of an app's own may read like a host, and have any host behind it.
  return /^https?:$/.test(uri.protocol) ? uri.host : uri.protocol
}

async function saveGrant(
  provider: Provider,
  details: Details,
  { client, ...asked }: PendingInteraction,
  { accountId, isNew }: { readonly accountId: string; readonly isNew: boolean },
): Promise<string> {
  const existing =
    details.grantId && !isNew ? await provider.Grant.find(details.grantId) : undefined
  const usable = existing?.accountId === accountId ? existing : undefined
  const grant = usable ?? new provider.Grant({ accountId, clientId: client.id })
  addConsent(grant, asked)
  return grant.save()
}

/** With a scope go its claims: a client that names one of them later has it already. */
export function addConsent(grant: Grant, { asked, claims }: Pick<Asked, 'asked' | 'claims'>): void {
  for (const { scope, resource } of asked) {
    if (resource === undefined) {
      grant.addOIDCScope(scope)
      grant.addOIDCClaims([...claimsOf(scope)])
    } else {
      grant.addResourceScope(resource, scope)
    }
  }
  grant.addOIDCClaims(claims.map(({ claim }) => claim))
}

/** For the log: what was agreed to. */
export function listConsent({ asked, claims }: Pick<Asked, 'asked' | 'claims'>) {
  return {
    scopes: asked.map(({ scope }) => scope),
    ...(claims.length > 0 && { claims: claims.map(({ claim }) => claim) }),
  }
}

import type { IncomingMessage, ServerResponse } from 'node:http'
import { errors, type Grant, type Provider } from 'oidc-provider'
import type { Account, AccountStore } from '../accounts/account.ts'
import type { Client, ClientStore } from '../clients/client.ts'
import type { Events } from '../events.ts'
import type { OidcScope } from '../config/built-in.ts'
import { isOidcScope, OIDC_SCOPES, type Catalogue, type Resource } from '../scopes/catalogue.ts'
import { decideScopes } from '../scopes/policy.ts'
import type { EngineHost } from './host.ts'
import type { Interactions, PendingInteraction, ScopeInWords } from './interaction.ts'
import { isOwnInteraction } from './own-interactions.ts'
import { toSubject } from './resources.ts'

export interface InteractionCollaborators {
  readonly host: EngineHost
  readonly accounts: AccountStore
  readonly clients: ClientStore
  readonly catalogue: Catalogue
  readonly events: Events
}

type Details = Awaited<ReturnType<Provider['interactionDetails']>>

/** The pages' side of the engine: reads what a browser is asked, and tells the engine the answer. */
export function createInteractions(collaborators: InteractionCollaborators): Interactions {
  const { host, events } = collaborators
  return {
    find: (req, res) =>
      unlessOver(async () => {
        const details = await readDetails(host, req, res)
        return describe(collaborators, details)
      }),
    finishSignIn: (req, res, { accountId, at, methods }) =>
      unlessOver(async () => {
        // The engine reads this again after the consent page: without `ts` it would take that moment.
        const ts = Math.floor(at / 1000)
        const login = { accountId, amr: [...methods], remember: true, ts }
        await readDetails(host, req, res)
        return host
          .provider()
          .interactionResult(req, res, { login }, { mergeWithLastSubmission: false })
      }),
    finishConsent: (req, res) =>
      unlessOver(async () => {
        const details = await readDetails(host, req, res)
        const pending = await describe(collaborators, details)
        const accountId = details.session?.accountId
        if (!pending || accountId === undefined) return undefined
        const grantId = await saveGrant(host.provider(), details, pending, accountId)
        events.consentGiven({
          accountId,
          clientId: pending.client.id,
          scopes: pending.asked.map(({ scope }) => scope),
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
        const result = { error: 'access_denied', error_description: 'the person declined' }
        return host
          .provider()
          .interactionResult(req, res, result, { mergeWithLastSubmission: false })
      }),
  }
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
  { clients, accounts, catalogue }: InteractionCollaborators,
  { uid, prompt, params, session }: Details,
): Promise<PendingInteraction | undefined> {
  const client = await clients.findById(textOf(params['client_id']))
  if (!client || client.disabled) return undefined
  if (prompt.name !== 'login' && prompt.name !== 'consent') return undefined
  const account = session ? await accounts.findById(session.accountId) : undefined
  const scopes = prompt.name === 'consent' ? sortScopes(catalogue, params, client, account) : NONE
  return {
    uid,
    prompt: prompt.name,
    client,
    returnTo: describeReturn(textOf(params['redirect_uri'])),
    account,
    loginHint: textOf(params['login_hint']) || undefined,
    ...scopes,
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

const NONE = { asked: [], leftOut: [] } as const

/** Into what may be granted and what the person's roles do not carry, each in words. */
function sortScopes(
  catalogue: Catalogue,
  params: Details['params'],
  client: Client,
  account: Account | undefined,
): { asked: ScopeInWords[]; leftOut: ScopeInWords[] } {
  const requested = textOf(params['scope']).split(' ').filter(Boolean)
  const asked = requested.filter(isOidcScope).map((scope) => describeOidcScope(scope))
  const leftOut: ScopeInWords[] = []
  const resources = [params['resource'] ?? []]
    .flat()
    .map((id) => catalogue.resources.get(textOf(id)))
  for (const resource of resources.filter((known) => known !== undefined)) {
    const { granted, refused } = decideScopes({
      requested: requested.filter((scope) => !isOidcScope(scope)),
      resourceScopes: new Set(resource.scopes.keys()),
      clientScopes: new Set(client.scopes),
      subject: toSubject(catalogue, account ?? 'unknown'),
    })
    asked.push(...granted.map((scope) => describeScope(resource, scope)))
    const byRole = refused.filter(({ reason }) => reason === 'role')
    leftOut.push(...byRole.map(({ scope }) => describeScope(resource, scope)))
  }
  return { asked, leftOut }
}

function describeOidcScope(scope: OidcScope): ScopeInWords {
  return { scope, description: OIDC_SCOPES[scope], resourceName: undefined, resource: undefined }
}

function describeScope(resource: Resource, scope: string): ScopeInWords {
  const { description = scope } = resource.scopes.get(scope) ?? {}
  return { scope, description, resourceName: resource.name, resource: resource.identifier }
}

/** Where the browser goes next, in the form that people can compare with what they expect. */
function describeReturn(redirectUri: string): string {
  const uri = URL.parse(redirectUri)
  if (!uri) return redirectUri
  return uri.host === '' ? uri.protocol.slice(0, -1) : uri.host
}

async function saveGrant(
  provider: Provider,
  details: Details,
  { asked, client }: PendingInteraction,
  accountId: string,
): Promise<string> {
  const existing = details.grantId ? await provider.Grant.find(details.grantId) : undefined
  const usable = existing?.accountId === accountId ? existing : undefined
  const grant = usable ?? new provider.Grant({ accountId, clientId: client.id })
  addScopes(grant, asked)
  return grant.save()
}

function addScopes(grant: Grant, asked: readonly ScopeInWords[]): void {
  for (const { scope, resource } of asked) {
    if (resource === undefined) grant.addOIDCScope(scope)
    else grant.addResourceScope(resource, scope)
  }
}

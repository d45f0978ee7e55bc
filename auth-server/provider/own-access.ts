import { createHmac } from 'node:crypto'
import { isSelfDescribed, type Client, type ClientStore } from '../clients/client.ts'
import { OWN_CLIENT_ID } from '../config/built-in.ts'
import type { Events } from '../events.ts'
import type { Catalogue } from '../scopes/catalogue.ts'
import type { Detail, DetailInWords } from '../scopes/details.ts'
import { describeGrantedDetails } from './details.ts'
import type { Asked } from './interaction.ts'
import type { ModelStore } from './model-store.ts'
import type { LastUse, OwnAccessStore, StoredGrant, StoredSession } from './own-access-store.ts'
import { describeGranted } from './scopes-in-words.ts'
import type { SignedInPerson } from './session.ts'

/** A browser in which a person is signed in. */
export interface OwnSession {
  /** Names it to its person, and is of no use to anybody else: the session's own names stay here. */
  readonly id: string
  /** Whether it is the one that asks. */
  readonly isCurrent: boolean
  /** Milliseconds since the epoch. */
  readonly signedInAt: number
  /** `undefined` where it has not come since this is remembered. */
  readonly lastUse: LastUse | undefined
}

/** A client that a person has allowed something. */
export interface AllowedApp extends Pick<Asked, 'asked' | 'claims'> {
  readonly client: Pick<Client, 'id' | 'name'>
  /** Whether it has described itself: nobody here has vouched for its name. */
  readonly isUnchecked: boolean
  /** Whether it belongs to this service, and does not ask for what it wants. */
  readonly isFirstParty: boolean
  /** What it may do in detail (RFC 9396), of the refresh tokens that it has. */
  readonly details: readonly DetailInWords[]
  /** Milliseconds since the epoch: the oldest of what it has now. */
  readonly allowedAt: number
  /** `undefined` where it has got no token since this is remembered. */
  readonly lastUse: LastUse | undefined
  /** Whether it keeps its access when the person signs out. */
  readonly isOffline: boolean
  /** In which of the sessions that are listed the person is signed in to it. */
  readonly sessions: readonly OwnSession[]
}

export interface OwnAccessList {
  readonly sessions: readonly OwnSession[]
  readonly apps: readonly AllowedApp[]
  /** Whether there are more than are listed. */
  readonly hasMoreSessions: boolean
  readonly hasMoreApps: boolean
}

/** The engine's side of the page where people see what they have open and have allowed, and end it. */
export interface OwnAccess {
  /** The newest first; of sessions the one that asks before all others. */
  list(person: SignedInPerson): Promise<OwnAccessList>
  /** Of this person alone: an `id` of somebody else's is as good as none. */
  endSession(person: SignedInPerson, id: string): Promise<void>
  /** Ends all sessions but the one that asks, those too that are not listed. */
  endOtherSessions(person: SignedInPerson): Promise<void>
  /** Takes from the client all that the person has allowed it, at once and also where it is offline. */
  withdrawConsent(person: SignedInPerson, clientId: string): Promise<void>
}

export interface OwnAccessCollaborators {
  readonly access: OwnAccessStore
  readonly models: ModelStore
  readonly clients: Pick<ClientStore, 'findById'>
  readonly catalogue: Catalogue
  readonly events: Pick<Events, 'signedOut' | 'consentWithdrawn'>
}

/** What is shown of each: a page is for people. */
const MOST_SHOWN = 50
/** What is read for it: a session may have several rows, and an app several grants. */
const MOST_READ = 250

/** `handleKey`: the ids of sessions are made with it. */
export function createOwnAccess(
  collaborators: OwnAccessCollaborators,
  { handleKey }: { readonly handleKey: Buffer },
): OwnAccess {
  const { access, models, events } = collaborators
  const toId = (uid: string) => createHmac('sha256', handleKey).update(uid).digest('base64url')
  return {
    async list(person) {
      const { account } = person
      const [stored, grants, detailsOf] = await Promise.all([
        access.listSessions(account.id, MOST_READ),
        access.listGrants(account.id, MOST_READ, OWN_CLIENT_ID),
        readDetails(collaborators, account.id),
      ])
      const shown = stored.sessions
        .slice(0, MOST_SHOWN)
        .map((one) => ({ ...one, id: toId(one.uid) }))
      const found = await readSessions(collaborators, person, shown)
      const byClient = [...Map.groupBy(grants, ({ clientId }) => clientId)]
      const apps = byClient.slice(0, MOST_SHOWN).map(([clientId, own]) => {
        const sessions = found.filter(({ clients }) => clients.includes(clientId))
        return describeApp(collaborators, clientId, {
          grants: own,
          sessions: sessions.map(({ session }) => session),
          details: detailsOf(clientId),
        })
      })
      return {
        sessions: found.map(({ session }) => session),
        apps: await Promise.all(apps),
        // Somebody could hide one behind many rows of others.
        hasMoreSessions: stored.more || stored.sessions.length > MOST_SHOWN,
        hasMoreApps: byClient.length > MOST_SHOWN || grants.length === MOST_READ,
      }
    },
    async endSession({ account }, id) {
      const { sessions } = await access.listSessions(account.id, MOST_READ)
      const uid = sessions.find((one) => toId(one.uid) === id)?.uid
      if (uid === undefined) return
      await models.apply([{ kind: 'end-session', uid }])
      events.signedOut({ accountId: account.id })
    },
    async endOtherSessions({ account, sessionUid }) {
      const ended = await access.endOtherSessions(account.id, sessionUid)
      if (ended > 0) events.signedOut({ accountId: account.id, sessions: ended })
    },
    async withdrawConsent({ account }, clientId) {
      const isDone = await access.withdrawConsent(account.id, clientId)
      if (isDone) events.consentWithdrawn({ accountId: account.id, clientId })
    },
  }
}

interface FoundSession {
  readonly session: OwnSession
  /** The ids of those that are authorised in it. */
  readonly clients: readonly string[]
}

/** Without those that have ended meanwhile, or whose other half in Redis is gone. */
async function readSessions(
  { models }: OwnAccessCollaborators,
  { sessionUid }: SignedInPerson,
  stored: readonly (StoredSession & { readonly id: string })[],
): Promise<readonly FoundSession[]> {
  const found = await Promise.all(
    stored.map(async ({ id, uid, key, lastUse }) => {
      const row = await models.find('Session', key)
      if (!row) return []
      const { loginTs, authorizations } = row.payload
      const isCurrent = uid === sessionUid
      const session = { id, isCurrent, signedInAt: Number(loginTs) * 1000, lastUse }
      return [{ session, clients: Object.keys(authorizations ?? {}) }]
    }),
  )
  return found
    .flat()
    .toSorted((one, two) => Number(two.session.isCurrent) - Number(one.session.isCurrent))
}

/** Only tokens have them: a consent is to a scope, and the details go with it. */
async function readDetails(
  { models, catalogue }: OwnAccessCollaborators,
  accountId: string,
): Promise<(clientId: string) => readonly DetailInWords[]> {
  if (catalogue.details.size === 0) return () => []
  const tokens = await models.listByAccount('RefreshToken', accountId, MOST_READ)
  const payloads = tokens.map(({ payload }) => payload as TokenPayload)
  const byClient = Map.groupBy(payloads, (payload) => payload.clientId)
  return (clientId) => {
    const own = byClient.get(clientId) ?? []
    return describeGrantedDetails(
      catalogue,
      own.flatMap(({ rar = [] }) => rar),
    )
  }
}

interface TokenPayload {
  readonly clientId?: string
  readonly rar?: readonly Detail[]
}

async function describeApp(
  { clients, catalogue }: OwnAccessCollaborators,
  clientId: string,
  {
    grants,
    sessions,
    details,
  }: { readonly grants: readonly StoredGrant[] } & Pick<AllowedApp, 'sessions' | 'details'>,
): Promise<AllowedApp> {
  const known = await clients.findById(clientId)
  const payloads = grants.map(({ payload }) => payload)
  const uses = grants.flatMap(({ lastUse }) => lastUse ?? [])
  return {
    // What has been removed has lost its grants: of one that is not found nothing but its id is known.
    client: { id: clientId, name: known?.name ?? clientId },
    isUnchecked: known === undefined || isSelfDescribed(known),
    isFirstParty: known?.firstParty ?? false,
    ...describeGranted(catalogue, payloads),
    allowedAt: Math.min(...payloads.map(({ iat }) => Number(iat))) * 1000,
    lastUse: uses.toSorted((one, two) => two.at - one.at)[0],
    isOffline: payloads.some(isOffline),
    details,
    sessions,
  }
}

function isOffline({ openid }: Readonly<Record<string, unknown>>): boolean {
  const { scope = '' } = (openid ?? {}) as { readonly scope?: string }
  return scope.split(' ').includes('offline_access')
}

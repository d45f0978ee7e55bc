import { createHash } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { isSelfDescribed, type ClientStore } from '../clients/client.ts'
import {
  isDocumentClient,
  judgeDocumentUrl,
  type ClientDocuments,
  type ClientDocumentStore,
  type DocumentClient,
  type DocumentRefusal,
} from '../clients/document.ts'
import type { Clock } from '../clock.ts'
import { GRANT_TYPES } from '../config/built-in.ts'
import type { ClientDocumentsConfig, ResourceConfig } from '../config/schema.ts'
import type { Result } from '../errors.ts'
import type { Events } from '../events.ts'
import type { OutboundFetch } from '../outbound.ts'
import { toNetwork, type Pace } from '../throttle.ts'
import { fetchDocument, type FetchedDocument } from './fetch-document.ts'
import { pickMembers, readMetadata } from './metadata.ts'

export interface DocumentPaces {
  /** Whether an address has too many fetched that are not known here. */
  readonly address: Pace
  /** Whether too many of one host that are not known here are. */
  readonly host: Pace
  /** Whether one that is known here is. */
  readonly known: Pace
  /** Whether too many are at all. */
  readonly overall: Pace
}

export interface DocumentCollaborators {
  /** As they are kept: those that people have agreed to are among them. */
  readonly clients: ClientStore
  readonly store: ClientDocumentStore
  readonly fetchOutbound: OutboundFetch
  readonly paces: DocumentPaces
  readonly events: Pick<Events, 'objectChanged'>
  readonly clock: Clock
}

export interface DocumentOptions {
  readonly issuer: string
  readonly policy: ClientDocumentsConfig
  readonly resources: readonly ResourceConfig[]
  /** Names that no client may look like beside those of the operator's clients. */
  readonly ownNames: readonly string[]
}

/** What is known of a document. Whether it is still so is another question. */
interface Known {
  readonly client: DocumentClient
  readonly freshUntil: number
}

type Outcome<T> = Promise<Result<T, DocumentRefusal>>

/** Each of a few kilobytes. */
const MOST_KNOWN = 500
/** Of those that nobody has agreed to: others are as many as there are clients, and wait for no stranger. */
const MOST_AT_ONCE = 20
/** A client whose site is down redeems for so long what it was given, after its document was fresh. */
const GRACE_MS = 3_600_000
/**
 * No failure to read comes sooner. That a name leads inside, nowhere, or to a closed port is found out in
 * milliseconds each, and whoever sees which of them it was can search the network of this server.
 */
const REFUSAL_MS = 500

export function createClientDocuments(
  collaborators: DocumentCollaborators,
  options: DocumentOptions,
): ClientDocuments {
  const { clients, store, paces, events, clock } = collaborators
  const { issuer, policy } = options
  const known = new Map<string, Known>()
  const flights = new Map<string, Outcome<Known>>()

  const remember = (url: string, found: Known) => {
    known.delete(url)
    known.set(url, found)
    const [oldest] = known.keys()
    if (known.size > MOST_KNOWN && oldest !== undefined) known.delete(oldest)
  }
  /** What nobody has agreed to a stranger can make up without end; a client that is known waits for none. */
  const slow = async (url: string, address: string, isKept: boolean) => {
    const { hostname } = new URL(url)
    const first = isKept
      ? await paces.known(url)
      : ((await paces.address(toNetwork(address))) ?? (await paces.host(hostname)))
    return first ?? (isKept ? undefined : await paces.overall('all'))
  }
  const load = async (url: string, address: string, isKept: boolean): Outcome<Known> => {
    const underWay = flights.get(url)
    if (underWay) return underWay
    const throttled = await slow(url, address, isKept)
    if (throttled) return refuse({ kind: 'throttled', ...throttled })
    const started = flights.get(url)
    if (started) return started
    if (!isKept && flights.size >= MOST_AT_ONCE) return refuse({ kind: 'busy' })
    const flight = read(collaborators, options, url)
    flights.set(url, flight)
    try {
      const outcome = await flight
      if (outcome.ok) remember(url, outcome.value)
      return outcome
    } finally {
      flights.delete(url)
    }
  }
  const loadPatiently: typeof load = async (...wanted) => {
    const earliest = wait(REFUSAL_MS, undefined, { ref: false })
    const outcome = await load(...wanted)
    if (!outcome.ok && outcome.reason.kind === 'unreadable') await earliest
    return outcome
  }
  const findKept = async (url: string) => {
    const kept = await clients.findById(url)
    return kept && isDocumentClient(kept) ? kept : undefined
  }

  return {
    async resolve(url, { purpose, address }) {
      const expected = judgeDocumentUrl(url, { issuer, hosts: policy.hosts })
      if (expected !== undefined) return refuse({ kind: 'url', expected })
      const kept = await findKept(url)
      if (kept?.disabled || (purpose === 'token' && !kept)) return refuse({ kind: 'unknown' })
      const hash = kept?.document.hash
      const last = known.get(url)
      const isAgreed =
        last !== undefined && (hash ?? last.client.document.hash) === last.client.document.hash
      const isFresh = last !== undefined && (clock.now() < last.freshUntil || purpose === 'page')
      if (isAgreed && isFresh) return accept(last.client)
      const loaded = await loadPatiently(url, address, kept !== undefined)
      if (loaded.ok) {
        const { client } = loaded.value
        if (hash !== undefined && hash !== client.document.hash && (await store.end(url, hash))) {
          events.objectChanged({
            kind: 'client',
            action: 'document_changed',
            id: url,
            by: 'client',
          })
        }
        return accept(client)
      }
      const { reason } = loaded
      const isForgiven =
        purpose === 'token' &&
        isAgreed &&
        isPassing(reason) &&
        clock.now() < last.freshUntil + GRACE_MS
      return isForgiven ? accept(last.client) : loaded
    },
    async find(url) {
      const kept = await findKept(url)
      const last = known.get(url)?.client
      // What the operator allows by now.
      const isSame = last?.document.hash === kept?.document.hash
      return kept && last && isSame ? { ...last, disabled: kept.disabled } : kept
    },
    async keep(client) {
      const outcome = await store.keep(client)
      if (outcome === 'known') return false
      const action = outcome === 'kept' ? 'document_agreed' : 'document_changed'
      events.objectChanged({ kind: 'client', action, id: client.id, by: 'client' })
      return true
    },
  }
}

/** It says nothing of the client. */
function isPassing(reason: DocumentRefusal): boolean {
  if (reason.kind === 'unreadable') return reason.isTransient
  return reason.kind === 'throttled' || reason.kind === 'busy'
}

async function read(
  { clients, fetchOutbound, clock }: DocumentCollaborators,
  options: DocumentOptions,
  url: string,
): Outcome<Known> {
  const fetched = await fetchDocument(fetchOutbound, url, clock)
  if (!fetched.ok) return fetched
  const vouchedFor = (await clients.list()).filter((client) => !isSelfDescribed(client))
  const takenNames = [...vouchedFor.map(({ name }) => name), ...options.ownNames]
  const { metadata, freshSeconds } = fetched.value
  const now = clock.now()
  const judged = judge(url, metadata, { ...options, takenNames })
  if (!judged.ok) return refuse({ kind: 'metadata', description: judged.reason })
  const client = { ...judged.value, createdAt: now, updatedAt: now }
  return { ok: true, value: { client, freshUntil: now + freshSeconds * 1000 } }
}

type Judged = Omit<DocumentClient, 'createdAt' | 'updatedAt'>

/**
 * There is nobody to share a secret with.
 *
 * @see {@link https://www.ietf.org/archive/id/draft-ietf-oauth-client-id-metadata-document-02.html#section-4 draft-02 §4}
 */
const SECRETS = ['client_secret', 'client_secret_expires_at'] as const

function judge(
  url: string,
  metadata: FetchedDocument['metadata'],
  { policy, resources, takenNames }: DocumentOptions & { readonly takenNames: readonly string[] },
): Result<Judged, string> {
  const secret = SECRETS.find((member) => Object.hasOwn(metadata, member))
  if (secret !== undefined) return { ok: false, reason: `${secret}: expected none` }
  const members = pickMembers(metadata)
  // A sector would be another document, which somebody else can change.
  if (members['subject_type'] === 'pairwise') {
    return { ok: false, reason: 'subject_type: expected public' }
  }
  const wanted = { ...members, ...fillIn(url, members, policy) }
  const parsed = readMetadata(url, wanted, { policy, resources, takenNames })
  if (!parsed.ok) return { ok: false, reason: parsed.reason.description }
  return {
    ok: true,
    value: {
      ...parsed.value,
      defaultResource: undefined,
      secretHash: undefined,
      document: { hash: hashMembers(members) },
      disabled: false,
      owner: 'document',
    },
  }
}

/**
 * A document is for any server, so that it may name what this one does not have. Where it says nothing of
 * how it proves itself, it cannot mean a secret, which is the default of RFC 7591.
 */
function fillIn(
  url: string,
  { client_name, grant_types, token_endpoint_auth_method, response_types }: Record<string, unknown>,
  policy: ClientDocumentsConfig,
): Record<string, unknown> {
  const known = policy.grants.map((grant): string => GRANT_TYPES[grant])
  const grants: readonly unknown[] = Array.isArray(grant_types)
    ? grant_types
    : ['authorization_code']
  return {
    client_name: client_name ?? new URL(url).host,
    token_endpoint_auth_method: token_endpoint_auth_method ?? 'none',
    grant_types: grants.filter((grant) => known.includes(String(grant))),
    response_types:
      Array.isArray(response_types) && response_types.includes('code') ? ['code'] : response_types,
  }
}

/** Of all that means something here, however it is written down. */
function hashMembers(members: Record<string, unknown>): string {
  const text = JSON.stringify(members, (_name, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(
          Object.entries(value).toSorted(([one], [other]) => (one < other ? -1 : 1)),
        )
      : value,
  )
  return createHash('sha256').update(text).digest('base64url')
}

function accept(value: DocumentClient): { readonly ok: true; readonly value: DocumentClient } {
  return { ok: true, value }
}

function refuse(reason: DocumentRefusal): { readonly ok: false; readonly reason: DocumentRefusal } {
  return { ok: false, reason }
}

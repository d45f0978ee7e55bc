import { isIP } from 'node:net'
import { isHostAmong } from '../config/check-registration.ts'
import { isLoopback } from '../config/uri-rules.ts'
import type { Result } from '../errors.ts'
import type { Client, ClientStore } from './client.ts'

/** A client that is described by a document of its own, at the URL that is its id. */
export type DocumentClient = Client & { readonly document: NonNullable<Client['document']> }

/** Why a request of such a client goes no further. What strangers learn of it is the caller's to say. */
export type DocumentRefusal =
  /** The id itself, which whoever asks has written: they may know what is wrong with it. */
  | { readonly kind: 'url'; readonly expected: string }
  /** `isTransient`: it may be there again by itself. `detail` names places, and is for operators. */
  | { readonly kind: 'unreadable'; readonly isTransient: boolean; readonly detail: string }
  /** It could be read, and whoever has written it is told what to mend. */
  | { readonly kind: 'metadata'; readonly description: string }
  | { readonly kind: 'throttled'; readonly retryAfterSeconds: number }
  | { readonly kind: 'busy' }
  /** Nobody has agreed to such a client, or the operator has disabled it. */
  | { readonly kind: 'unknown' }

/**
 * What a client is needed for. `authorization`: it asks people for something, by what its document says
 * now. `page`: a person answers what they were shown. `token`: it redeems what it was given.
 */
export type DocumentPurpose = 'authorization' | 'page' | 'token'

export interface DocumentAsking {
  readonly purpose: DocumentPurpose
  /** Where the request comes from. */
  readonly address: string
}

/**
 * Clients whose id is the URL of a document that describes them.
 *
 * @see {@link https://www.ietf.org/archive/id/draft-ietf-oauth-client-id-metadata-document-02.html OAuth Client ID Metadata Document}
 */
export interface ClientDocuments {
  /**
   * The client as its document has it, which is fetched where what is known of it is too old. This and
   * nothing else fetches: whoever looks a client up without being asked by it calls `find`.
   */
  resolve(url: string, asking: DocumentAsking): Promise<Result<DocumentClient, DocumentRefusal>>
  /** The client that people have agreed to. Fetches nothing. */
  find(url: string): Promise<Client | undefined>
  /**
   * A person agrees to the client as it was resolved. What was agreed to another document ends. Answers
   * whether nobody had agreed to this one.
   */
  keep(client: DocumentClient): Promise<boolean>
}

/**
 * The documents that people have agreed to are clients in the `ClientStore`; this is what is done to them
 * alone.
 *
 * Concurrency contract, which holds between processes as well: there is one document of a client, and
 * grants to no other.
 */
export interface ClientDocumentStore {
  /**
   * Puts the client there, unless it is there with this document, or disabled. What another was granted
   * ends.
   */
  keep(client: DocumentClient): Promise<'kept' | 'known' | 'replaced'>
  /**
   * Removes the client while it has this document and is not disabled, and ends its grants. `false` where
   * it has not.
   */
  end(id: string, hash: string): Promise<boolean>
  /** Removes at most `limit` clients that have no grants and are not disabled, agreed to before `before` (ms). */
  removeUnused(before: number, limit: number): Promise<readonly string[]>
}

/** Whether an id is meant to be the URL of a document. Ids of all other clients have no colon. */
export function isDocumentUrl(id: string): boolean {
  return id.includes(':')
}

export function isDocumentClient(client: Client): client is DocumentClient {
  return client.owner === 'document' && client.document !== undefined
}

/** The same clients, and those of documents: none where there is nobody who reads these. */
export function withDocuments(
  clients: ClientStore,
  documents: ClientDocuments | undefined,
): ClientStore {
  return {
    ...clients,
    findById: async (id) => (isDocumentUrl(id) ? documents?.find(id) : clients.findById(id)),
  }
}

export interface DocumentUrlRules {
  readonly issuer: string
  /** Default: any. */
  readonly hosts?: readonly string[] | undefined
}

/** It stands in every token of the client, and people may have to read it. */
const LONGEST_URL = 512

/**
 * What a URL has to be to name a client, or `undefined` where it is good. It is never normalized, and so
 * has to be normal: two spellings of one place would be two clients that look alike.
 *
 * Where its name leads is not checked: see `outbound.ts`.
 *
 * @see {@link https://www.ietf.org/archive/id/draft-ietf-oauth-client-id-metadata-document-02.html#section-3 draft-02 §3}
 */
export function judgeDocumentUrl(
  id: string,
  { issuer, hosts }: DocumentUrlRules,
): string | undefined {
  if (id.length > LONGEST_URL) return `a URL of at most ${LONGEST_URL} characters`
  const url = /^[\x21-\x5B\x5D-\x7E]+$/.test(id) ? URL.parse(id) : null
  if (!url) return 'a URL'
  const own = new URL(issuer)
  const mayBeLocal = isLoopback(own.hostname) && isLoopback(url.hostname)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && mayBeLocal)) return 'an https URL'
  if (id.includes('#')) return 'a URL without a fragment'
  // One place would have endless clients, and might answer what it is told to.
  if (id.includes('?')) return 'a URL without a query'
  if (url.username !== '' || url.password !== '') return 'a URL without a user name'
  if (url.href !== id) {
    return 'a URL with a path, as RFC 3986 §6.2 normalizes it: small letters, no dot segments, no default port'
  }
  if (!mayBeLocal && !isPublicName(url.hostname)) return 'a URL of a host with a public name'
  if (url.port !== '' && Number(url.port) < FIRST_FREE_PORT) {
    return `a URL with port 443, or from ${FIRST_FREE_PORT} up`
  }
  if (url.host === own.host) return 'a URL of another server than this one'
  if (hosts && !isHostAmong(url.hostname, hosts)) return 'a URL of a host that may be used here'
  return undefined
}

/** Below it are services that speak something else. */
const FIRST_FREE_PORT = 1024

/** Numbers tell people nothing, and a dot at the end is a second spelling. */
function isPublicName(hostname: string): boolean {
  const isAddress = hostname.startsWith('[') || isIP(hostname) !== 0
  return !isAddress && !isLoopback(hostname) && /^[^.]+(?:\.[^.]+)+$/.test(hostname)
}

import { randomUUID } from 'node:crypto'
import { request as requestHttp, type IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import { importJWK, SignJWT } from 'jose'
import {
  askAuthorization,
  readAuthorize,
  requireClientId,
  type Authorize,
} from './authorization.ts'
import type { Clock } from './clock.ts'
import { IssuerError } from './errors.ts'
import { backOffMs, describeRefusal, readWaitMs } from './feed-refusal.ts'
import {
  describeFailure,
  readRefused,
  withDeadline,
  type FetchJson,
  type PostForm,
  type Refused,
  type Send,
} from './fetch-json.ts'
import { ALGORITHMS } from './jwk.ts'
import { discoverMetadata, readPlace, requirePlace, type IssuerMetadata } from './metadata.ts'
import { MAX_PAGE_BYTES } from './revocation-messages.ts'

/** A private key (RFC 7517), of the kinds that sign access tokens. */
export interface PrivateJwk {
  readonly kty: string
  readonly alg: string
  readonly kid?: string
  readonly d: string
  readonly [member: string]: unknown
}

/** As whom an API follows its issuer's revocations. */
export interface FeedClientOptions {
  /** The client of the issuer that this API is: it needs the grant `client_credentials`. */
  readonly clientId?: string
  /** From the environment or a file, never from the source. */
  readonly clientSecret?: string
  /**
   * In place of `clientSecret`: the client's private key as a JWK with `alg`, and with `kid` where the
   * issuer knows several (`private_key_jwt`).
   */
  readonly privateKey?: PrivateJwk
  /** In place of all three: answers the header `Authorization`, such as `Bearer` and a token. */
  readonly authorization?: Authorize
}

/** Where an issuer tells what it revokes. */
export interface FeedPlaces {
  readonly stream: string
  readonly pages: string
  readonly applied: string
  /** What its messages are for, and tokens that may read them. */
  readonly resource: string
  readonly scope: string
  readonly metadata: IssuerMetadata
}

export interface OpenStream {
  readonly chunks: AsyncIterable<Uint8Array>
  /** The monotonic time just before it was asked for. */
  readonly askedAt: number
  close(): void
}

export interface PageAnswer {
  /** Signed. */
  readonly text: string
  /** After which place the next page begins. It is not signed: good for asking early, and nothing else. */
  readonly next: number | undefined
}

/** Talks to the issuer. Each call takes 5 seconds at most, and throws an `IssuerError` where it fails. */
export interface FeedClient {
  findPlaces(): Promise<FeedPlaces>
  /** `nonce`: what the issuer has to answer. `lastEventId`: the name of the event that was applied last. */
  openStream(nonce: string, lastEventId: string | undefined): Promise<OpenStream>
  getPage(after: number): Promise<PageAnswer>
  reportApplied(feed: string, applied: number): Promise<void>
  /** For how long the issuer is to be left alone: it said so, or it gave no token. */
  waitMs(): number
  /** The next request gets another token. */
  forgetToken(): void
  /** So does it, and looks the places up anew: after a failure, they may be what was wrong. */
  forget(): void
}

export interface FeedClientSettings {
  readonly issuer: string
  readonly receiver: string
  readonly credentials: FeedCredentials
}

/** How a token for the feed is asked for, or the header that is sent in its place. */
export type FeedCredentials =
  | { readonly kind: 'header'; readonly authorize: Authorize }
  | { readonly kind: 'secret'; readonly authorize: Authorize }
  | { readonly kind: 'key'; readonly clientId: string; readonly privateKey: PrivateJwk }

const WHERE = 'createRevocationFeed'
const METADATA_MEMBER = 'portreeve_revocation_feed'
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const ASSERTION_SECONDS = 60
const DEFAULT_LIFETIME_SECONDS = 300
const MAX_LIFETIME_SECONDS = 86_400
const STREAM_TYPE = 'text/event-stream'
const NEXT_PAGE = /[?&]after=(\d{1,15})>; rel="next"/

/** Throws a `TypeError` that names the option, and quotes no secret. */
export function readFeedCredentials(options: FeedClientOptions): FeedCredentials {
  const { clientId, clientSecret, privateKey, authorization } = options
  if (privateKey === undefined) {
    const authorize = readAuthorize(WHERE, options)
    return { kind: authorization === undefined ? 'secret' : 'header', authorize }
  }
  requireClientId(WHERE, clientId)
  if (clientSecret !== undefined || authorization !== undefined) {
    throw new TypeError('privateKey: expected it, or clientSecret, or authorization, not several')
  }
  const isPrivate = typeof privateKey === 'object' && typeof privateKey?.d === 'string'
  if (!isPrivate || !ALGORITHMS.includes(privateKey.alg)) {
    throw new TypeError(
      `privateKey: expected a private JWK with alg, one of ${ALGORITHMS.join(', ')}`,
    )
  }
  return { kind: 'key', clientId, privateKey }
}

export function createFeedClient(
  { issuer, receiver, credentials }: FeedClientSettings,
  clock: Clock,
  stop: AbortSignal,
): FeedClient {
  let places: FeedPlaces | undefined
  let token: { readonly header: string; readonly renewAt: number } | undefined
  let askAgainAt = clock.monotonic()
  /** How often in a row no token was given. */
  let refusals = 0

  function leaveAlone(milliseconds: number): void {
    askAgainAt = Math.max(askAgainAt, clock.monotonic() + milliseconds)
  }

  /** Remembers how long the issuer wants to be left alone. */
  function refuse(url: string, refused: Refused): IssuerError {
    leaveAlone(readWaitMs(refused))
    return describeRefusal(url, refused)
  }

  /** 400 and 401 are how a client is told that it is not known, or may not have this. */
  function refuseToken(url: string, refused: Refused): IssuerError {
    const fault =
      refused.status === 400
        ? describeRefusal(url, refused, 'turned_away')
        : describeRefusal(url, refused)
    leaveAlone(readWaitMs(refused))
    if (fault.code !== 'turned_away') return fault
    refusals += 1
    leaveAlone(backOffMs(refusals))
    return fault
  }

  async function findPlacesBy(fetchJson: FetchJson): Promise<FeedPlaces> {
    places ??= readPlaces(issuer, await discoverMetadata(issuer, fetchJson))
    return places
  }

  async function authorize(found: FeedPlaces, postForm: PostForm, signal: AbortSignal) {
    if (credentials.kind === 'header') return askAuthorization(credentials.authorize, signal)
    // A stream ends with its token: one is taken that is in its first half.
    if (token === undefined || clock.monotonic() >= token.renewAt) {
      const askedAt = clock.monotonic()
      const { header, lifetimeSeconds } = await requestToken(found, postForm, signal)
      token = { header, renewAt: askedAt + lifetimeSeconds * 500 }
    }
    return token.header
  }

  async function requestToken(found: FeedPlaces, postForm: PostForm, signal: AbortSignal) {
    const url = readPlace(issuer, 'token_endpoint', found.metadata)
    const { resource, scope } = found
    const form = new URLSearchParams({ grant_type: 'client_credentials', scope, resource })
    if (credentials.kind === 'key') {
      form.set('client_assertion_type', ASSERTION_TYPE)
      form.set('client_assertion', await signAssertion(credentials, issuer, clock))
    }
    const authorization =
      credentials.kind === 'key' ? undefined : await askAuthorization(credentials.authorize, signal)
    const answer = await postForm(url, authorization, form, 'application/json')
    if (answer.bytes === undefined) throw refuseToken(url, answer)
    refusals = 0
    return readToken(url, answer.bytes)
  }

  /** Does something with a token for the feed, all of it in time. */
  function ask<T>(
    work: (found: FeedPlaces, authorization: string, send: Send, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    return withDeadline(clock, stop, async (fetchJson, postForm, signal, send) => {
      const found = await findPlacesBy(fetchJson)
      return work(found, await authorize(found, postForm, signal), send, signal)
    })
  }

  return {
    findPlaces: () => withDeadline(clock, stop, findPlacesBy),
    openStream: (nonce, lastEventId) =>
      ask(async ({ stream }, authorization, _send, signal) => {
        // Failures name the place alone: each query is another, and one outage would look like many.
        const url = addQuery(addQuery(stream, 'receiver', receiver), 'nonce', nonce)
        const askedAt = clock.monotonic()
        const headers = {
          accept: STREAM_TYPE,
          authorization,
          'cache-control': 'no-store',
          ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
        }
        const response = await openResponse(url, headers, signal).catch((cause: unknown) => {
          throw describeFailure(stream, cause, signal.aborted && !stop.aborted)
        })
        const close = () => void response.destroy()
        const { statusCode: status = 0 } = response
        const fault =
          status === 200
            ? findStreamFault(stream, response)
            : refuse(stream, await readRefused(status, readHeader(response), response))
        if (fault === undefined) return { chunks: readChunks(stream, response), askedAt, close }
        close()
        throw fault
      }),
    getPage: (after) =>
      ask(async ({ pages }, authorization, send) => {
        const url = addQuery(pages, 'after', String(after))
        const headers = { accept: 'application/jwt', authorization, 'cache-control': 'no-store' }
        const answer = await send(url, { headers }, MAX_PAGE_BYTES)
        if (answer.bytes === undefined) throw refuse(url, answer)
        const [, next] = NEXT_PAGE.exec(answer.link) ?? []
        return {
          text: answer.bytes.toString('latin1'),
          next: next === undefined ? undefined : Number(next),
        }
      }),
    reportApplied: (feed, applied) =>
      ask(async ({ applied: place }, authorization, send) => {
        const url = addQuery(place, 'receiver', receiver)
        const headers = { authorization, 'content-type': 'application/json' }
        const body = JSON.stringify({ receiver, feed, applied })
        const answer = await send(url, { method: 'POST', headers, body })
        if (answer.bytes !== undefined || answer.status === 204) return
        // It does not keep the feed from connecting: to hear is worth more than to be heard.
        throw describeRefusal(url, answer)
      }),
    waitMs: () => Math.max(0, askAgainAt - clock.monotonic()),
    forgetToken() {
      token = undefined
    },
    forget() {
      places = undefined
      token = undefined
    },
  }
}

function readPlaces(issuer: string, metadata: IssuerMetadata): FeedPlaces {
  const feed = Object(metadata.members[METADATA_MEMBER]) as Readonly<Record<string, unknown>>
  const lack = `${metadata.url} names no ${METADATA_MEMBER}: the issuer does not tell what it revokes`
  const read = (member: string) => requirePlace(issuer, member, feed[member], lack)
  const { resource, scope } = feed
  if (typeof resource !== 'string' || typeof scope !== 'string') {
    throw new IssuerError('bad_answer', lack)
  }
  return {
    stream: read('stream_endpoint'),
    pages: read('pages_endpoint'),
    applied: read('applied_endpoint'),
    resource,
    scope,
    metadata,
  }
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc7523.html#section-3 RFC 7523 §3} */
async function signAssertion(
  { clientId, privateKey }: Extract<FeedCredentials, { kind: 'key' }>,
  issuer: string,
  clock: Clock,
): Promise<string> {
  const { alg, kid } = privateKey
  const now = Math.floor(clock.now() / 1000)
  const header = { alg, ...(kid === undefined ? {} : { kid }) }
  const assertion = new SignJWT({ jti: randomUUID() }).setProtectedHeader(header)
  assertion.setIssuer(clientId).setSubject(clientId).setAudience(issuer)
  assertion.setIssuedAt(now).setExpirationTime(now + ASSERTION_SECONDS)
  try {
    return await assertion.sign(await importJWK({ ...privateKey }, alg))
  } catch (cause) {
    throw new IssuerError('turned_away', 'privateKey signs nothing', { cause })
  }
}

function readToken(
  url: string,
  bytes: Buffer,
): { readonly header: string; readonly lifetimeSeconds: number } {
  const answer = parseAnswer(url, bytes)
  const { access_token: text, token_type: type, expires_in: seconds } = answer
  const isToken = typeof text === 'string' && /^[\w.~+/-]+=*$/.test(text)
  if (!isToken || typeof type !== 'string' || type.toLowerCase() !== 'bearer') {
    throw new IssuerError('bad_answer', `${url} answered no Bearer token`)
  }
  const isTime = typeof seconds === 'number' && seconds > 0 && seconds <= MAX_LIFETIME_SECONDS
  return {
    header: `Bearer ${text}`,
    lifetimeSeconds: isTime ? seconds : DEFAULT_LIFETIME_SECONDS,
  }
}

function parseAnswer(url: string, bytes: Buffer): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(bytes.toString('utf8'))) as Readonly<Record<string, unknown>>
  } catch {
    // What the parser says quotes what it read: it may hold a token.
    throw new IssuerError('bad_answer', `${url} answered what is not JSON`)
  }
}

function openResponse(
  url: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const request = url.startsWith('https:') ? requestHttps : requestHttp
  return new Promise((resolve, reject) => {
    const sent = request(url, { headers, signal })
    // A program that has nothing else to do may end, and what is small is sent at once.
    sent.once('socket', (socket) => socket.unref().setNoDelay(true))
    sent.once('response', resolve)
    // Also after the response: what then fails is met by who reads it.
    sent.on('error', reject)
    sent.end()
  })
}

/** No redirect is followed, and nothing is unpacked: the issuer was not asked to pack. */
function findStreamFault(url: string, { headers }: IncomingMessage): IssuerError | undefined {
  const { 'content-type': type = '', 'content-encoding': encoding = 'identity' } = headers
  const [mediaType = ''] = type.split(';')
  if (mediaType.trim().toLowerCase() === STREAM_TYPE && encoding === 'identity') return undefined
  const cause = { expected: STREAM_TYPE, actual: `${type} ${encoding}` }
  return new IssuerError('bad_answer', `${url} answered no stream of events`, { cause })
}

async function* readChunks(url: string, response: IncomingMessage): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of response) yield chunk as Uint8Array
  } catch (cause) {
    throw describeFailure(url, cause, false)
  }
}

function readHeader({ headers }: IncomingMessage): (name: string) => string | undefined {
  return (name) => headers[name]?.toString()
}

function addQuery(url: string, name: string, value: string): string {
  const extended = new URL(url)
  extended.searchParams.set(name, value)
  return extended.href
}

import { hash, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { JWK } from 'jose'
import { createKey, OIDC_PATH, sendJson, signToken, type IssuerKey } from './issuer.ts'
import type { TurnableClock } from './turnable-clock.ts'

export const CREDENTIALS = { clientId: 'api', clientSecret: 'the secret of an API' }

type Kind = 'token' | 'grant' | 'session' | 'user' | 'client' | 'key' | 'all'
type Claims = Record<string, unknown>
type Handler = (request: IncomingMessage, response: ServerResponse) => void

export interface LogRow {
  readonly sequence: number
  readonly kind: Kind
  readonly subject: string
  readonly revokedAt: number
  readonly until: number
}

/** What an issuer says when it is asked for a stream, and nothing goes wrong. */
export interface StreamRequest {
  readonly lastEventId: string | undefined
  readonly headers: IncomingMessage['headers']
  readonly url: URL
}

/**
 * An issuer that tells what it revokes, as `docs/revocation.md` has it, and that can be told to lose,
 * repeat, reorder, forge, hold back and cut off whatever it sends.
 */
export interface FeedIssuer extends AsyncDisposable {
  readonly url: string
  readonly key: IssuerKey
  /** What it publishes; may be changed at any time. */
  readonly published: { keys: JWK[]; metadata: Claims }
  /** The log: its id, and its entries, of which the last has the highest place. */
  feed: string
  readonly log: LogRow[]
  /** How far its clock is ahead of the API's. */
  aheadMs: number
  /** The header of a page that is not the last, by the place after which the next one begins. */
  linkOf: (next: number) => string
  /** Says nothing on new streams by itself. */
  isMute: boolean
  /** All that was written to streams. */
  readonly said: string[]
  /** In place of its answers, by path. */
  readonly answers: Map<string, Handler>
  /** Paths that were asked for, and what was applied, as the API reported it. */
  readonly asked: string[]
  readonly reports: Claims[]
  readonly tokenForms: URLSearchParams[]
  /** Adds to the log, and says nothing: what is lost on its way. */
  append(kind: Kind, subject: string, change?: Partial<LogRow>): LogRow
  /** Adds to the log, and tells all streams. */
  revoke(kind: Kind, subject: string, change?: Partial<LogRow>): LogRow
  /** The event of an entry, signed. Changes are to its claims, its header, its key. */
  event(row: LogRow, change?: Claims, header?: Claims, key?: IssuerKey): string
  /** Tells all streams of an entry, once more or out of order. */
  tell(row: LogRow): void
  /** Where the log stands now, signed. */
  makeBeat(change?: Claims, header?: Claims, key?: IssuerKey): string
  beat(change?: Claims): void
  /** Writes to all streams whatever it is given. */
  write(text: string | Buffer): void
  send(event: string, data: string, id?: string): void
  /** The next stream that is opened. */
  nextStream(): Promise<StreamRequest>
  /** The next request for a path. */
  nextRequest(path: string): Promise<void>
  /** Ends all streams; `breaksOff`: in the middle of whatever is on its way. */
  cut(breaksOff?: boolean): void
  readonly openStreams: number
}

export const STREAM_PATH = '/revocations/stream'
export const PAGES_PATH = '/revocations/pages'
export const APPLIED_PATH = '/revocations/applied'
export const TOKEN_PATH = '/token'
const MOST_ENTRIES = 2000
const SESSION_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'

export async function startFeedIssuer(clock: TurnableClock): Promise<FeedIssuer> {
  const key = await createKey('ES256')
  const streams = new Set<ServerResponse>()
  const awaitedStreams: ((request: StreamRequest) => void)[] = []
  const awaitedPaths: { readonly path: string; readonly resolve: () => void }[] = []
  const seconds = () => Math.floor((clock.now() + issuer.aheadMs) / 1000)
  const sign = (claims: Claims, typ: string, header: Claims = {}, by: IssuerKey = key) => {
    const common = { iss: url, aud: `${url}/revocations`, iat: seconds() }
    return signToken(by, { ...common, ...claims }, { typ, ...header })
  }
  const nameOf = ({ sequence }: LogRow) => `${issuer.feed}:${sequence}`
  const writeRow = (row: LogRow) => writeEvent('set', issuer.event(row), nameOf(row))

  const openStream: Handler = (request, response) => {
    const { 'last-event-id': lastEventId } = request.headers
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    streams.add(response)
    response.once('close', () => streams.delete(response))
    const write = (said: string) => {
      issuer.said.push(said)
      response.write(said)
    }
    const { searchParams } = new URL(request.url ?? '', url)
    const greeting = { nonce: searchParams.get('nonce'), now_ms: clock.now() + issuer.aheadMs }
    write(`retry: 1000\n\n${writeEvent('hello', sign(greeting, 'revocation-hello+jwt'))}`)
    if (!issuer.isMute) {
      const [feed, place = ''] = String(lastEventId ?? '').split(':')
      const missed = issuer.log.filter(({ sequence }) => sequence > Number(place))
      if (feed === issuer.feed) for (const row of missed) write(writeRow(row))
      else write(writeEvent('behind', '{"after":0}'))
      write(writeEvent('beat', issuer.makeBeat()))
    }
    const opened = {
      lastEventId: lastEventId === undefined ? undefined : String(lastEventId),
      headers: request.headers,
      url: new URL(request.url ?? '', url),
    }
    for (const resolve of awaitedStreams.splice(0)) resolve(opened)
  }
  const answerPage: Handler = (request, response) => {
    const after = Number(new URL(request.url ?? '', url).searchParams.get('after'))
    const rows = issuer.log.filter(({ sequence }) => sequence > after).slice(0, MOST_ENTRIES)
    const through = rows.at(-1)?.sequence ?? after
    const head = issuer.log.at(-1)?.sequence ?? 0
    if (through < head) response.setHeader('link', issuer.linkOf(through))
    const claims = {
      feed: issuer.feed,
      after,
      through,
      head,
      entries: rows.map((row) => [
        row.sequence,
        row.kind[0],
        row.subject,
        row.revokedAt,
        row.until,
      ]),
    }
    response.setHeader('content-type', 'application/jwt').end(sign(claims, 'revocation-page+jwt'))
  }
  const routes: Readonly<Record<string, Handler>> = {
    [OIDC_PATH]: (_request, response) => sendJson(response, issuer.published.metadata),
    '/keys': (_request, response) => sendJson(response, { keys: issuer.published.keys }),
    [TOKEN_PATH]: async (request, response) => {
      issuer.tokenForms.push(new URLSearchParams(await text(request)))
      const token = `t${issuer.tokenForms.length}`
      sendJson(response, { access_token: token, token_type: 'Bearer', expires_in: 600 })
    },
    [STREAM_PATH]: openStream,
    [PAGES_PATH]: answerPage,
    [APPLIED_PATH]: async (request, response) => {
      issuer.reports.push(JSON.parse(await text(request)) as Claims)
      response.writeHead(204).end()
    },
  }
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://localhost')
    issuer.asked.push(pathname)
    const answer = issuer.answers.get(pathname) ?? routes[pathname]
    if (answer) answer(request, response)
    else response.writeHead(404).end()
    for (const [index, { path, resolve }] of awaitedPaths.toReversed().entries()) {
      if (path !== pathname) continue
      awaitedPaths.splice(awaitedPaths.length - 1 - index, 1)
      resolve()
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const issuer: FeedIssuer = {
    url,
    key,
    published: { keys: [key.jwk], metadata: describeIssuer(url) },
    feed: randomBytes(16).toString('base64url'),
    log: [],
    aheadMs: 0,
    linkOf: (next) => `<?after=${next}>; rel="next"`,
    isMute: false,
    said: [],
    answers: new Map(),
    asked: [],
    reports: [],
    tokenForms: [],
    append(kind, subject, change) {
      const revokedAt = seconds()
      const sequence = (issuer.log.at(-1)?.sequence ?? 0) + 1
      const row = { sequence, kind, subject, revokedAt, until: revokedAt + 600, ...change }
      issuer.log.push(row)
      return row
    },
    revoke(kind, subject, change) {
      const row = issuer.append(kind, subject, change)
      issuer.tell(row)
      return row
    },
    event(row, change = {}, header = {}, by = key) {
      const claims = {
        jti: nameOf(row),
        seq: row.sequence,
        until: row.until,
        ...describeEvent(row, url),
        ...change,
      }
      return sign(claims, 'secevent+jwt', header, by)
    },
    tell: (row) => issuer.write(writeRow(row)),
    makeBeat(change = {}, header = {}, by = key) {
      const claims = {
        feed: issuer.feed,
        head: issuer.log.at(-1)?.sequence ?? 0,
        oldest: 1,
        keys: digestKeys(issuer.published.keys),
        every: 5,
        now_ms: clock.now() + issuer.aheadMs,
        ...change,
      }
      return sign(claims, 'revocation-beat+jwt', header, by)
    },
    beat: (change) => issuer.send('beat', issuer.makeBeat(change)),
    write(written) {
      for (const stream of streams) stream.write(written)
    },
    send: (event, data, id) => issuer.write(writeEvent(event, data, id)),
    nextStream: () => new Promise((resolve) => awaitedStreams.push(resolve)),
    nextRequest: (path) => new Promise((resolve) => awaitedPaths.push({ path, resolve })),
    cut(breaksOff = false) {
      for (const stream of streams) {
        if (breaksOff) stream.destroy()
        else stream.end()
      }
    },
    get openStreams() {
      return streams.size
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return issuer
}

export function digestKeys(keys: readonly JWK[]): string {
  const ids = keys.map(({ kid = '' }) => kid).toSorted()
  return hash('sha256', JSON.stringify(ids), 'base64url')
}

function describeIssuer(url: string): Claims {
  return {
    issuer: url,
    jwks_uri: `${url}/keys`,
    token_endpoint: url + TOKEN_PATH,
    portreeve_revocation_feed: {
      stream_endpoint: url + STREAM_PATH,
      pages_endpoint: url + PAGES_PATH,
      poll_endpoint: `${url}/revocations/poll`,
      applied_endpoint: url + APPLIED_PATH,
      resource: `${url}/revocations`,
      scope: 'revocations:read',
    },
  }
}

function describeEvent({ kind, subject, revokedAt }: LogRow, iss: string): Claims {
  const opaque = { format: 'opaque', id: subject }
  const subjects: Readonly<Record<Kind, object>> = {
    token: { format: 'jwt_id', iss, jti: subject },
    grant: opaque,
    session: { format: 'complex', session: opaque },
    user: { format: 'iss_sub', iss, sub: subject },
    client: opaque,
    key: opaque,
    all: { format: 'uri', uri: iss },
  }
  const isCaep = kind === 'session' || kind === 'user'
  const type = isCaep ? SESSION_REVOKED : `urn:portreeve:event:${kind}-revoked`
  return { sub_id: subjects[kind], events: { [type]: { event_timestamp: revokedAt } } }
}

function writeEvent(event: string, data: string, id?: string): string {
  return `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${data}\n\n`
}

import type { JWTPayload } from 'jose'
import { revocationsOf } from '../config/built-in.ts'
import { PortreeveError } from '../errors.ts'
import type { PrivateJwk } from '../keys/keyset.ts'
import { signToken } from '../keys/sign.ts'
import type { Revocation, RevokedKind } from '../revocation/revocation.ts'

const ALGORITHM = 'ES256'
const SESSION_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'

/** What signs the feed, and for whom. */
export interface FeedSigner {
  readonly issuer: string
  /** The id of the log: see `RevocationStore`. */
  readonly feed: string
  readonly keys: () => readonly PrivateJwk[]
}

/** Where the log stands. */
export interface Beat {
  readonly head: number
  /** The first place that is still given one by one. */
  readonly oldest: number
  /** Changes whenever the key set does. */
  readonly keys: string
  /** Milliseconds since the epoch. */
  readonly now: number
  readonly everySeconds: number
}

/** The live entries after one place, up to another. */
export interface Page {
  readonly after: number
  readonly through: number
  readonly head: number
  readonly entries: readonly Revocation[]
  /** Milliseconds since the epoch. */
  readonly now: number
}

/**
 * One entry as a security event token. It has no `exp` and no `sub`: it is what happened, and no token
 * that anybody could be let in by. Its `jti` says which log it is from, and its place there.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8417.html#section-2.2 RFC 8417 §2.2}
 */
export function signEvent(signer: FeedSigner, entry: Revocation, now: number): Promise<string> {
  const { issuer, feed } = signer
  const { type, subject } = describeEvent(entry, issuer)
  return sign(signer, 'secevent+jwt', now, {
    jti: nameEvent(feed, entry.sequence),
    sub_id: subject,
    events: { [type]: { event_timestamp: toSeconds(entry.revokedAt) } },
    seq: entry.sequence,
    until: toSeconds(entry.expiresAt),
  })
}

export function nameEvent(feed: string, sequence: number): string {
  return `${feed}:${sequence}`
}

/** The place in `name`, if it is one of this log: 0 and all whole numbers above. */
export function readEventName(feed: string, name: string): number | undefined {
  const [, of, digits] = /^([\w-]{22}):(0|[1-9]\d{0,14})$/.exec(name) ?? []
  return of === feed ? Number(digits) : undefined
}

/** What a receiver has asked with comes back, so that it knows whatever follows to be of now. */
export function signHello(signer: FeedSigner, nonce: string, now: number): Promise<string> {
  return sign(signer, 'revocation-hello+jwt', now, { feed: signer.feed, nonce, now_ms: now })
}

export function signBeat(
  signer: FeedSigner,
  { head, oldest, keys, now, everySeconds }: Beat,
): Promise<string> {
  const claims = { feed: signer.feed, head, oldest, keys, every: everySeconds, now_ms: now }
  return sign(signer, 'revocation-beat+jwt', now, claims)
}

/** One signature for many entries: a signature each would take a cold start minutes. */
export function signPage(
  signer: FeedSigner,
  { after, through, head, entries, now }: Page,
): Promise<string> {
  const rows = entries.map(({ sequence, kind, subject, revokedAt, expiresAt }) => [
    sequence,
    LETTERS[kind],
    subject,
    toSeconds(revokedAt),
    toSeconds(expiresAt),
  ])
  const claims = { feed: signer.feed, after, through, head, entries: rows }
  return sign(signer, 'revocation-page+jwt', now, claims)
}

const LETTERS: Readonly<Record<RevokedKind, string>> = {
  token: 't',
  grant: 'g',
  session: 's',
  user: 'u',
  client: 'c',
  key: 'k',
  all: 'a',
}

/**
 * @see {@link https://openid.net/specs/openid-caep-1_0.html#section-3.1 CAEP 1.0 §3.1}
 * @see {@link https://www.rfc-editor.org/rfc/rfc9493.html#section-3.2 RFC 9493 §3.2}
 */
function describeEvent({ kind, subject }: Revocation, iss: string) {
  switch (kind) {
    case 'token':
      return { type: ownType(kind), subject: { format: 'jwt_id', iss, jti: subject } }
    case 'session': {
      const session = { format: 'opaque', id: subject }
      return { type: SESSION_REVOKED, subject: { format: 'complex', session } }
    }
    case 'user':
      return { type: SESSION_REVOKED, subject: { format: 'iss_sub', iss, sub: subject } }
    case 'grant':
    case 'client':
    case 'key':
      return { type: ownType(kind), subject: { format: 'opaque', id: subject } }
    case 'all':
      return { type: ownType(kind), subject: { format: 'uri', uri: iss } }
  }
}

function ownType(kind: RevokedKind): string {
  return `urn:portreeve:event:${kind}-revoked`
}

async function sign(
  { issuer, keys }: FeedSigner,
  type: string,
  now: number,
  claims: JWTPayload,
): Promise<string> {
  const key = keys().find(({ alg }) => alg === ALGORITHM)
  if (!key) {
    const message = `No key of ${ALGORITHM} can be opened: the server has to be started with the key that sealed them.`
    throw new PortreeveError('misconfigured', message)
  }
  const common = { iss: issuer, aud: revocationsOf(issuer), iat: toSeconds(now) }
  return signToken({ kind: 'key', key }, type, { ...common, ...claims })
}

function toSeconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000)
}

import { hash, timingSafeEqual } from 'node:crypto'
import { decodeCanonical } from './base64url.ts'
import { systemClock, type Clock } from './clock.ts'
import type { Refusal, Result } from './errors.ts'
import { parseJsonObject, type JsonObject } from './json.ts'
import type { DpopNonces } from './nonce.ts'
import { refuseUnknownOptions } from './options.ts'
import {
  PROOF_ALGORITHMS,
  readProofKey,
  type ProofAlgorithm,
  type ProofFault,
  type ProofKey,
} from './proof-key.ts'
import { createMemoryReplayStore, type ReplayStore } from './replay.ts'

export interface DpopOptions {
  /** What proofs may be signed with. All of ES256, Ed25519, EdDSA, PS256 and RS256 by default. */
  readonly algorithms?: readonly ProofAlgorithm[]
  /**
   * Where used proofs are remembered. In this process by default: an API that runs as several must
   * share a store, or a proof may be used once with each.
   */
  readonly replays?: ReplayStore
  /** Makes clients put a nonce into their proofs. None is asked for by default. */
  readonly nonces?: DpopNonces
  /** How long ago a proof may have been made: 1 to 300 seconds, 60 by default. */
  readonly maxAgeSeconds?: number
  /** How far a client's clock may be ahead: 0 to 300 seconds, 5 by default. */
  readonly clockToleranceSeconds?: number
  /** For tests. The system's clock by default. */
  readonly clock?: Clock
}

/** A request with a token that is bound to a key. */
export interface DpopRequest {
  /** The header `DPoP`; `undefined` where there is none. A request with several is to be refused. */
  readonly proof: string | undefined
  readonly method: string
  /**
   * As the client knew it: behind a proxy, not what this server was asked for. Several where it cannot
   * be told by which of them the client came.
   */
  readonly url: string | readonly string[]
  readonly accessToken: string
  /** `cnf.jkt` of the access token, whose signature has been checked. */
  readonly thumbprint: string
  /**
   * Whom the issuer gave the token to: used proofs are counted by it, because a client has as many keys
   * as it likes. The thumbprint by default.
   */
  readonly holder?: string | undefined
}

export interface DpopVerifier {
  /** For `algs` in a challenge. */
  readonly algorithms: readonly ProofAlgorithm[]
  /**
   * For the header `DPoP-Nonce` of answers to requests that were let in, so that clients need not be
   * sent back first; `undefined` where no nonce is asked for.
   */
  currentNonce(): string | undefined
  /**
   * Answers whether a request comes from whoever has the key of its access token; never throws for
   * what it holds. Answers at once where the replay store does. The access token itself is not checked
   * here.
   *
   * @see {@link https://www.rfc-editor.org/rfc/rfc9449.html#section-4.3 RFC 9449 §4.3}
   */
  verify(request: DpopRequest): Result<void, Refusal> | Promise<Result<void, Refusal>>
}

const OPTIONS = [
  'algorithms',
  'replays',
  'nonces',
  'maxAgeSeconds',
  'clockToleranceSeconds',
  'clock',
]
const MAX_PROOF_LENGTH = 8192
const MAX_HEADER_LENGTH = 4096
const MAX_JTI_LENGTH = 256
/** Clients whose keys are kept ready. */
const MAX_CLIENTS = 1000
const RETRY_AFTER_SECONDS = 5

/** Throws a `TypeError` that names the option for options that cannot be right. */
export function createDpopVerifier(options: DpopOptions = {}): DpopVerifier {
  refuseUnknownOptions('createDpopVerifier', options, OPTIONS)
  const { clock = systemClock, replays = createMemoryReplayStore({ clock }), nonces } = options
  const algorithms = readAlgorithms(options.algorithms)
  const maxAgeSeconds = readSeconds('maxAgeSeconds', options.maxAgeSeconds ?? 60, 1)
  const tolerance = readSeconds('clockToleranceSeconds', options.clockToleranceSeconds ?? 5, 0)
  const clients = new Map<string, KnownClient>()
  return {
    algorithms,
    currentNonce: () => nonces?.current(),
    verify(request) {
      if (!isRequest(request)) return refuse({ part: 'form', expected: 'texts', actual: undefined })
      const signed = checkSignature(request, clients, algorithms)
      if (!signed.ok) return refuse(signed.reason)
      const { client, payload } = signed.value
      const now = clock.now() / 1000
      const window = { earliest: now - maxAgeSeconds, latest: now + tolerance }
      const claims = checkClaims(payload, request, hashToken(client, request.accessToken), window)
      if (!claims.ok) return refuse(claims.reason)
      if (nonces && !nonces.isAccepted(payload['nonce'])) {
        return { ok: false, reason: { kind: 'use_dpop_nonce', nonce: nonces.current() } }
      }
      const { jti, iat } = claims.value
      const key = hash('sha256', `${request.thumbprint}.${jti}`, 'base64url')
      const expiresAt = (iat + maxAgeSeconds) * 1000
      const { holder = request.thumbprint } = request
      return takeOnce(replays, { key, expiresAt, holder }, jti)
    },
  }
}

/** What calls this need not be TypeScript, and headers are lists at times. */
function isRequest({ proof = '', method, url, accessToken, thumbprint }: DpopRequest): boolean {
  const texts: readonly unknown[] = [proof, method, ...[url].flat(), accessToken, thumbprint]
  return texts.every((text) => typeof text === 'string')
}

/** What a proof says, once it is checked. */
interface ProofClaims {
  readonly jti: string
  readonly iat: number
}

/** What is kept of a client under the header of its proofs. */
interface KnownClient {
  readonly key: ProofKey
  /** The token that it sent last, and its hash: it sends the same one many times. */
  accessToken: string | undefined
  tokenHash: string
}

interface SignedProof {
  readonly client: KnownClient
  readonly payload: JsonObject
}

/** Form, key and signature. Nothing that is not signed by the token's key is read further. */
function checkSignature(
  { proof, thumbprint }: DpopRequest,
  clients: Map<string, KnownClient>,
  algorithms: readonly ProofAlgorithm[],
): Result<SignedProof, ProofFault> {
  const parts = takeApart(proof)
  if (!parts.ok) return parts
  const { header, signed, payload, signature } = parts.value
  const known = clients.get(header)
  const found = known ? { ok: true as const, value: known.key } : importKey(header, algorithms)
  if (!found.ok) return found
  const key = found.value
  if (!isSameText(key.thumbprint, thumbprint)) return fault('jwk', thumbprint, key.thumbprint)
  if (!key.isSigner(signed, signature)) {
    return fault('signature', 'one by the key in jwk', undefined)
  }
  const client = known ?? remember(clients, header, key)
  const parsed = parseJsonObject(payload)
  return parsed.ok
    ? { ok: true, value: { client, payload: parsed.value } }
    : fault('form', 'a payload of JSON', parsed.reason)
}

interface ProofParts {
  readonly header: string
  readonly payload: Buffer
  readonly signature: Buffer
  readonly signed: Buffer
}

/** A JWS in compact form, in canonical base64url (RFC 7515 §7.1). */
function takeApart(proof: string | undefined): Result<ProofParts, ProofFault> {
  if (proof === undefined) return fault('form', 'a header DPoP', undefined)
  if (proof.length > MAX_PROOF_LENGTH) {
    return fault('form', `at most ${MAX_PROOF_LENGTH} characters`, proof.length)
  }
  const parts = proof.split('.')
  const [header = '', payload = '', signature = ''] = parts
  if (parts.length !== 3) return fault('form', '3 parts', parts.length)
  if (header.length > MAX_HEADER_LENGTH) {
    return fault('form', `a header of at most ${MAX_HEADER_LENGTH} characters`, header.length)
  }
  const payloadBytes = decodeCanonical(payload)
  const signatureBytes = decodeCanonical(signature)
  if (!payloadBytes || !signatureBytes) return fault('form', 'canonical base64url', undefined)
  const signed = Buffer.from(proof.slice(0, proof.lastIndexOf('.')), 'latin1')
  return {
    ok: true,
    value: { header, payload: payloadBytes, signature: signatureBytes, signed },
  }
}

function importKey(
  header: string,
  algorithms: readonly ProofAlgorithm[],
): Result<ProofKey, ProofFault> {
  const bytes = decodeCanonical(header)
  if (!bytes) return fault('form', 'canonical base64url', undefined)
  const parsed = parseJsonObject(bytes)
  return parsed.ok
    ? readProofKey(parsed.value, algorithms)
    : fault('form', 'a header of JSON', parsed.reason)
}

/**
 * A client writes the same header into each of its proofs, so the header stands for its key. Only
 * headers under a good signature get here, or anyone could fill the map.
 */
function remember(clients: Map<string, KnownClient>, header: string, key: ProofKey): KnownClient {
  const [oldest] = clients.size >= MAX_CLIENTS ? clients.keys() : []
  if (oldest !== undefined) clients.delete(oldest)
  const client: KnownClient = { key, accessToken: undefined, tokenHash: '' }
  // A copy: a part of a proof would keep the whole of it in memory.
  clients.set(Buffer.from(header, 'latin1').toString('latin1'), client)
  return client
}

/** Between two signatures, a hash costs as much as all other checks. */
function hashToken(client: KnownClient, accessToken: string): string {
  if (client.accessToken !== accessToken) {
    client.tokenHash = hash('sha256', accessToken, 'base64url')
    client.accessToken = accessToken
  }
  return client.tokenHash
}

/** RFC 9449 §4.3, 3 and 8 to 12: what a proof must say of the request that it came with. */
function checkClaims(
  { jti, htm, htu, iat, ath }: JsonObject,
  { method, url }: DpopRequest,
  tokenHash: string,
  { earliest, latest }: { readonly earliest: number; readonly latest: number },
): Result<ProofClaims, ProofFault> {
  if (typeof jti !== 'string' || jti === '' || jti.length > MAX_JTI_LENGTH || !jti.isWellFormed()) {
    return fault('jti', `1 to ${MAX_JTI_LENGTH} characters`, jti)
  }
  if (htm !== method) return fault('htm', method, htm)
  if (typeof htu !== 'string' || ![url].flat().some((one) => isSameUrl(htu, one))) {
    return fault('htu', url, htu)
  }
  // Whoever sent the token can make its hash: there is nothing to find out by how long this takes.
  if (ath !== tokenHash) return fault('ath', tokenHash, ath)
  if (typeof iat !== 'number' || !(iat >= earliest && iat <= latest)) {
    return fault('iat', [earliest, latest], iat)
  }
  return { ok: true, value: { jti, iat } }
}

/**
 * Clients resolve `..` before they send (RFC 3986 §5.2.4), and routers do not: a proof for `/b` must be
 * none for `/a/../b`.
 */
const DOT_SEGMENT = /^[^?#]*\/(?:\.|%2e){1,2}(?:[/?#]|$)/i

function isSameUrl(htu: string, url: string): boolean {
  if (htu === url) return true
  const target = DOT_SEGMENT.test(url) ? undefined : normalizeUrl(url)
  return target !== undefined && normalizeUrl(htu) === target
}

const UNRESERVED = /[A-Za-z0-9._~-]/
/** The parser makes addresses of what is none: it drops line breaks and slashes, and turns backslashes. */
const URL_TEXT = /^https?:\/\/[^/\\][\x21-\x5B\x5D-\x7E]*$/i

/**
 * The form in which two spellings of one address are equal, without query and fragment; `undefined`
 * for what is no address of http, or holds credentials.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc3986.html#section-6.2.2 RFC 3986 §6.2.2 and §6.2.3}
 */
function normalizeUrl(text: string): string | undefined {
  const url = URL_TEXT.test(text) ? URL.parse(text) : null
  if (url === null || url.username !== '' || url.password !== '') return undefined
  return url.origin + url.pathname.replace(/%[\da-f]{2}/gi, normalizeEscape)
}

function normalizeEscape(escape: string): string {
  const character = String.fromCharCode(Number.parseInt(escape.slice(1), 16))
  return UNRESERVED.test(character) ? character : escape.toUpperCase()
}

function takeOnce(
  replays: ReplayStore,
  { key, expiresAt, holder }: { key: string; expiresAt: number; holder: string },
  jti: string,
): Result<void, Refusal> | Promise<Result<void, Refusal>> {
  const judge = (isNew: boolean): Result<void, Refusal> =>
    isNew ? PROVEN : refuse({ part: 'jti', expected: 'one never used', actual: jti })
  try {
    const answer = replays.take(key, expiresAt, holder)
    return typeof answer === 'boolean' ? judge(answer) : answer.then(judge, cannotSay)
  } catch (error) {
    return cannotSay(error)
  }
}

const PROVEN: Result<void, Refusal> = Object.freeze({ ok: true, value: undefined })

function cannotSay(error: unknown): Result<void, Refusal> {
  const cause = error instanceof Error ? error : new Error(String(error))
  const reason = {
    kind: 'replays_unavailable',
    retryAfterSeconds: RETRY_AFTER_SECONDS,
    cause,
  } as const
  return { ok: false, reason }
}

function isSameText(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}

function readAlgorithms(
  algorithms: readonly ProofAlgorithm[] = PROOF_ALGORITHMS,
): readonly ProofAlgorithm[] {
  const wrong = algorithms.find((algorithm) => !PROOF_ALGORITHMS.includes(algorithm))
  if (wrong !== undefined || algorithms.length === 0) {
    throw new TypeError(
      `algorithms: expected some of ${PROOF_ALGORITHMS.join(', ')}, not ${JSON.stringify(algorithms)}`,
    )
  }
  return Object.freeze([...algorithms])
}

function readSeconds(option: string, seconds: number, min: number): number {
  if (typeof seconds !== 'number' || !(seconds >= min && seconds <= 300)) {
    throw new TypeError(`${option}: expected ${min} to 300, not ${JSON.stringify(seconds)}`)
  }
  return seconds
}

function fault(
  part: ProofFault['part'],
  expected: unknown,
  actual: unknown,
): { readonly ok: false; readonly reason: ProofFault } {
  return { ok: false, reason: { part, expected, actual } }
}

function refuse(reason: ProofFault): { readonly ok: false; readonly reason: Refusal } {
  return { ok: false, reason: { kind: 'invalid_dpop_proof', ...reason } }
}

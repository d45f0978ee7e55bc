import { readType } from './authority.ts'
import type { Clock } from './clock.ts'
import { IssuerError } from './errors.ts'
import { parseJsonObject, type JsonObject } from './json.ts'
import { ALGORITHMS } from './jwk.ts'
import { createKeySet } from './key-set.ts'
import { createTokenParser, type UnverifiedToken } from './signature.ts'

const TYPE = 'token-introspection+jwt'
/** The media type of an answer that is signed, and what is asked for one by. */
export const SIGNED_ANSWER = `application/${TYPE}`

/** It was made for a question of just now: one of before may say of a token what is no longer so. */
const MAX_AGE_SECONDS = 60
/** What is said of a token is longer than the token. */
const MAX_LENGTH = 64 * 1024

export interface SignedAnswerSettings {
  readonly issuer: string
  /** As which client this API asks: the answer is for it alone. */
  readonly clientId: string
  readonly clockToleranceSeconds: number
}

/** Owns a timer, as the issuer's keys do: dispose of it. */
export interface SignedAnswers extends AsyncDisposable {
  /** What a signed answer says of the token. Throws an `IssuerError` for one that is not good. */
  read(text: string): Promise<JsonObject>
}

/**
 * Reads what an issuer has signed about tokens: by one of its published keys, for this API, just now, and
 * as nothing else than such an answer. Does not decrypt.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9701.html#section-5 RFC 9701 §5}
 */
export function createSignedAnswers(settings: SignedAnswerSettings, clock: Clock): SignedAnswers {
  const keys = createKeySet(settings.issuer, clock)
  const parser = createTokenParser(ALGORITHMS, MAX_LENGTH)
  return {
    async read(text) {
      const parsed = parser.parse(text)
      if (!parsed.ok) throw refuse('is no JWT that is signed', parsed.reason)
      const { header, payload, signed, signature } = parsed.value
      if (readType(header.type) !== TYPE) throw refuse('is of another type', header.type)
      const key = await findKey(parsed.value)
      if (!key.isSigner(signed, signature)) throw refuse('is not signed by its key', header.keyId)
      const claims = parseJsonObject(payload)
      if (!claims.ok) throw refuse(`is JSON: ${claims.reason}`, undefined)
      return readClaims(claims.value, settings, clock.now() / 1000)
    },
    [Symbol.asyncDispose]: () => keys[Symbol.asyncDispose](),
  }

  async function findKey({ header: { keyId, algorithm } }: UnverifiedToken) {
    const lookup = await keys.find(keyId, algorithm)
    if (lookup.kind === 'found') return lookup.key
    if (lookup.kind !== 'keys_unavailable') throw refuse(`names no key: ${lookup.kind}`, keyId)
    const { cause } = lookup
    const { code = 'unreachable' } = (cause ?? {}) as Partial<IssuerError>
    throw new IssuerError(code === 'bad_answer' ? 'turned_away' : code, KEYS_AWAY, { cause })
  }
}

const KEYS_AWAY = 'the keys that answers are signed with cannot be had'

function readClaims(
  { iss, aud, iat, token_introspection: said }: JsonObject,
  { issuer, clientId, clockToleranceSeconds }: SignedAnswerSettings,
  nowSeconds: number,
): JsonObject {
  if (iss !== issuer) throw refuse('is of another issuer', iss)
  if (![aud].flat().includes(clientId)) throw refuse('is for another API', aud)
  const age = typeof iat === 'number' ? nowSeconds - iat : Infinity
  if (age < -clockToleranceSeconds || age > MAX_AGE_SECONDS + clockToleranceSeconds) {
    throw refuse('is not of now', iat)
  }
  if (typeof said === 'object' && said !== null && !Array.isArray(said)) return said as JsonObject
  throw refuse('says nothing of a token', said)
}

function refuse(why: string, actual: unknown): IssuerError {
  return new IssuerError('bad_answer', `the signed answer ${why}`, { cause: { actual } })
}

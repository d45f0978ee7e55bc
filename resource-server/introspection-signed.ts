import type { Clock } from './clock.ts'
import type { IssuerError } from './errors.ts'
import type { JsonObject } from './json.ts'
import { ALGORITHMS } from './jwk.ts'
import { createKeySet } from './key-set.ts'
import type { FollowedRevocations } from './revocations.ts'
import { createSignedMessageReader, refuseMessage } from './signed-message.ts'

const NAME = 'the signed answer'
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
 * as nothing else than such an answer. A key that is withdrawn signs nothing any more as soon as
 * `followed` hears of other keys. Does not decrypt.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9701.html#section-5 RFC 9701 §5}
 */
export function createSignedAnswers(
  settings: SignedAnswerSettings,
  clock: Clock,
  followed?: Pick<FollowedRevocations, 'watchKeys'>,
): SignedAnswers {
  const keys = createKeySet(settings.issuer, clock)
  const unwatch = followed?.watchKeys(keys)
  const message = { name: NAME, type: TYPE, algorithms: ALGORITHMS, maxLength: MAX_LENGTH }
  const reader = createSignedMessageReader(keys, message)
  return {
    read: async (text) => readClaims(await reader.read(text), settings, clock.now() / 1000),
    [Symbol.asyncDispose]() {
      unwatch?.()
      return keys[Symbol.asyncDispose]()
    },
  }
}

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
  return refuseMessage(NAME, why, actual)
}

import type { Authority } from './authority.ts'
import type { Auth } from './claims.ts'
import type { VerificationKey } from './jwk.ts'

/** A token that was found good, and what that rests on. */
export interface KeptToken {
  readonly token: string
  readonly auth: Auth
  readonly authority: Authority
  readonly key: VerificationKey
  /** About how much memory it takes, in bytes. */
  readonly size: number
  /** Until when the result may be used, on the monotonic clock. */
  readonly until: number
  /** How far the revocations had come when it was last compared with them. */
  epoch: number
}

/**
 * Tokens of one issuer that were found good, and nothing else: that a token is bad is found out anew
 * each time, or strangers could fill it. Whoever takes one out checks again what may have changed.
 */
export interface TokenCache {
  find(token: string): KeptToken | undefined
  keep(kept: KeptToken): void
  readonly size: number
}

/** How much of the end of a token, which is its signature, says where to look for it. */
const TAIL_LENGTH = 8
/** Of a token, on the average: where they are larger, fewer are held. Usual ones take 1300. */
const MAX_SIZE = 2048

/**
 * Holds at most `maxTokens`, in two generations: when the young one is full it becomes the old one, and
 * what has not been used since the last time is forgotten. So a use costs no bookkeeping, and a flood
 * of new tokens costs the rarely used ones only.
 *
 * The text of the whole token is compared, so no collision, made or met, serves the claims of another;
 * two tokens with one place take turns. Measured with 1,000 tokens of 544 and 800 characters: 0.3 µs, as
 * against 1.2 and 1.7 for a map by whole tokens, 1.3 and 1.4 for one by SHA-256.
 */
export function createTokenCache(maxTokens: number): TokenCache {
  const half = Math.max(1, Math.floor(maxTokens / 2))
  let young = new Map<number, KeptToken>()
  let old = new Map<number, KeptToken>()
  let bytes = 0
  const keep = (place: number, kept: KeptToken) => {
    bytes += kept.size
    if (young.size >= half || bytes > half * MAX_SIZE) {
      old = young
      young = new Map()
      bytes = kept.size
    }
    young.set(place, kept)
  }
  return {
    find(token) {
      const place = choosePlace(token)
      const kept = young.get(place) ?? old.get(place)
      if (kept === undefined || kept.token !== token) return undefined
      if (old.size > 0 && old.delete(place)) keep(place, kept)
      return kept
    },
    keep: (kept) => keep(choosePlace(kept.token), kept),
    get size() {
      return young.size + old.size
    },
  }
}

/** A number of 32 bits: a map by numbers needs no text for each of its keys. */
function choosePlace(token: string): number {
  let place = 0
  for (let at = Math.max(0, token.length - TAIL_LENGTH); at < token.length; at += 1) {
    place = (Math.imul(place, 31) + token.charCodeAt(at)) | 0
  }
  return place
}

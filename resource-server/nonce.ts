import { createHmac, randomBytes } from 'node:crypto'
import { systemClock, type Clock } from './clock.ts'

/** Texts that a proof must hold, to show that it was made lately and not long before for this moment. */
export interface DpopNonces {
  /** For the header `DPoP-Nonce`. */
  current(): string
  /** Whether it is the current one or the one before. */
  isAccepted(nonce: unknown): boolean
}

export interface DpopNonceOptions {
  /**
   * At least 32 random bytes. By default each process makes its own; several that answer for one API
   * must share it, or each sends the clients of the others back.
   */
  readonly secret?: Uint8Array
  /** How long a nonce is the current one; it is accepted for as long again. 10 to 3600, 60 by default. */
  readonly lifetimeSeconds?: number
  /** For tests. The system's clock by default. */
  readonly clock?: Clock
}

const MIN_SECRET_BYTES = 32

/**
 * Makes nonces out of a secret and the time, so that nothing has to be kept.
 *
 * Throws a `TypeError` that names the option for options that cannot be right.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9449.html#section-9 RFC 9449 §9}
 */
export function createDpopNonces({
  secret = randomBytes(MIN_SECRET_BYTES),
  lifetimeSeconds = 60,
  clock = systemClock,
}: DpopNonceOptions = {}): DpopNonces {
  if (!(secret instanceof Uint8Array) || secret.length < MIN_SECRET_BYTES) {
    throw new TypeError(`secret: expected at least ${MIN_SECRET_BYTES} bytes`)
  }
  if (typeof lifetimeSeconds !== 'number' || !(lifetimeSeconds >= 10 && lifetimeSeconds <= 3600)) {
    throw new TypeError(
      `lifetimeSeconds: expected 10 to 3600, not ${JSON.stringify(lifetimeSeconds)}`,
    )
  }
  const key = Buffer.from(secret)
  const make = (period: number) =>
    createHmac('sha256', key).update(`dpop-nonce ${period}`).digest('base64url')
  let pair = { period: Number.NaN, current: '', last: '' }
  const readPair = () => {
    const period = Math.floor(clock.now() / 1000 / lifetimeSeconds)
    if (pair.period !== period) pair = { period, current: make(period), last: make(period - 1) }
    return pair
  }
  return {
    current: () => readPair().current,
    isAccepted(nonce) {
      const { current, last } = readPair()
      // Everybody is told the nonce: there is nothing to find out by how long this takes.
      return nonce === current || nonce === last
    },
  }
}

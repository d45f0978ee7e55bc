import { createHmac, randomBytes } from 'node:crypto'
import { systemClock, type Clock } from './clock.ts'
import { refuseUnknownOptions } from './options.ts'

/** Texts that a proof must hold, to show that it was made lately and not long before for this moment. */
export interface DpopNonces {
  /** For the header `DPoP-Nonce`. */
  current(): string
  /**
   * Whether it is the current one, the one before, or the next: a process whose clock is a little ahead
   * gives that one out already.
   */
  isAccepted(nonce: unknown): boolean
}

export interface DpopNonceOptions {
  /**
   * At least 32 random bytes. By default each process makes its own; several that answer for one API
   * must share it, or each sends the clients of the others back.
   */
  readonly secret?: Uint8Array
  /**
   * How long a nonce is the current one, 10 to 3600 seconds, 60 by default. It is accepted for as long
   * before and after, so clocks of processes that share a secret may differ by that much.
   */
  readonly lifetimeSeconds?: number
  /** For tests. The system's clock by default. */
  readonly clock?: Clock
}

const OPTIONS = ['secret', 'lifetimeSeconds', 'clock']
const MIN_SECRET_BYTES = 32

/**
 * Makes nonces out of a secret and the time, so that nothing has to be kept.
 *
 * Throws a `TypeError` that names the option for options that cannot be right.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9449.html#section-9 RFC 9449 §9}
 */
export function createDpopNonces(options: DpopNonceOptions = {}): DpopNonces {
  refuseUnknownOptions('createDpopNonces', options, OPTIONS)
  const {
    secret = randomBytes(MIN_SECRET_BYTES),
    lifetimeSeconds = 60,
    clock = systemClock,
  } = options
  if (!(secret instanceof Uint8Array) || secret.length < MIN_SECRET_BYTES) {
    throw new TypeError(
      `secret: createDpopNonces expected at least ${MIN_SECRET_BYTES} random bytes; is its variable set?`,
    )
  }
  if (typeof lifetimeSeconds !== 'number' || !(lifetimeSeconds >= 10 && lifetimeSeconds <= 3600)) {
    throw new TypeError(
      `lifetimeSeconds: expected 10 to 3600, not ${JSON.stringify(lifetimeSeconds)}`,
    )
  }
  const key = Buffer.from(secret)
  const make = (period: number) =>
    createHmac('sha256', key).update(`dpop-nonce ${period}`).digest('base64url')
  let known = { period: Number.NaN, current: '', accepted: [''] }
  const readNonces = () => {
    const period = Math.floor(clock.now() / 1000 / lifetimeSeconds)
    if (known.period !== period) {
      const current = make(period)
      known = { period, current, accepted: [current, make(period - 1), make(period + 1)] }
    }
    return known
  }
  return {
    current: () => readNonces().current,
    isAccepted(nonce) {
      // Everybody is told the nonce: there is nothing to find out by how long this takes.
      return readNonces().accepted.some((accepted) => nonce === accepted)
    },
  }
}

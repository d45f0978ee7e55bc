import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Clock } from './clock.ts'

const MAX_TRIP_MS = 3_600_000
const STATE = /^([0-9a-z]{1,11})\.[\w-]{22}\.([\w-]{43})$/

/** What a state was made for. */
type Trip = 'sign-in' | 'sign-out'

/**
 * Ties what leaves through a browser, and comes back, to the id in that browser's cookie. All of it
 * is derived from that id under a key that lives as long as this process: nothing is stored, so no
 * flood of half-finished sign-ins can fill the memory or push out another person's. The id changes
 * when somebody signs in, so that no answer can be used twice.
 */
export interface Bindings {
  makeFormToken(browser: string): string
  isFormToken(token: unknown, browser: string): boolean
  makeState(trip: Trip, browser: string): string
  isState(state: string, trip: Trip, browser: string): boolean
  /** The PKCE verifier and the nonce of the sign-in with this state. */
  deriveSecrets(state: string, browser: string): { verifier: string; nonce: string }
}

export function createBindings(clock: Clock): Bindings {
  const key = randomBytes(32)
  const sign = (...parts: readonly string[]) =>
    createHmac('sha256', key).update(JSON.stringify(parts)).digest('base64url')

  return {
    makeFormToken: (browser) => sign('form', browser),
    isFormToken: (token, browser) =>
      typeof token === 'string' && equal(token, sign('form', browser)),
    makeState(trip, browser) {
      const body = `${clock.now().toString(36)}.${randomBytes(16).toString('base64url')}`
      return `${body}.${sign(trip, browser, body)}`
    },
    isState(state, trip, browser) {
      const [, time = '', signature = ''] = STATE.exec(state) ?? []
      const body = state.slice(0, -signature.length - 1)
      const isOurs = equal(signature, sign(trip, browser, body))
      return isOurs && clock.now() - Number.parseInt(time, 36) <= MAX_TRIP_MS
    },
    deriveSecrets: (state, browser) => ({
      verifier: sign('verifier', browser, state),
      nonce: sign('nonce', browser, state),
    }),
  }
}

function equal(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}

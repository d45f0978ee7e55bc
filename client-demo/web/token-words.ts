import { MEANINGS } from '../claims.ts'
import { conceal } from '../conceal.ts'

const MAX_CLAIMS = 30
const MAX_VALUE_LENGTH = 300

const TIMES = new Set(['iat', 'exp', 'nbf', 'auth_time'])

export interface TokenWords {
  readonly type: string
  readonly algorithm: string
  readonly claims: readonly { name: string; meaning: string; value: string }[]
}

/**
 * Header and claims of a JWT access token in words; `undefined` for an opaque one. Verifies nothing,
 * and nothing may be decided by it: an access token is the API's to read, and this is for show.
 */
export function describeToken(token: string): TokenWords | undefined {
  const [header, claims] = token.split('.').slice(0, 2).map(decode)
  if (!header || !claims) return undefined
  return {
    type: showValue('typ', header['typ']),
    algorithm: showValue('alg', header['alg']),
    claims: Object.entries({ ...MEANINGS, ...claims })
      .filter(([name]) => Object.hasOwn(claims, name))
      .slice(0, MAX_CLAIMS)
      .map(([name, value]) => ({
        name,
        meaning: (Object.hasOwn(MEANINGS, name) && MEANINGS[name]) || '',
        value: showValue(name, conceal(name, value)),
      })),
  }
}

function decode(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}

function showValue(name: string, value: unknown): string {
  if (TIMES.has(name) && typeof value === 'number') return showTime(value * 1000)
  if (Array.isArray(value)) return value.map(String).join(', ').slice(0, MAX_VALUE_LENGTH)
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'none')
  return text.slice(0, MAX_VALUE_LENGTH)
}

const TIME = new Intl.DateTimeFormat('en-GB', {
  dateStyle: 'medium',
  timeStyle: 'medium',
  timeZone: 'UTC',
})

export function showTime(milliseconds: number): string {
  const isTime = Math.abs(milliseconds) <= 8.64e15
  return isTime ? `${TIME.format(milliseconds)} UTC` : 'no time at all'
}

/** A span such as `9 min 58 s`. */
export function showSpan(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000))
  const minutes = Math.floor(seconds / 60)
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`
}

import { createHash } from 'node:crypto'
import { isIPv6 } from 'node:net'
import { RateLimiterMemory, RateLimiterRes, type RateLimiterAbstract } from 'rate-limiter-flexible'

export interface GuessLimit {
  readonly attempts: number
  readonly windowSeconds: number
}

export interface GuessLimits {
  /** Wrong guesses at one subject from one address. */
  readonly perAccount: GuessLimit
  /** Wrong guesses at anything from one address. */
  readonly perAddress: GuessLimit
  /** Wrong guesses at anything from anywhere. */
  readonly overall: GuessLimit
}

/** A guess that was allowed to be made. It counts as wrong until it is forgiven. */
interface Guess {
  /** It was right, or was not made after all: it does not count. */
  forgive(): Promise<void>
}

export interface Throttled {
  readonly retryAfterSeconds: number
}

export interface GuessThrottle {
  /** Whether this address has to wait, without counting anything. */
  peek(subject: string, address: string): Promise<Throttled | undefined>
  begin(subject: string, address: string): Promise<Guess | Throttled>
}

/** Makes a counter. `name` tells it from others where they are kept together. */
export type CreateLimiter = (name: string, limit: GuessLimit) => RateLimiterAbstract

export interface ThrottleOptions {
  /** What is guessed at: each has counters of its own. Default: `password`. */
  readonly what?: 'password' | 'client' | 'api_key' | 'user_code'
  /** Default: counters in the memory of this process. */
  readonly createLimiter?: CreateLimiter
}

/** From everywhere together a subject may be guessed at this often as much as from one address. */
const SUBJECT_FACTOR = 10

/**
 * Counts a guess before it is made, so that a hundred at once do not all pass before the first has
 * turned out wrong.
 */
export function createGuessThrottle(
  limits: GuessLimits,
  { what = 'password', createLimiter = limitInMemory }: ThrottleOptions = {},
): GuessThrottle {
  const pair = createLimiter(`${what}_pair`, limits.perAccount)
  const subjectWide = createLimiter(`${what}_subject`, {
    ...limits.perAccount,
    attempts: limits.perAccount.attempts * SUBJECT_FACTOR,
  })
  const address = createLimiter(`${what}_address`, limits.perAddress)
  const overall = createLimiter(`${what}_overall`, limits.overall)
  return {
    async peek(subject, from) {
      const place = toNetwork(from)
      return (await isSpent(pair, keyOfPair(subject, place))) ?? (await isSpent(address, place))
    },
    async begin(subject, from) {
      const place = toNetwork(from)
      const taken: (readonly [RateLimiterAbstract, string])[] = []
      // What is not bounded by what the sender has comes last: an address that is refused leaves
      // nothing in memory for each of the names that it makes up.
      const wanted = [
        [address, place],
        [overall, 'all'],
        [pair, keyOfPair(subject, place)],
        [subjectWide, digest(subject)],
      ] as const
      for (const [limiter, key] of wanted) {
        const refused = await consume(limiter, key)
        if (refused) {
          await giveBack(taken)
          return refused
        }
        taken.push([limiter, key])
      }
      return { forgive: () => giveBack(taken) }
    },
  }
}

/** Counts what is done, and says how long to wait where that was too often. */
export type Pace = (key: string) => Promise<Throttled | undefined>

/** Lets the same be done so often in a window. `name` tells it from others, as in `CreateLimiter`. */
export function createPace(
  name: string,
  limit: GuessLimit,
  createLimiter: CreateLimiter = limitInMemory,
): Pace {
  const limiter = createLimiter(name, limit)
  return (key) => consume(limiter, digest(key))
}

function keyOfPair(subject: string, place: string): string {
  return digest(`${subject}\0${place}`)
}

export function limitInMemory(
  keyPrefix: string,
  { attempts, windowSeconds }: GuessLimit,
): RateLimiterAbstract {
  return new RateLimiterMemory({ keyPrefix, points: attempts, duration: windowSeconds })
}

async function consume(limiter: RateLimiterAbstract, key: string): Promise<Throttled | undefined> {
  try {
    await limiter.consume(key)
    return undefined
  } catch (refusal) {
    if (!(refusal instanceof RateLimiterRes)) throw refusal
    return { retryAfterSeconds: Math.max(1, Math.ceil(refusal.msBeforeNext / 1000)) }
  }
}

async function isSpent(limiter: RateLimiterAbstract, key: string): Promise<Throttled | undefined> {
  const state = await limiter.get(key)
  if (!state || state.remainingPoints > 0) return undefined
  return { retryAfterSeconds: Math.max(1, Math.ceil(state.msBeforeNext / 1000)) }
}

async function giveBack(taken: readonly (readonly [RateLimiterAbstract, string])[]): Promise<void> {
  for (const [limiter, key] of taken) await limiter.reward(key)
}

/** A home line or a rented server has a whole /56 of IPv6 addresses, or more. */
export function toNetwork(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '')
  if (!isIPv6(plain)) return plain
  const [head = '', tail] = plain.split('::')
  const left = head.split(':').filter(Boolean)
  const right = (tail ?? '').split(':').filter(Boolean)
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length
  const groups = [...left, ...Array<string>(zeros).fill('0'), ...right]
  const [first = 0, second = 0, third = 0, fourth = 0] = groups.map((group) => parseInt(group, 16))
  return [first, second, third, fourth & 0xff00].map((group) => group.toString(16)).join(':')
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

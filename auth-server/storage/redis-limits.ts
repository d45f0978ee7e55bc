import { RateLimiterRedis } from 'rate-limiter-flexible'
import { limitInMemory, type CreateLimiter } from '../throttle.ts'
import type { Redis } from './redis.ts'

/**
 * Counts in Redis, for all instances together, under `guesses_<name>:<hash>`. While Redis does not
 * answer each process counts for itself, so that clients can prove who they are all the same.
 */
export function limitInRedis(redis: Redis): CreateLimiter {
  const storeClient = boundCommands(redis)
  return (name, limit) =>
    new RateLimiterRedis({
      storeClient,
      useRedisPackage: true,
      rejectIfRedisNotReady: true,
      keyPrefix: `guesses_${name}`,
      points: limit.attempts,
      duration: limit.windowSeconds,
      insuranceLimiter: limitInMemory(name, limit),
    })
}

/** The few commands that the limiter sends, each in bounded time. */
function boundCommands(redis: Redis) {
  const { client } = redis
  return {
    get isReady() {
      return client.isReady
    },
    eval: (...args: Parameters<typeof client.eval>) => redis.run((ready) => ready.eval(...args)),
    multi() {
      const commands = client.multi()
      const bounded = {
        get(key: string) {
          commands.get(key)
          return bounded
        },
        pTTL(key: string) {
          commands.pTTL(key)
          return bounded
        },
        exec: () => redis.run(() => commands.exec()),
      }
      return bounded
    },
  }
}

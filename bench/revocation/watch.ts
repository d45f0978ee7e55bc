import type { Rule } from './api-setup.ts'
import type { Hit, Shot } from './load.ts'

/** A token that is going to be revoked, and what each API made of it. */
export interface Watched {
  readonly token: string
  /** The revocation was asked for. */
  calledAt: number | undefined
  /** It was answered. */
  answeredAt: number | undefined
  /** By API: the first refusal. */
  readonly refusedAt: (number | undefined)[]
  /** By API: how often it was let in after the revocation was answered. */
  readonly letIn: number[]
}

/** What must not be. Each is counted. */
export interface Faults {
  /** An API let a token in again that it had refused before. */
  letInAgain: number
  /** A token was refused that nobody had revoked, or for another reason. */
  refusedWrongly: number
  /** No answer, or none of a token. */
  failed: number
}

/** Tokens on their way from good to refused everywhere, and what the requests with them show. */
export interface Watch {
  readonly faults: Faults
  /** Milliseconds from when a request was due to its answer, of those since `begin`. */
  readonly latencies: readonly number[]
  /** Until then, code is still being compiled and caches are filled. */
  begin(): void
  choose(api: number, turn: number): Omit<Shot, 'api'>
  note(shot: Shot, hit: Hit): void
  /** From now on it is what most requests come with. */
  follow(watched: Watched): void
  /** Resolves with true when every API has refused it, or with false when that took too long. */
  isRefused(watched: Watched, timeoutMs: number): Promise<boolean>
}

/** Of so many requests, one comes with a token that stays good, and one with one that was refused. */
const ROUND = 10
/** All are judged by what is known to be revoked: a stale view lets in what it does not know. */
const RULE: Rule = 'open'

export function watched(token: string, apis: number): Watched {
  return {
    token,
    calledAt: undefined,
    answeredAt: undefined,
    refusedAt: Array.from({ length: apis }, () => undefined),
    letIn: Array.from({ length: apis }, () => 0),
  }
}

/**
 * `good`: tokens that nobody revokes. `coming`: those that will be, which are used before, so that each
 * API has them in its cache.
 */
export function createWatch(good: readonly string[], coming: readonly Watched[]): Watch {
  const faults: Faults = { letInAgain: 0, refusedWrongly: 0, failed: 0 }
  const latencies: number[] = []
  const byToken = new Map(coming.map((one) => [one.token, one]))
  const rest = [...good, ...coming.map(({ token }) => token)]
  const followed = new Set<Watched>()
  const dead: string[] = []
  const ended = new Map<Watched, () => void>()

  const pick = (api: number, turn: number): string => {
    const place = turn % ROUND
    if (place === 0) return good[Math.floor(turn / ROUND) % good.length] ?? ''
    const open = [...followed].filter(({ refusedAt }) => refusedAt[api] === undefined)
    if (place !== 1 && open.length > 0) return open[turn % open.length]?.token ?? ''
    if (place === 1 && dead.length > 0) return dead[(turn * 7) % dead.length] ?? ''
    return rest[turn % rest.length] ?? ''
  }
  const noteRefusal = (one: Watched, api: number, { answeredAt, refusal }: Hit) => {
    if (refusal !== 'revoked' || one.calledAt === undefined) faults.refusedWrongly += 1
    one.refusedAt[api] ??= answeredAt
    if (one.refusedAt.includes(undefined)) return
    if (followed.delete(one)) dead.push(one.token)
    ended.get(one)?.()
    ended.delete(one)
  }
  return {
    faults,
    latencies,
    begin: () => void (latencies.length = 0),
    choose: (api, turn) => ({ token: pick(api, turn), rule: RULE }),
    note({ api, token }, hit) {
      const { dueAt, sentAt, answeredAt, status } = hit
      latencies.push(answeredAt - dueAt)
      const one = byToken.get(token)
      if (status === 200) {
        if (one === undefined) return
        const refusedAt = one.refusedAt[api]
        if (refusedAt !== undefined && sentAt > refusedAt) faults.letInAgain += 1
        if (one.answeredAt !== undefined && sentAt > one.answeredAt) {
          one.letIn[api] = (one.letIn[api] ?? 0) + 1
        }
      } else if (status !== 401) faults.failed += 1
      else if (one === undefined) faults.refusedWrongly += 1
      else noteRefusal(one, api, hit)
    },
    follow: (one) => void followed.add(one),
    isRefused(one, timeoutMs) {
      if (!one.refusedAt.includes(undefined)) return Promise.resolve(true)
      return new Promise((resolve) => {
        const timer = setTimeout(() => {
          followed.delete(one)
          ended.delete(one)
          resolve(false)
        }, timeoutMs)
        ended.set(one, () => {
          clearTimeout(timer)
          resolve(true)
        })
      })
    },
  }
}

import {
  createRevocationFeed,
  createVerifier,
  type RevocationFeed,
  type RevocationFeedOptions,
  type Verifier,
  type VerifyOptions,
} from '../../resource-server/index.ts'
import { APPLIED_PATH, CREDENTIALS, startFeedIssuer, type FeedIssuer } from './feed-issuer.ts'
import { API, signToken } from './issuer.ts'
import { createTurnableClock, type TurnableClock } from './turnable-clock.ts'

/** An API that follows an issuer which does what it is told. */
export interface FeedWorld extends AsyncDisposable {
  readonly clock: TurnableClock
  /** Resolves when the feed waits before it connects again, after a stream that has just ended. */
  pauses(): Promise<void>
  readonly issuer: FeedIssuer
  readonly feed: RevocationFeed
  readonly verifier: Verifier
  /** What went wrong, but for reports of what was applied. */
  readonly faults: readonly Error[]
  /** A good token but for the change. */
  token(change?: Record<string, unknown>): string
  /** `allowed`, or why not. By default nothing is taken while the view is stale. */
  judge(token: string, options?: VerifyOptions): Promise<string>
  /** Resolves when the feed has learned of something that is done now. */
  learns(work: () => void): Promise<void>
  /** Resolves at the next failure, which what is done now leads to. */
  fails(work?: () => void): Promise<Error>
  /** After a failure, which is noted just before the feed begins to wait. */
  pauseBegins(): Promise<void>
  /** Lets the feed come back after a failure, and answers when the view is fresh again. */
  comesBack(withinMs?: number): Promise<void>
}

/** `isReady`: begins when the view is fresh. */
export async function startFeedWorld(
  options: Partial<RevocationFeedOptions> = {},
  prepare: (issuer: FeedIssuer) => void = () => {},
  isReady = true,
): Promise<FeedWorld> {
  await using cleanUp = new AsyncDisposableStack()
  const pausing: (() => void)[] = []
  const clock = watchPauses(createTurnableClock(), () => {
    for (const resolve of pausing.splice(0)) resolve()
  })
  const issuer = cleanUp.use(await startFeedIssuer(clock))
  prepare(issuer)
  const faults: Error[] = []
  const awaiting: ((fault: Error) => void)[] = []
  const feed = cleanUp.use(
    createRevocationFeed({
      issuer: issuer.url,
      ...CREDENTIALS,
      clock,
      onFault(fault) {
        // The clock may be turned while one is on its way.
        if (fault.message.includes(APPLIED_PATH)) return
        faults.push(fault)
        for (const resolve of awaiting.splice(0)) resolve(fault)
      },
      ...options,
    }),
  )
  const verifier = cleanUp.use(
    createVerifier({ issuer: issuer.url, audience: API, clock, revocations: feed }),
  )
  if (isReady) await feed.whenFresh()
  const running = cleanUp.move()
  return {
    clock,
    pauses: () => new Promise((resolve) => pausing.push(resolve)),
    issuer,
    feed,
    verifier,
    faults,
    token(change = {}) {
      const iat = Math.floor((clock.now() + issuer.aheadMs) / 1000)
      const claims = { iss: issuer.url, sub: 'alice', aud: API, client_id: 'web', jti: 'j', iat }
      return signToken(issuer.key, { ...claims, exp: iat + 600, ...change })
    },
    async judge(token, how = { whenStale: 'closed' }) {
      const result = await verifier.verify(token, how)
      return result.ok ? 'allowed' : result.reason.kind
    },
    async learns(work) {
      const learned = new Promise<void>((resolve) => {
        const unsubscribe = feed.subscribe(() => {
          unsubscribe()
          resolve()
        })
      })
      work()
      await learned
    },
    async fails(work = () => {}) {
      const failed = new Promise<Error>((resolve) => awaiting.push(resolve))
      work()
      return failed
    },
    pauseBegins,
    async comesBack(withinMs = 10_000) {
      const opened = issuer.nextStream()
      await pauseBegins()
      await clock.advance(withinMs)
      await opened
      await feed.whenFresh()
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

/** Tells that all is well, and resolves when the API has heard it. */
export async function beatAll(world: FeedWorld, change?: Record<string, unknown>): Promise<void> {
  await world.learns(() => {
    world.issuer.beat(change)
    world.issuer.revoke('session', `for ${world.issuer.log.length}`)
  })
}

function pauseBegins(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function watchPauses(clock: TurnableClock, notice: () => void): TurnableClock {
  return {
    ...clock,
    schedule(milliseconds, work) {
      if (milliseconds >= 251 && milliseconds <= 500) notice()
      return clock.schedule(milliseconds, work)
    },
  }
}

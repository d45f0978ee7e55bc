/**
 * What it costs to know what is revoked, in one process without HTTP: `node view.ts ENTRIES ROUNDS`.
 * Prints one line of JSON.
 */
import { randomUUID } from 'node:crypto'
import { createVerifier, type FollowedRevocations, type Verifier } from '@portreeve/resource-server'
import { systemClock } from '../../resource-server/clock.ts'
import { createRevocationStore } from '../../resource-server/revocation-store.ts'
import { createRevocationView } from '../../resource-server/revocation-view.ts'
import { measureHeap } from '../heap.ts'
import { compareSides, compareTimes, type Side } from '../measure.ts'
import { summarise, type Summary } from '../numbers.ts'
import { readSeconds, startIssuer, type Issuer } from '../resource-server/issuer.ts'

export interface ViewCosts {
  readonly entries: number
  readonly rounds: number
  /** Of the store alone: bytes of memory for an entry, and microseconds to add one and to look one up. */
  readonly bytesPerEntry: number
  readonly addMicroseconds: number
  readonly lookUpMicroseconds: number
  /** How fast a warm check is with the view, as a part of how fast it is without. */
  readonly warmRatio: Summary
  /** The same of a second verifier without: what it would be if the view cost nothing. */
  readonly controlRatio: Summary
  /** A warm check without. */
  readonly warmMicroseconds: number
  /** What a check costs where something was revoked before each, which is the worst that there is. */
  readonly newsMicroseconds: number
}

const TOKENS = 1000
const MILLISECONDS = 10
/** Until then code is still being compiled. */
const WARM_UP = 20_000
const LIFE_SECONDS = 7200
const FEED = 'a-log'

function measureStore(subjects: readonly string[]) {
  const now = readSeconds()
  const before = measureHeap()
  const store = createRevocationStore(subjects.length)
  const addedFrom = performance.now()
  for (const subject of subjects) {
    store.add({ kind: 'session', subject, revokedAt: now, until: now + LIFE_SECONDS }, now)
  }
  const addedTo = performance.now()
  const taken = measureHeap() - before
  const lookedFrom = performance.now()
  let found = 0
  for (const subject of subjects) found += store.isRevoked('session', subject) ? 1 : 0
  const lookedTo = performance.now()
  if (found !== subjects.length) throw new Error(`${found} of ${subjects.length} were found`)
  return {
    bytesPerEntry: taken / subjects.length,
    addMicroseconds: ((addedTo - addedFrom) * 1000) / subjects.length,
    lookUpMicroseconds: ((lookedTo - lookedFrom) * 1000) / subjects.length,
  }
}

/** The view that a feed keeps, with these entries. One beat keeps it fresh for as long as the entries live. */
function createFollowed(
  issuer: string,
  subjects: readonly string[],
): FollowedRevocations & { readonly learn: () => void } {
  const staleAfterMs = LIFE_SECONDS * 1000
  const view = createRevocationView(
    { issuer, staleAfterMs, maxEntries: subjects.length * 2 },
    systemClock,
  )
  const revokedAt = readSeconds()
  const until = revokedAt + LIFE_SECONDS
  const signedAt = revokedAt * 1000
  const makeEntry = (sequence: number, subject: string) =>
    ({ sequence, until, entry: { kind: 'session', subject, revokedAt, until } }) as const
  let head = subjects.length
  const entries = subjects.map((subject, place) => makeEntry(place + 1, subject))
  view.takePage({ feed: FEED, signedAt, after: 0, through: head, head, entries }, 0)
  view.connect(systemClock.monotonic(), systemClock.now())
  view.takeBeat({ feed: FEED, signedAt: systemClock.now(), head, keys: '' })
  if (view.entries !== head) throw new Error(`${view.entries} of ${head} entries were applied`)
  const { pulse, isRevoked } = view
  return {
    issuer,
    clock: systemClock,
    pulse,
    get epoch() {
      return pulse.epoch
    },
    isRevoked,
    watchKeys: () => () => {},
    state: {
      isFresh: true,
      ageSeconds: 0,
      applied: head,
      entries: head,
      connections: 1,
      faults: 0,
      lastFault: undefined,
    },
    learn() {
      head += 1
      const entry = makeEntry(head, `after ${head}`)
      view.takeEvent({ feed: FEED, signedAt, name: `${FEED}:${head}`, ...entry })
    },
  }
}

function nothing(): void {}

function createSide(
  name: string,
  verifier: Verifier,
  tokens: readonly string[],
  prepare: () => void = nothing,
): Side {
  return {
    name,
    async run(_workers, count) {
      const start = performance.now()
      for (let done = 0; done < count; done += 1) {
        prepare()
        const answer = verifier.authenticate(tokens[done % tokens.length] ?? '')
        const result = answer instanceof Promise ? await answer : answer
        if (!result.ok || result.value.stale) throw new Error('a good token was refused')
      }
      return performance.now() - start
    },
  }
}

/** Verifiers of its own: where they happen to lie in memory makes one faster than the other. */
async function runRound(
  { setup: { issuer, audience } }: Issuer,
  tokens: readonly string[],
  revocations: FollowedRevocations,
  isReversed: boolean,
) {
  await using off = createVerifier({ issuer, audience })
  await using on = createVerifier({ issuer, audience, revocations })
  await using offAsWell = createVerifier({ issuer, audience })
  const sides = [
    createSide('off', isReversed ? offAsWell : off, tokens),
    createSide('on', on, tokens),
    createSide('off as well', isReversed ? off : offAsWell, tokens),
  ]
  for (const side of sides) await side.run(1, WARM_UP)
  const [without, withView, control] = await compareSides(sides, 1, MILLISECONDS)
  if (!without || !withView || !control) throw new Error('nothing was measured')
  return {
    ratio: compareTimes(without, withView),
    control: compareTimes(without, control),
    microseconds: 1e6 / without.perSecond,
  }
}

async function measureNews(
  { setup: { issuer, audience } }: Issuer,
  tokens: readonly string[],
  revocations: ReturnType<typeof createFollowed>,
): Promise<number> {
  await using on = createVerifier({ issuer, audience, revocations })
  const news = createSide('news', on, tokens, revocations.learn)
  const [withNews] = await compareSides([news], 1, MILLISECONDS)
  return 1e6 / (withNews?.perSecond ?? Number.NaN)
}

async function measureWarm(issuer: Issuer, subjects: readonly string[], count: number) {
  const revocations = createFollowed(issuer.setup.issuer, subjects)
  const tokens = Array.from({ length: TOKENS }, () => issuer.sign())
  const rounds: Awaited<ReturnType<typeof runRound>>[] = []
  for (let round = 0; round < count; round += 1) {
    rounds.push(await runRound(issuer, tokens, revocations, round % 2 === 1))
  }
  return {
    warmRatio: summarise(rounds.map(({ ratio }) => ratio)),
    controlRatio: summarise(rounds.map(({ control }) => control)),
    warmMicroseconds: summarise(rounds.map(({ microseconds }) => microseconds)).median,
    newsMicroseconds: await measureNews(issuer, tokens, revocations),
  }
}

const [entries = 0, rounds = 0] = process.argv.slice(2).map(Number)
const subjects = Array.from({ length: entries }, () => randomUUID())
await using issuer = await startIssuer('ES256')
const costs: ViewCosts = {
  entries,
  rounds,
  ...measureStore(subjects),
  ...(await measureWarm(issuer, subjects, rounds)),
}
console.log(JSON.stringify(costs))

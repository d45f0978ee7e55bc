/**
 * What it costs to know what is revoked, in one process without HTTP: `node revocations.ts [ENTRIES]`.
 * Prints one line of JSON.
 */
import { randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { createVerifier, type FollowedRevocations } from '@portreeve/resource-server'
import { systemClock } from '../../resource-server/clock.ts'
import { createKeySet } from '../../resource-server/key-set.ts'
import { createRevocationMessages } from '../../resource-server/revocation-messages.ts'
import { createRevocationStore } from '../../resource-server/revocation-store.ts'
import { createRevocationView } from '../../resource-server/revocation-view.ts'
import { compareSides, compareTimes, type Side } from '../measure.ts'
import { measureHeap } from './heap.ts'
import { KEY_ID, makeKeyPair, readSeconds, signJws, startIssuer } from './issuer.ts'

export interface RevocationCosts {
  readonly entries: number
  /** Of the store: bytes of memory for an entry, and microseconds to add one and to look one up. */
  readonly bytesPerEntry: number
  readonly addMicroseconds: number
  readonly lookUpMicroseconds: number
  /** Reading, checking and applying signed pages with all of them; the 99th percentile of one of them. */
  readonly snapshotSeconds: number
  readonly pageMs: number
  /** Of a warm check: how fast it is with the view, as a part of how fast it is without. */
  readonly warmRatio: number
  /** What a check costs where something was revoked before each, which is the worst that there is. */
  readonly newsMicroseconds: number
}

const TOKENS = 1000
const MILLISECONDS = 25
const ROUNDS = 9
const PAGE = 2000
const LIFE_SECONDS = 7200

function listRows(count: number): readonly string[] {
  return Array.from({ length: count }, () => randomUUID())
}

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

/** Pages as an issuer signs them, one after the other, each made when the one before was taken. */
async function measureSnapshot(
  subjects: readonly string[],
  issuer: string,
  key: ReturnType<typeof makeKeyPair>['privateKey'],
) {
  const audience = `${issuer}/revocations`
  await using keys = createKeySet(issuer, systemClock)
  const messages = createRevocationMessages(keys, { issuer, audience, isRevokedKey: () => false })
  const settings = { issuer, staleAfterMs: 15_000, maxEntries: subjects.length }
  const view = createRevocationView(settings, systemClock)
  const times: number[] = []
  let after: number | undefined = 0
  while (after !== undefined) {
    const from: number = after
    const iat = readSeconds()
    const entries = subjects
      .slice(from, from + PAGE)
      .map((subject, index) => [from + index + 1, 's', subject, iat, iat + LIFE_SECONDS])
    const through = from + entries.length
    const claims = { iss: issuer, aud: audience, iat, feed: 'f', after, through, entries }
    const header = { alg: 'ES256', typ: 'revocation-page+jwt', kid: KEY_ID } as const
    const text = signJws(header, { ...claims, head: subjects.length }, key)
    await setImmediate()
    const start = performance.now()
    after = view.takePage(await messages.readPage(text), from)
    times.push(performance.now() - start)
  }
  if (view.entries !== subjects.length) throw new Error(`${view.entries} were applied`)
  const sum = times.reduce((total, time) => total + time, 0)
  // The first one waits for the issuer's keys.
  const rest = times.slice(1).toSorted((one, other) => one - other)
  const pageMs = rest[Math.floor(rest.length * 0.99)] ?? Number.NaN
  return { snapshotSeconds: sum / 1000, pageMs }
}

/** What verifiers are given, over a store with these revocations, and for ever fresh. */
function createRevocations(
  issuer: string,
  subjects: readonly string[],
): FollowedRevocations & { readonly learn: () => void } {
  const now = readSeconds()
  const store = createRevocationStore(subjects.length)
  for (const subject of subjects) {
    store.add({ kind: 'session', subject, revokedAt: now, until: now + LIFE_SECONDS }, now)
  }
  const pulse = { epoch: 1, freshUntil: Infinity }
  return {
    issuer,
    clock: systemClock,
    pulse,
    get epoch() {
      return pulse.epoch
    },
    learn() {
      pulse.epoch += 1
    },
    // As many look-ups as a view makes.
    isRevoked: ({ jti, sub, client_id: clientId }) =>
      store.isRevoked('session', jti) ||
      store.isRevoked('session', sub) ||
      store.isRevoked('session', clientId) ||
      store.isRevoked('session', `${jti} grant`),
    watchKeys: () => () => {},
    state: {
      isFresh: true,
      ageSeconds: 0,
      applied: 0,
      entries: subjects.length,
      connections: 1,
      faults: 0,
      lastFault: undefined,
    },
  }
}

function nothing(): void {}

async function measureWarm(
  issuer: Awaited<ReturnType<typeof startIssuer>>,
  subjects: readonly string[],
) {
  const { issuer: url, audience } = issuer.setup
  const revocations = createRevocations(url, subjects)
  await using off = createVerifier({ issuer: url, audience })
  await using on = createVerifier({ issuer: url, audience, revocations })
  const tokens = Array.from({ length: TOKENS }, () => issuer.sign())
  const createSide = (name: string, verifier: typeof on, prepare: () => void): Side => ({
    name,
    async run(_workers, count) {
      const start = performance.now()
      for (let done = 0; done < count; done += 1) {
        prepare()
        const answer = verifier.authenticate(tokens[done % TOKENS] ?? '')
        const result = answer instanceof Promise ? await answer : answer
        if (!result.ok || result.value.stale) throw new Error('a good token was refused')
      }
      return performance.now() - start
    },
  })
  const warm = [createSide('off', off, nothing), createSide('on', on, nothing)]
  for (const side of warm) await side.run(1, 20_000)
  // A round of all sides has its noise: there are several, and the middle one counts.
  const ratios: number[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    const [without, withView] = await compareSides(warm, 1, MILLISECONDS)
    if (!without || !withView) throw new Error('nothing was measured')
    ratios.push(compareTimes(without, withView))
  }
  const news = createSide('news', on, revocations.learn)
  const [without, withNews] = await compareSides(
    [createSide('off', off, nothing), news],
    1,
    MILLISECONDS,
  )
  if (!without || !withNews) throw new Error('nothing was measured')
  const ordered = ratios.toSorted((one, other) => one - other)
  return {
    warmRatio: ordered[Math.floor(ROUNDS / 2)] ?? Number.NaN,
    newsMicroseconds: 1e6 / withNews.perSecond,
  }
}

const entries = Number(process.argv[2] ?? 1_000_000)
const subjects = listRows(entries)
await using issuer = await startIssuer('ES256')
const costs: RevocationCosts = {
  entries,
  ...measureStore(subjects),
  ...(await measureSnapshot(subjects, issuer.setup.issuer, issuer.privateKey)),
  ...(await measureWarm(issuer, subjects)),
}
console.log(JSON.stringify(costs))

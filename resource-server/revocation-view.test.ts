import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTurnableClock } from '../test/support/turnable-clock.ts'
import type { LogEntry } from './revocation-messages.ts'
import type { RevokedKind } from './revocation-store.ts'
import { createRevocationView, type RevocationView } from './revocation-view.ts'

const START = 1_750_000_000
const KINDS: readonly RevokedKind[] = ['token', 'grant', 'session', 'user', 'client', 'key', 'all']
const SUBJECTS = ['a', 'b', 'c']

type Step =
  | {
      readonly do: 'append'
      readonly kind: RevokedKind
      readonly subject: string
      readonly life: number
      readonly isLost: boolean
    }
  | { readonly do: 'repeat'; readonly back: number }
  | { readonly do: 'wait'; readonly seconds: number }
  | { readonly do: 'beat' | 'cut' | 'move' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      kind: fc.constantFrom(...KINDS),
      subject: fc.constantFrom(...SUBJECTS),
      life: fc.integer({ min: 1, max: 900 }),
      isLost: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('repeat' as const), back: fc.nat(6) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.nat(400) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('beat' as const, 'cut' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('move' as const) }) },
)

/** An issuer's log, and what any follower should make of all that was ever in it. */
function createLog(clock: { now(): number }) {
  let feed = 'A'
  let entries: LogEntry[] = []
  const model = new Map<string, { before: number; until: number }>()
  const seconds = () => clock.now() / 1000
  const head = () => entries.at(-1)?.sequence ?? 0
  return {
    model,
    append(kind: RevokedKind, name: string, life: number): LogEntry {
      const subject = kind === 'all' ? '' : name
      const until = seconds() + life
      const entry = { kind, subject, revokedAt: seconds(), until }
      entries.push({ sequence: head() + 1, until, entry })
      const isTimed = kind === 'user' || kind === 'client' || kind === 'all'
      const known = model.get(`${kind}:${subject}`) ?? { before: 0, until: 0 }
      model.set(`${kind}:${subject}`, {
        before: Math.max(known.before, isTimed ? seconds() : Infinity),
        until: Math.max(known.until, until),
      })
      return entries.at(-1) ?? { sequence: 0, until, entry }
    },
    /** Another database with nothing in it. */
    move() {
      feed += 'B'
      entries = []
    },
    recent: (back: number) => entries.at(-1 - back),
    event: (entry: LogEntry) => ({
      ...entry,
      feed,
      signedAt: clock.now(),
      name: `${feed}:${entry.sequence}`,
    }),
    beat: () => ({ feed, head: head(), keys: '', signedAt: clock.now() }),
    page(after: number) {
      // Small ones, without what has expired: more of them, and holes.
      const found = entries.filter(({ sequence }) => sequence > after).slice(0, 3)
      const through = found.at(-1)?.sequence ?? after
      const alive = found.filter(({ until }) => until > seconds())
      return { feed, signedAt: clock.now(), after, through, head: head(), entries: alive }
    },
  }
}

function catchUp(view: RevocationView, log: ReturnType<typeof createLog>): void {
  let after = view.place?.applied ?? 0
  for (;;) {
    const next = view.takePage(log.page(after), after)
    if (next === undefined) return
    after = next
  }
}

describe('the view of revocations', () => {
  test('is what a Map of everything would be, whatever is lost, repeated, restarted or expires', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const clock = createTurnableClock()
        const settings = { issuer: 'x', staleAfterMs: 15_000, maxEntries: 1000 }
        const view = createRevocationView(settings, clock)
        const log = createLog(clock)
        const hear = (entry: LogEntry | undefined) => {
          if (entry === undefined) return
          const event = log.event(entry)
          if (view.takeEvent(event) === 'behind') catchUp(view, log)
          expect(view.takeEvent(event)).toBe('taken')
        }
        const hearBeat = () => {
          if (view.takeBeat(log.beat()) === 'behind') catchUp(view, log)
          expect(view.takeBeat(log.beat())).not.toBe('behind')
        }
        view.connect(clock.monotonic(), clock.now())
        for (const each of [...steps, { do: 'beat' } as const]) {
          const {
            pulse: { epoch },
            entries,
          } = view
          if (each.do === 'append') {
            const entry = log.append(each.kind, each.subject, each.life)
            if (!each.isLost) hear(entry)
          } else if (each.do === 'repeat') hear(log.recent(each.back))
          else if (each.do === 'wait') await clock.advance(each.seconds * 1000)
          else if (each.do === 'beat') hearBeat()
          else if (each.do === 'cut') view.connect(clock.monotonic(), clock.now())
          else {
            // What is in no log any more, nobody who has not heard it can know.
            hearBeat()
            log.move()
          }
          // What has grown says so, or tokens that are kept would not be compared again.
          expect(view.entries <= entries || view.pulse.epoch > epoch).toBe(true)
        }
        const now = clock.now() / 1000
        const isKnown = (kind: string, subject: string, iat: number) => {
          const known = log.model.get(`${kind}:${subject}`)
          return known !== undefined && known.until > now && iat <= known.before
        }
        for (const subject of [...SUBJECTS, 'never']) {
          for (const iat of [START, now]) {
            const claims = { iss: 'x', aud: 'y', exp: now, iat, sub: subject, jti: subject }
            const all = { ...claims, client_id: subject, sid: subject, grant_id: subject }
            const expected =
              isKnown('all', '', iat) ||
              ['token', 'grant', 'session', 'user', 'client', 'key'].some((kind) =>
                isKnown(kind, subject, iat),
              )
            const isRevoked = view.isRevoked(all, subject)
            // What has expired may still be there until it is swept: it concerns no token.
            const mayBe = expected || wasEver(log.model, subject, iat, now)
            expect([isRevoked || !expected, mayBe || !isRevoked]).toEqual([true, true])
          }
        }
      }),
      { numRuns: 500 },
    )
  })

  function wasEver(
    model: ReadonlyMap<string, { before: number; until: number }>,
    subject: string,
    iat: number,
    now: number,
  ): boolean {
    return [...model].some(
      ([name, { before, until }]) =>
        (name.endsWith(`:${subject}`) || name === 'all:') &&
        iat <= before &&
        // Until it is swept: all parts are by sixteen beats.
        until <= now,
    )
  }

  test('keeps entries beyond their end for as long as a token may be taken that has expired', async () => {
    const clock = createTurnableClock()
    const view = createRevocationView(
      { issuer: 'x', staleAfterMs: 15_000, maxEntries: 1000 },
      clock,
    )
    const log = createLog(clock)
    log.append('session', 'a', 60)
    catchUp(view, log)
    const claims = { iss: 'x', aud: 'y', exp: 0, iat: START, sub: 's', jti: 'j', client_id: 'c' }
    const beatSixteenTimes = async () => {
      for (let count = 0; count < 16; count += 1) {
        await clock.advance(1)
        view.connect(clock.monotonic(), clock.now())
        expect(view.takeBeat(log.beat())).toBe('taken')
      }
    }
    await clock.advance(359_000)
    await beatSixteenTimes()
    expect(view.isRevoked({ ...claims, sid: 'a' })).toBe(true)
    await clock.advance(1000)
    await beatSixteenTimes()
    expect(view.isRevoked({ ...claims, sid: 'a' })).toBe(false)
    expect(view.entries).toBe(0)
  })
})

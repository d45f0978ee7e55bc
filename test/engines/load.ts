export interface Answer {
  readonly kind: string
  /** On the clock of `performance.now`. */
  readonly startedAt: number
  readonly endedAt: number
  readonly milliseconds: number
  readonly status: number
  readonly retryAfter: string | null
  readonly text: string
}

export interface Load {
  readonly kinds: readonly string[]
  /** Those that have come. */
  readonly answers: readonly Answer[]
  /** How many requests were under way at once between these times. */
  mostInFlight(from: number, to: number): number
  /** Sends no more, and resolves when all are answered. Rejects if one was not. */
  stop(): Promise<void>
}

/** Sends one request of each kind at a fixed pace, whatever becomes of those before. */
export function startLoad(
  everyMilliseconds: number,
  kinds: Readonly<Record<string, () => Promise<Response>>>,
): Load {
  const answers: Answer[] = []
  const underWay = new Map<object, number>()
  const failures: unknown[] = []
  let idle = Promise.withResolvers<void>()
  const send = async (kind: string, ask: () => Promise<Response>) => {
    const startedAt = performance.now()
    const token = {}
    underWay.set(token, startedAt)
    try {
      const response = await ask()
      const text = await response.text()
      const endedAt = performance.now()
      const { status, headers } = response
      const retryAfter = headers.get('retry-after')
      const milliseconds = endedAt - startedAt
      answers.push({ kind, startedAt, endedAt, milliseconds, status, retryAfter, text })
    } catch (error) {
      failures.push(error)
    } finally {
      underWay.delete(token)
      if (underWay.size === 0) idle.resolve()
    }
  }
  const timer = setInterval(() => {
    for (const [kind, ask] of Object.entries(kinds)) void send(kind, ask)
  }, everyMilliseconds)
  return {
    kinds: Object.keys(kinds),
    answers,
    mostInFlight: (from, to) => countOverlaps(answers, from, to),
    async stop() {
      clearInterval(timer)
      idle = Promise.withResolvers<void>()
      if (underWay.size > 0) await idle.promise
      if (failures.length > 0) throw new AggregateError(failures, 'requests without an answer')
    },
  }
}

function countOverlaps(answers: readonly Answer[], from: number, to: number): number {
  const edges = answers
    .filter(({ startedAt, endedAt }) => startedAt < to && endedAt > from)
    .flatMap(({ startedAt, endedAt }) => [
      { at: Math.max(startedAt, from), change: 1 },
      { at: endedAt, change: -1 },
    ])
    .toSorted((one, two) => one.at - two.at || one.change - two.change)
  let now = 0
  let most = 0
  for (const { change } of edges) {
    now += change
    most = Math.max(most, now)
  }
  return most
}

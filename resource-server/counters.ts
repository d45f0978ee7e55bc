import type { Source } from './decision.ts'
import type { Refusal } from './errors.ts'
import type { StaleRuleName } from './staleness.ts'
import type { Verifier } from './token-verifier.ts'

/** What became of requests, in numbers. */
export interface Counters {
  count(
    outcome: 'allowed' | Refusal['kind'],
    source: Source | undefined,
    microseconds: number,
    /** Where the view of revocations was stale: what the route says for then. */
    staleRule?: StaleRuleName,
  ): void
  /** In the text format of Prometheus, version 0.0.4; its type is `text/plain; version=0.0.4`. */
  text(): string
}

/** Upper bounds in seconds: a warm check takes a microsecond, a signature 20 to 130, a fetch the rest. */
const BOUNDS = [5e-6, 2.5e-5, 1e-4, 2.5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.5, 2.5, 5]
const PREFIX = 'portreeve_resource_server'

/**
 * Counts what the guards that are given it decide. Labels hold kinds of refusals, sources and issuers,
 * all of them bounded, and nothing that came with a request.
 */
export function createCounters(verifier: Verifier): Counters {
  const outcomes = new Map<string, number>()
  const sources = new Map<Source, number>()
  const staleRules = new Map<string, Map<StaleRuleName, number>>()
  const buckets = [...BOUNDS, Infinity].map(() => 0)
  let sumSeconds = 0
  return {
    count(outcome, source, microseconds, staleRule) {
      if (staleRule !== undefined) {
        const rules = staleRules.get(outcome) ?? new Map<StaleRuleName, number>()
        staleRules.set(outcome, rules.set(staleRule, (rules.get(staleRule) ?? 0) + 1))
      }
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      if (source !== undefined) sources.set(source, (sources.get(source) ?? 0) + 1)
      const seconds = microseconds / 1e6
      sumSeconds += seconds
      const found = BOUNDS.findIndex((bound) => seconds <= bound)
      const at = found === -1 ? BOUNDS.length : found
      buckets[at] = (buckets[at] ?? 0) + 1
    },
    text: () => {
      const decided = [...outcomes].map(([outcome, count]): Sample => ['', { outcome }, count])
      const verified = [...sources].map(([source, count]): Sample => ['', { source }, count])
      const stale = [...staleRules].flatMap(([outcome, rules]) =>
        [...rules].map(([rule, count]): Sample => ['', { rule, outcome }, count]),
      )
      const total = buckets.reduce((sum, count) => sum + count, 0)
      const times = [
        ...accumulate(buckets),
        ['_sum', {}, sumSeconds],
        ['_count', {}, total],
      ] as const
      const lines = [
        ...writeFamily('decisions_total', 'counter', 'Requests by what was decided.', decided),
        ...writeFamily('verified_total', 'counter', 'Good tokens by how that was known.', verified),
        ...writeFamily('stale_decisions_total', 'counter', 'Those with a stale view.', stale),
        ...writeFamily('decision_seconds', 'histogram', 'The time of decisions.', times),
        ...writeStates(verifier),
      ]
      return `${lines.join('\n')}\n`
    },
  }
}

type Labels = Readonly<Record<string, string>>
type Sample = readonly [suffix: string, labels: Labels, value: number]

function accumulate(buckets: readonly number[]): readonly Sample[] {
  let sum = 0
  return buckets.map((count, index): Sample => {
    sum += count
    const bound = BOUNDS[index]
    return ['_bucket', { le: bound === undefined ? '+Inf' : String(bound) }, sum]
  })
}

type State = Verifier['state'][number]

const STATES: readonly (readonly [
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  read: (state: State) => number | undefined,
])[] = [
  ['kept_tokens', 'gauge', 'Tokens that are kept.', ({ keptTokens }) => keptTokens],
  ['keys', 'gauge', 'Keys that are believed.', ({ keys }) => keys],
  ['keys_age_seconds', 'gauge', 'Since keys were last fetched.', ({ ageSeconds }) => ageSeconds],
  ['key_fetches_total', 'counter', 'Attempts to fetch keys.', ({ fetches }) => fetches],
  [
    'key_fetch_failures_total',
    'counter',
    'Those that failed.',
    ({ failedFetches }) => failedFetches,
  ],
  [
    'revocations_fresh',
    'gauge',
    'Whether all that is revoked is known.',
    ({ revocations }) => revocations && Number(revocations.isFresh),
  ],
  [
    'revocations_age_seconds',
    'gauge',
    'Since the feed was last heard.',
    ({ revocations }) => revocations?.ageSeconds,
  ],
  ['revocations', 'gauge', 'Those that are kept.', ({ revocations }) => revocations?.entries],
  [
    'revocations_place',
    'gauge',
    'Up to which place of the log.',
    ({ revocations }) => revocations?.applied,
  ],
  [
    'revocation_faults_total',
    'counter',
    'What failed in following them.',
    ({ revocations }) => revocations?.faults,
  ],
]

function writeStates({ state }: Verifier): readonly string[] {
  return STATES.flatMap(([name, type, help, read]) => {
    const samples = state.flatMap((each): readonly Sample[] => {
      const value = read(each)
      return value === undefined ? [] : [['', { issuer: each.issuer }, value]]
    })
    return writeFamily(name, type, help, samples)
  })
}

function writeFamily(
  name: string,
  type: 'counter' | 'gauge' | 'histogram',
  help: string,
  samples: readonly Sample[],
): readonly string[] {
  const full = `${PREFIX}_${name}`
  return [
    `# HELP ${full} ${help}`,
    `# TYPE ${full} ${type}`,
    ...samples.map(([suffix, labels, value]) => `${full}${suffix}${writeLabels(labels)} ${value}`),
  ]
}

function writeLabels(labels: Labels): string {
  const written = Object.entries(labels).map(([name, value]) => `${name}="${escape(value)}"`)
  return written.length === 0 ? '' : `{${written.join(',')}}`
}

function escape(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

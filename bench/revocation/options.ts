import { parseArgs } from 'node:util'
import { readArguments } from '../arguments.ts'
import type { ColdStartOptions } from './cold-start.ts'
import type { CutOptions } from './cuts.ts'
import type { OutageOptions } from './outage.ts'
import type { PropagationOptions } from './propagation.ts'

export type Part = (typeof PARTS)[number]

const PARTS = ['propagation', 'cuts', 'outage', 'view', 'cold-start'] as const

export interface Options {
  readonly parts: readonly Part[]
  readonly propagation: PropagationOptions
  readonly cuts: CutOptions
  readonly outage: OutageOptions
  readonly view: { readonly entries: number; readonly rounds: number }
  readonly coldStart: ColdStartOptions
  /** Whether it is as large as it can be, so that the result may be published. */
  readonly isWhole: boolean
}

const PER_SECOND = 2000

const WHOLE: Omit<Options, 'parts' | 'isWhole'> = {
  propagation: { revocations: 1000, perSecond: PER_SECOND },
  cuts: { cuts: 3, seconds: 5, perSecond: PER_SECOND },
  outage: { staleAfterSeconds: 15, youngSeconds: 60, perSecond: PER_SECOND },
  view: { entries: 1_000_000, rounds: 21 },
  coldStart: { entries: 1_000_000, starts: 3, perSecond: 300 },
}

const SHORT: typeof WHOLE = {
  propagation: { revocations: 100, perSecond: PER_SECOND },
  cuts: { cuts: 1, seconds: 5, perSecond: PER_SECOND },
  outage: { staleAfterSeconds: 10, youngSeconds: 15, perSecond: PER_SECOND },
  view: { entries: 100_000, rounds: 5 },
  coldStart: { entries: 300_000, starts: 1, perSecond: 300 },
}

const USAGE = `npm run bench -- revocation [--short] [--only PART,PART]
  --short  two minutes in place of six; nothing is published
  --only   some of ${PARTS.join(', ')}; nothing is published`

/** Or what is wrong with them. */
export function readOptions(args: readonly string[]): Options | string {
  return readArguments(args, parseOptions, USAGE)
}

function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: { short: { type: 'boolean', default: false }, only: { type: 'string' } },
  })
  const wanted = values.only?.split(',') ?? PARTS
  const unknown = wanted.find((name) => !PARTS.some((part) => part === name))
  if (unknown !== undefined) {
    throw new TypeError(`--only: no part ${unknown}; there are ${PARTS.join(', ')}`)
  }
  return {
    ...(values.short ? SHORT : WHOLE),
    parts: PARTS.filter((part) => wanted.includes(part)),
    isWhole: !values.short && values.only === undefined,
  }
}

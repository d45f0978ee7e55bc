import { parseArgs } from 'node:util'
import { readArguments } from '../arguments.ts'
import { CONTENDERS, type Contender } from './contenders.ts'

export interface Options {
  /** How often each contender has its turn under each load. */
  readonly rounds: number
  /** How long a turn takes. */
  readonly seconds: number
  /** Minutes of random bad tokens; 0 leaves that part out. */
  readonly soakMinutes: number
  readonly contenders: readonly Contender[]
  /** Whether nobody is left out, so that the result may be published. */
  readonly isWhole: boolean
}

const USAGE =
  'npm run bench -- resource-server [--rounds 30] [--seconds 0.25] [--soak MINUTES] [--only NAME,NAME]'

/** Or what is wrong with them. Bare Koa always takes part, since all are compared with it. */
export function readOptions(args: readonly string[]): Options | string {
  return readArguments(args, parseOptions, USAGE)
}

function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '30' },
      seconds: { type: 'string', default: '0.25' },
      soak: { type: 'string' },
      only: { type: 'string' },
    },
  })
  const wanted = values.only?.split(',')
  const unknown = wanted?.find((name) => !CONTENDERS.some((contender) => contender.name === name))
  if (unknown !== undefined) {
    const names = CONTENDERS.map(({ name }) => name).join(', ')
    throw new TypeError(`--only: no contender ${unknown}; there are ${names}`)
  }
  return {
    rounds: readCount('--rounds', values.rounds),
    seconds: readSeconds(values.seconds),
    soakMinutes: values.soak === undefined ? 0 : readCount('--soak', values.soak),
    contenders: CONTENDERS.filter(
      ({ name }, place) => place === 0 || (wanted?.includes(name) ?? true),
    ),
    isWhole: wanted === undefined,
  }
}

function readCount(option: string, text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) {
    throw new TypeError(`${option}: expected a whole number from 1 to 9999, not ${text}`)
  }
  return Number(text)
}

function readSeconds(text: string): number {
  const seconds = Number(text)
  if (!(seconds >= 0.1 && seconds <= 30)) {
    throw new TypeError(`--seconds: expected 0.1 to 30, not ${text}`)
  }
  return seconds
}

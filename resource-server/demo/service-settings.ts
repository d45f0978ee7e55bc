import { parseArgs } from 'node:util'
import { readEnvironment, type Environment } from './environment.ts'
import type { ServeSettings } from './serve.ts'
import { describeServeOptions, readServeSettings, SERVE_OPTIONS } from './serve-settings.ts'
import {
  readTokenSettings,
  TOKEN_OPTIONS,
  TOKEN_USAGE,
  type TokenSettings,
} from './token-settings.ts'

/** What a service behind the gateway is started by. */
export interface ServiceOptions {
  readonly file: string
  readonly defaultPort: number
}

export function describeService({ file, defaultPort }: ServiceOptions): string {
  return `Usage: node ${file} [--issuer URL --audience URI] [options]

${TOKEN_USAGE}
${describeServeOptions(defaultPort)}`
}

/** Answers `undefined` where help was asked for. Throws a `TypeError` for wrong usage. */
export function readServiceSettings(
  { defaultPort }: ServiceOptions,
  argv: readonly string[],
  environment: Environment = readEnvironment(),
): (TokenSettings & ServeSettings) | undefined {
  const options = { ...SERVE_OPTIONS, ...TOKEN_OPTIONS }
  const { values } = parseArgs({ args: [...argv], options })
  if (values.help) return undefined
  const settings = readServeSettings(values, defaultPort)
  return { ...settings, ...readTokenSettings(values, environment) }
}

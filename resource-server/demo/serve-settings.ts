import type { ServeSettings } from './serve.ts'

export const SERVE_OPTIONS = {
  port: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

export interface ServeValues {
  readonly port?: string | undefined
  readonly json: boolean
}

export function describeServeOptions(defaultPort: number): string {
  return `  --port N                   the port on 127.0.0.1 (default ${defaultPort}; 0 takes a free one)
  --json                     answer with one line of JSON when ready
  --help                     show this
`
}

/** Throws a `TypeError` that names the option. */
export function readServeSettings({ port, json }: ServeValues, defaultPort: number): ServeSettings {
  return { port: readWhole('--port', port, defaultPort, 65_535), json }
}

/** A whole number from 0 to `max`. Throws a `TypeError` that names the option. */
export function readWhole(
  option: string,
  text: string | undefined,
  defaultValue: number,
  max: number,
): number {
  if (text === undefined) return defaultValue
  if (/^\d{1,9}$/.test(text) && Number(text) <= max) return Number(text)
  throw new TypeError(`${option}: expected 0 to ${max}, not ${JSON.stringify(text)}`)
}

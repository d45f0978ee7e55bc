import { execFileSync } from 'node:child_process'
import { globSync } from 'node:fs'

export type EngineName = 'postgres' | 'redis' | 'nginx'

export interface FoundEngine {
  readonly command: string
  readonly version: string
}

interface Wanted {
  /** Where it may be, best first; a name alone is looked for on the path. */
  readonly places: () => readonly string[]
  readonly option: string
  readonly version: RegExp
  readonly oldest: number
  readonly package: string
}

const WANTED: Readonly<Record<EngineName, Wanted>> = {
  postgres: {
    places: () => [
      ...globSync('/usr/lib/postgresql/*/bin/postgres').toSorted().toReversed(),
      'postgres',
    ],
    option: '--version',
    version: /\(PostgreSQL\) (\d+[.\d]*)/,
    oldest: 15,
    package: 'postgresql',
  },
  redis: {
    places: () => ['redis-server'],
    option: '--version',
    version: /v=(\d+[.\d]*)/,
    oldest: 7,
    package: 'redis-server',
  },
  nginx: {
    places: () => ['nginx', '/usr/sbin/nginx'],
    option: '-v',
    version: /nginx\/(\d+[.\d]*)/,
    oldest: 1,
    package: 'nginx-light',
  },
}

/** The engine of this machine, or in words why there is none. */
export function findEngine(name: EngineName): FoundEngine | string {
  const wanted = WANTED[name]
  for (const place of wanted.places()) {
    const command = run('command -v "$0"', place)?.trim()
    if (command === undefined) continue
    // nginx answers on standard error.
    const version = wanted.version.exec(run(`"$0" ${wanted.option} 2>&1`, command) ?? '')?.[1]
    if (version === undefined) continue
    if (Number.parseInt(version, 10) >= wanted.oldest) return { command, version }
    return `${name} ${version} is older than ${wanted.oldest}`
  }
  return `${name} is not installed (Debian: ${wanted.package})`
}

function run(script: string, argument: string): string | undefined {
  try {
    return execFileSync('/bin/sh', ['-c', script, argument], { encoding: 'utf8' })
  } catch {
    return undefined
  }
}

/** The command of an engine that has to be there. */
export function requireEngine(name: EngineName): string {
  const found = findEngine(name)
  if (typeof found === 'string') throw new Error(found)
  return found.command
}

import { spawnSync } from 'node:child_process'
import { existsSync, globSync } from 'node:fs'
import path from 'node:path'
import { readEnvironment } from '../../../auth-server/config/load.ts'

export type EngineName = 'postgres' | 'redis' | 'nginx'

export interface FoundEngine {
  /** Absolute. */
  readonly command: string
  readonly version: string
}

interface Wanted {
  readonly program: string
  /** Where Debian puts it if not on the path. */
  readonly pattern: string
  readonly option: string
  readonly version: RegExp
  readonly oldest: number
  readonly package: string
}

const WANTED: Readonly<Record<EngineName, Wanted>> = {
  postgres: {
    program: 'postgres',
    pattern: '/usr/lib/postgresql/*/bin/postgres',
    option: '--version',
    version: /\(PostgreSQL\) (\d+[.\d]*)/,
    oldest: 15,
    package: 'postgresql',
  },
  redis: {
    program: 'redis-server',
    pattern: '/usr/bin/redis-server',
    option: '--version',
    version: /v=(\d+[.\d]*)/,
    oldest: 7,
    package: 'redis-server',
  },
  nginx: {
    program: 'nginx',
    pattern: '/usr/sbin/nginx',
    option: '-v',
    version: /nginx\/(\d+[.\d]*)/,
    oldest: 1,
    package: 'nginx-light',
  },
}

/** The newest one that this machine has, or in words why there is none. */
export function findEngine(name: EngineName): FoundEngine | string {
  const wanted = WANTED[name]
  const [newest] = listPlaces(wanted)
    .flatMap((command) => readVersion(command, wanted))
    .toSorted((a, b) => Number.parseFloat(b.version) - Number.parseFloat(a.version))
  if (!newest) return `${name} is not installed (Debian: ${wanted.package})`
  if (Number.parseInt(newest.version, 10) >= wanted.oldest) return newest
  return `${name} ${newest.version} is older than ${wanted.oldest}`
}

/** The command of an engine that has to be there. */
export function requireEngine(name: EngineName): string {
  const found = findEngine(name)
  if (typeof found === 'string') throw new Error(found)
  return found.command
}

function listPlaces({ program, pattern }: Wanted): string[] {
  const folders = (readEnvironment()['PATH'] ?? '').split(path.delimiter)
  const onPath = folders.map((folder) => path.resolve(folder, program)).filter(existsSync)
  return [...new Set([...globSync(pattern), ...onPath])]
}

function readVersion(command: string, { option, version }: Wanted): FoundEngine[] {
  const { stdout, stderr } = spawnSync(command, [option], { encoding: 'utf8' })
  // nginx answers on standard error.
  const found = version.exec(`${stdout}${stderr}`)?.[1]
  return found === undefined ? [] : [{ command, version: found }]
}

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

const BENCH = path.join(import.meta.dirname, '..')

interface Manifest {
  readonly version?: string
  readonly dependencies?: Readonly<Record<string, string>>
}

/** Installs what `bench/package.json` pins, where it is missing or of another version. */
export function installDependencies(): void {
  const pinned = readManifest(BENCH).dependencies ?? {}
  const missing = Object.keys(pinned).filter((name) => readVersion(name) !== pinned[name])
  if (missing.length === 0) return
  console.log(`Installing bench/package.json: ${missing.join(', ')}`)
  execFileSync('npm', ['ci', '--prefix', BENCH, '--ignore-scripts'], { stdio: 'inherit' })
}

/** The version that the benchmark has of a package, if it has it. */
export function readVersion(name: string): string | undefined {
  const folder = path.join(BENCH, 'node_modules', name)
  return existsSync(path.join(folder, 'package.json')) ? readManifest(folder).version : undefined
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as Manifest
}

/**
 * Packs a package as it is published: JavaScript and declarations, because Node strips no types inside
 * `node_modules`, and a manifest that points at them. Prints the tarball's path.
 *
 *     node tools/pack.ts resource-server [--to FOLDER]
 *
 * Everything is made in a temporary folder; without `--to` the tarball is left in one of its own.
 */
import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs, promisify } from 'node:util'

interface Packable {
  /** The Node versions on which the emitted JavaScript runs; the sources need the project's own. */
  readonly node: string
  /** The ECMAScript version that the oldest of them has: newer syntax is lowered. */
  readonly target: string
  /** What the oldest of them has built in: use of anything newer is a type error. */
  readonly lib: readonly string[]
}

/** What an `exports` or a `bin` names: a source in the repository, what it becomes in the tarball. */
interface Manifest {
  readonly name: string
  readonly version: string
  readonly exports: Readonly<Record<string, string>>
  readonly [member: string]: unknown
}

const ROOT = path.join(import.meta.dirname, '..')
const EMITTED = 'dist'
const PACKABLE: Readonly<Record<string, Packable>> = {
  'resource-server': {
    node: '>=20.19',
    target: 'es2023',
    // isWellFormed, Symbol.asyncDispose: ahead of their edition.
    lib: ['es2023', 'es2024.string', 'esnext.disposable'],
  },
}
/** What is published as it is. Scripts and development dependencies mean nothing to who installs it. */
const KEPT = [
  'name',
  'version',
  'description',
  'keywords',
  'license',
  'type',
  'sideEffects',
  'dependencies',
  'peerDependencies',
  'peerDependenciesMeta',
]
const FROM_ROOT = ['CHANGELOG.md', 'LICENSE']

const run = promisify(execFile)

/** Packs the package of this folder of the repository, and answers the tarball's path. */
export async function packPackage(folder: string, to: string): Promise<string> {
  const packable = PACKABLE[folder]
  if (packable === undefined) {
    throw new TypeError(`expected one of ${Object.keys(PACKABLE).join(', ')}, not ${folder}`)
  }
  const source = path.join(ROOT, folder)
  const manifest = JSON.parse(await readFile(path.join(source, 'package.json'), 'utf8')) as Manifest
  await using staging = await mkdtempDisposable(path.join(tmpdir(), 'portreeve-pack-'))
  const emitted = path.join(staging.path, 'package')
  await emit(source, path.join(emitted, EMITTED), Object.values(manifest.exports), packable)
  const published = JSON.stringify(describePublished(manifest, packable.node), undefined, 2)
  await writeFile(path.join(emitted, 'package.json'), `${published}\n`)
  await copyFile(path.join(source, 'README.md'), path.join(emitted, 'README.md'))
  for (const file of FROM_ROOT) await copyFile(path.join(ROOT, file), path.join(emitted, file))
  return await packFolder(emitted, path.resolve(to))
}

/** The manifest of what is published. Pure. */
function describePublished(manifest: Manifest, node: string): Readonly<Record<string, unknown>> {
  const kept = Object.entries(manifest).filter(([member]) => KEPT.includes(member))
  const exported = Object.entries(manifest.exports).map(([subpath, file]) => {
    const stem = `./${path.posix.join(EMITTED, file.replace(/\.ts$/, ''))}`
    return [subpath, { types: `${stem}.d.ts`, default: `${stem}.js` }] as const
  })
  return {
    ...Object.fromEntries(kept),
    exports: Object.fromEntries(exported),
    files: [EMITTED, 'CHANGELOG.md'],
    engines: { node },
  }
}

/** Emits these sources and what they import: no test and no demonstration is among it. */
async function emit(
  source: string,
  outDir: string,
  entries: readonly string[],
  { target, lib }: Packable,
): Promise<void> {
  await using folder = await mkdtempDisposable(path.join(tmpdir(), 'portreeve-tsc-'))
  const config = path.join(folder.path, 'tsconfig.json')
  const compilerOptions = {
    noEmit: false,
    rootDir: source,
    outDir,
    target,
    lib,
    typeRoots: [path.join(ROOT, 'node_modules/@types')],
  }
  const files = entries.map((entry) => path.join(source, entry))
  const extended = {
    extends: path.join(ROOT, 'tsconfig.json'),
    compilerOptions,
    files,
    include: [],
  }
  await writeFile(config, JSON.stringify(extended))
  await runOrExplain(process.execPath, [
    path.join(ROOT, 'node_modules/typescript/bin/tsc'),
    '-p',
    config,
  ])
}

async function packFolder(folder: string, to: string): Promise<string> {
  await mkdir(to, { recursive: true })
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', to]
  const printed = await runOrExplain('npm', args, folder)
  const [packed] = JSON.parse(printed) as readonly { readonly filename: string }[]
  if (packed === undefined) throw new Error(`npm pack made nothing: ${printed}`)
  return path.join(to, packed.filename)
}

/** tsc says on standard output what is wrong, npm on standard error. */
async function runOrExplain(command: string, args: readonly string[], cwd = ROOT): Promise<string> {
  try {
    return (await run(command, args, { cwd })).stdout
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new Error(`${command} failed:\n${stdout}${stderr}`, { cause: error })
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { to: { type: 'string' } },
    allowPositionals: true,
  })
  const [folder, ...others] = positionals
  if (folder === undefined || others.length > 0) {
    throw new TypeError(
      `usage: node tools/pack.ts ${Object.keys(PACKABLE).join('|')} [--to FOLDER]`,
    )
  }
  const to = values.to ?? (await mkdtemp(path.join(tmpdir(), 'portreeve-')))
  console.log(await packPackage(folder, to))
}

if (import.meta.main) {
  try {
    await main()
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}

import { execFile, spawnSync } from 'node:child_process'
import { cp, mkdir, readdir, readFile, realpath, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { publint } from 'publint'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readEnvironment } from '../../auth-server/config/load.ts'
import { systemClock } from '../../resource-server/clock.ts'
import { listImports } from '../../tools/check-imports.ts'
import { packPackage } from '../../tools/pack.ts'
import { makeFolder } from '../support/folder.ts'
import { API, createKey, signToken, startIssuer } from '../support/issuer.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const NAME = '@portreeve/resource-server'
const PATIENCE = 120_000

const run = promisify(execFile)
const folder = makeFolder()
/** Where the tarball has been installed: an empty project before. */
const project = folder.file('project')
let tarball = ''

beforeAll(async () => {
  tarball = await packPackage('resource-server', folder.file('packed'))
  await installInto(project, tarball)
}, PATIENCE)

afterAll(() => folder[Symbol.dispose]())

/**
 * Nothing but the tarball is asked for. Its dependency comes from our own installation, and the cache
 * is empty, so that no registry is needed and nothing is found by luck.
 */
async function installInto(empty: string, packed: string): Promise<void> {
  await mkdir(empty)
  const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', empty]
  const { stdout } = await run('npm', [...pack, path.join(ROOT, 'node_modules/jose')])
  const [jose] = JSON.parse(stdout) as readonly { readonly filename: string }[]
  const manifest = {
    private: true,
    dependencies: { [NAME]: `file:${packed}` },
    overrides: { jose: `file:${path.join(empty, jose?.filename ?? '')}` },
  }
  await writeFile(path.join(empty, 'package.json'), JSON.stringify(manifest))
  const quiet = ['--offline', '--no-audit', '--no-fund', '--ignore-scripts']
  await run('npm', ['install', ...quiet, '--cache', folder.file('cache')], { cwd: empty })
}

async function readJson<T>(file: string): Promise<T> {
  return JSON.parse(await readFile(file, 'utf8')) as T
}

describe('the tarball', () => {
  test('holds JavaScript, declarations and what a reader needs, and no program of ours', async () => {
    const installed = path.join(project, 'node_modules', NAME)
    const files = await readdir(installed, { recursive: true, withFileTypes: true })
    const names = files
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(installed, path.join(entry.parentPath, entry.name)))
    const emitted = names.filter((name) => name.startsWith(`dist${path.sep}`))
    expect(names.filter((name) => !emitted.includes(name)).toSorted()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'package.json',
    ])
    expect(emitted.length).toBeGreaterThan(20)
    expect(emitted.filter((name) => !/\.(d\.ts|js)$/.test(name))).toEqual([])
    expect(emitted.filter((name) => /test|demo/.test(name))).toEqual([])
  })

  test('has a manifest that says what it needs', async () => {
    const file = path.join(project, 'node_modules', NAME, 'package.json')
    const manifest = await readJson<Record<string, unknown>>(file)
    expect(manifest).toMatchObject({
      name: NAME,
      license: 'MIT',
      type: 'module',
      sideEffects: false,
      exports: { '.': { types: './dist/index.d.ts', default: './dist/index.js' } },
      dependencies: { jose: expect.stringMatching(/^\^6/) },
      peerDependencies: { koa: expect.stringMatching(/^\^3/) },
      peerDependenciesMeta: { koa: { optional: true } },
      engines: { node: '>=20.19' },
    })
    expect(Object.keys(manifest)).not.toContain('devDependencies')
    expect(Object.keys(manifest)).not.toContain('scripts')
  })

  test('imports what its manifest declares, and Koa as a type alone', async () => {
    const dist = path.join(project, 'node_modules', NAME, 'dist')
    const packages = async (ending: string) => {
      const files = (await readdir(dist)).filter((file) => file.endsWith(ending))
      const texts = await Promise.all(files.map((file) => readFile(path.join(dist, file), 'utf8')))
      const imports = texts.flatMap((text) => listImports('', text))
      const specifiers = imports.map(({ specifier }) => specifier)
      return new Set(specifiers.filter((specifier) => !/^(\.|node:)/.test(specifier)))
    }
    expect([...(await packages('.js'))]).toEqual(['jose'])
    expect([...(await packages('.d.ts'))]).toEqual(['koa'])
  })

  test('is in order for publint', async () => {
    const { buffer } = new Uint8Array(await readFile(tarball))
    const { messages } = await publint({ pack: { tarball: buffer }, strict: true })
    expect(messages).toEqual([])
  })

  test('has types that are right for are-the-types-wrong, as a package of ES modules', async () => {
    const analysis = await checkPackage(createPackageFromTarballData(await readFile(tarball)))
    if (analysis.types === false) throw new Error('it has no types')
    expect(analysis.types).toEqual({ kind: 'included' })
    // What resolves without `exports`, and what cannot `require` an ES module, is older than our Node.
    expect(analysis.problems).toEqual([
      { kind: 'NoResolution', entrypoint: '.', resolutionKind: 'node10' },
      { kind: 'CJSResolvesToESM', entrypoint: '.', resolutionKind: 'node16-cjs' },
    ])
  })

  test('is the same, byte for byte, when it is packed again', async () => {
    const again = await packPackage('resource-server', folder.file('again'))
    expect((await readFile(again)).equals(await readFile(tarball))).toBe(true)
  })
})

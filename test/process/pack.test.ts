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
import { startProgram } from '../support/program.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const NAME = '@portreeve/resource-server'
const PATIENCE = 120_000
/** A program that runs npm has to find it. */
const WITH_NPM = { environment: { PATH: readEnvironment()['PATH'] ?? '' } }

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

  test('is the same, byte for byte, by the command, which leaves nothing else behind', async () => {
    const source = path.join(ROOT, 'resource-server')
    const before = await readdir(source)
    const to = folder.file('again')
    await using program = startProgram('tools/pack.ts', ['resource-server', '--to', to], WITH_NPM)
    const { code, stdout, stderr } = await program.ended
    expect([code, stderr]).toEqual([0, ''])
    expect(path.dirname(stdout.trim())).toBe(to)
    expect((await readFile(stdout.trim())).equals(await readFile(tarball))).toBe(true)
    expect(await readdir(source)).toEqual(before)
    expect(await readdir(to)).toHaveLength(1)
  })

  test.each([
    ['nothing', [], 'usage: node tools/pack.ts resource-server [--to FOLDER]'],
    ['what is not published', ['client-demo'], 'expected one of resource-server, not client-demo'],
    [
      'two',
      ['resource-server', 'bench'],
      'usage: node tools/pack.ts resource-server [--to FOLDER]',
    ],
  ])('is not made of %s', async (_kind, args, message) => {
    await using program = startProgram('tools/pack.ts', args)
    expect(await program.ended).toMatchObject({ code: 1, stdout: '', stderr: `${message}\n` })
  })
})

/** Asks the issuer in its argument, and prints what it made of the tokens after it. */
const CONSUMER = `
const [issuer, audience, good, foreign] = process.argv.slice(2)
const verifier = createVerifier({ issuer, audience })
const guard = createGuard(verifier, { scope: 'notes:delete' })
const rawHeaders = ['Authorization', 'Bearer ' + good]
const facts = { method: 'GET', url: '/', rawHeaders, headers: {}, socket: {} }
verifier.verify(good).then(async (accepted) => {
  const refused = await verifier.verify(foreign)
  const { answer } = await guard.decide(facts)
  console.log(JSON.stringify({
    subject: accepted.value?.subject,
    reason: refused.reason?.kind,
    status: answer?.status,
    protect: typeof createProtect(verifier)(),
  }))
  await verifier[Symbol.asyncDispose]()
})
`
const NAMES = '{ createGuard, createProtect, createVerifier }'
const MODULE = `import ${NAMES} from '${NAME}'\n${CONSUMER}`
const COMMON = `const ${NAMES} = require('${NAME}')\n${CONSUMER}`

interface FoundNode {
  readonly command: string
  readonly version: string
}

/** Our own Node, and the machine's where that is another one. */
function listNodes(): FoundNode[] {
  const folders = (readEnvironment()['PATH'] ?? '').split(path.delimiter)
  const foreign = folders.filter((entry) => !entry.includes('node_modules'))
  const commands = [process.execPath, ...foreign.map((entry) => path.resolve(entry, 'node'))]
  const found = commands.flatMap((command) => {
    const { stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' })
    const version = /^v(\d+\.\d+\.\d+)/.exec(stdout ?? '')?.[1]
    return version === undefined ? [] : [{ command, version }]
  })
  return [...new Map(found.toReversed().map((node) => [node.version, node])).values()]
}

/** Whether it is what the manifest asks for. */
function isNewEnough({ version }: FoundNode): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > 20 || (major === 20 && minor >= 19)
}

describe('an empty project', () => {
  test('gets the package and jose, and no more', async () => {
    const lock = path.join(project, 'node_modules/.package-lock.json')
    const { packages } = await readJson<{ packages: Record<string, unknown> }>(lock)
    expect(Object.keys(packages).toSorted()).toEqual([`node_modules/${NAME}`, 'node_modules/jose'])
    const folders = await readdir(path.join(project, 'node_modules'))
    expect(folders.filter((name) => !name.startsWith('.')).toSorted()).toEqual([
      '@portreeve',
      'jose',
    ])
  })

  describe.each(listNodes())('under Node $version', (node) => {
    test.for([
      { kind: 'a module', file: 'consumer.mjs', text: MODULE },
      { kind: 'a script that requires it', file: 'consumer.cjs', text: COMMON },
    ])('checks a token from $kind', async ({ file, text }, { skip }) => {
      skip(!isNewEnough(node), `Node ${node.version} is older than the package asks for`)
      await writeFile(path.join(project, file), text)
      const key = await createKey('ES256')
      await using issuer = await startIssuer(systemClock, key)
      const good = signToken(key, issuer.claims())
      const foreign = signToken(key, issuer.claims({ aud: 'https://other.example/' }))
      const args = [file, issuer.url, API, good, foreign]
      const { stdout } = await run(node.command, args, { cwd: project, timeout: 30_000 })
      expect(JSON.parse(stdout)).toEqual({
        subject: 'acc_alice',
        reason: 'wrong_audience',
        status: 403,
        protect: 'function',
      })
    })
  })
})

/** An application with types of everything. */
const APPLICATION = `
import { createProtect, createVerifier, type ClaimsSchema } from '${NAME}'
import Koa from 'koa'

declare const schema: ClaimsSchema<{ readonly tenant: string }>
const verifier = createVerifier({ issuer: 'https://login.example', audience: 'https://a.example/' })
const protect = createProtect(verifier, { onRefusal: (refusal, ctx) => ctx.set('X', refusal.kind) })
new Koa().use(protect({ scope: 'notes:read', claims: schema })).use((ctx) => {
  const tenant: string = ctx.state.auth.claims.tenant
  // @ts-expect-error: not in the schema.
  const other: string = ctx.state.auth.claims.other
  ctx.body = { tenant, other }
})
// @ts-expect-error: misspelt.
protect({ scopes: 'notes:read' })
`

/** One that has never heard of Koa. */
const LIBRARY = `
import { createGuard, createVerifier } from '${NAME}'
import { createServer } from 'node:http'

const verifier = createVerifier({ issuer: 'https://login.example', audience: 'https://a.example/' })
const guard = createGuard(verifier, { scope: 'notes:read' })
createServer(async (request, response) => {
  const decision = await guard.decide(request, undefined)
  if (decision.ok) response.end(decision.value.subject satisfies string)
  else response.writeHead(decision.answer.status, decision.answer.headers).end(decision.reason.kind)
})
// @ts-expect-error: an issuer without an audience.
createVerifier({ issuer: 'https://login.example' })
`

const RESOLUTIONS = [
  { module: 'nodenext', moduleResolution: 'nodenext' },
  { module: 'esnext', moduleResolution: 'bundler' },
]

/** What tsc says of this source in a project with the package and these packages of types. */
async function compile(
  source: string,
  types: readonly string[],
  compilerOptions: Readonly<Record<string, unknown>>,
): Promise<string> {
  using other = makeFolder()
  const modules = other.file('node_modules')
  await cp(path.join(project, 'node_modules'), modules, { recursive: true })
  await mkdir(path.join(modules, '@types'))
  for (const name of types) {
    const target = await realpath(path.join(ROOT, 'node_modules/@types', name))
    await symlink(target, path.join(modules, '@types', name))
  }
  await writeFile(other.file('package.json'), JSON.stringify({ type: 'module' }))
  await writeFile(other.file('consumer.ts'), source)
  const options = { target: 'es2023', strict: true, noEmit: true, types: ['node'] }
  const config = { compilerOptions: { ...options, ...compilerOptions }, files: ['consumer.ts'] }
  await writeFile(other.file('tsconfig.json'), JSON.stringify(config))
  const tsc = path.join(ROOT, 'node_modules/.bin/tsc')
  const { stdout } = await run(tsc, ['-p', other.path]).catch((error: { stdout: string }) => error)
  return stdout
}

describe.each(RESOLUTIONS)('a project in TypeScript, resolving as $moduleResolution', (options) => {
  test('has typed claims behind Koa, and finds nothing wrong in our declarations', async () => {
    const strictest = { ...options, exactOptionalPropertyTypes: true, skipLibCheck: false }
    expect(await compile(APPLICATION, ['node', 'koa'], strictest)).toBe('')
  })

  test('needs nothing of Koa where it does not use it', async () => {
    expect(await compile(LIBRARY, ['node'], { ...options, skipLibCheck: true })).toBe('')
  })

  test('is told what is wrong', async () => {
    const wrong = APPLICATION.replaceAll(/^ *\/\/ @ts-expect-error.*$/gm, '')
    const told = await compile(wrong, ['node', 'koa'], options)
    expect(told.match(/error TS\d+/g)).toEqual(['error TS2339', 'error TS2769'])
    expect(told).toContain("Did you mean to write 'scope'?")
  })
})

import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeFolder } from '../support/folder.ts'

const ROOT = path.join(import.meta.dirname, '..', '..')

/** A fault, the file it is planted in, and what the check has to say about it. */
interface Fault {
  readonly name: string
  readonly file: string
  readonly text: string
  readonly says: RegExp
}

const FAULTS: Readonly<Record<string, readonly Fault[]>> = {
  tsc: [
    {
      name: 'a wrong type',
      file: 'auth-server/scopes/planted.ts',
      text: "export const planted: number = 'text'\n",
      says: /planted\.ts.*error TS2322/,
    },
    {
      name: 'syntax that Node cannot strip',
      file: 'auth-server/scopes/planted-enum.ts',
      text: 'export enum Planted {\n  One,\n}\n',
      says: /planted-enum\.ts.*error TS1294/,
    },
    {
      name: 'a member that may be missing',
      file: 'auth-server/scopes/planted-index.ts',
      text: 'export function first(list: string[]): string {\n  return list[0]\n}\n',
      says: /planted-index\.ts.*error TS2322/,
    },
  ],
  oxlint: [
    {
      name: 'a promise that nobody waits for',
      file: 'auth-server/scopes/planted-promise.ts',
      text: 'export function run(work: () => Promise<void>): void {\n  work()\n}\n',
      says: /no-floating-promises/,
    },
    {
      name: 'the time',
      file: 'auth-server/scopes/planted-time.ts',
      text: 'export const now: number = Date.now()\n',
      says: /Only clock\.ts reads the time/,
    },
    {
      name: 'the environment',
      file: 'auth-server/scopes/planted-environment.ts',
      text: "export const home: string | undefined = process.env['HOME']\n",
      says: /Only config\/load\.ts reads the environment/,
    },
    {
      name: 'the environment by import',
      file: 'auth-server/scopes/planted-process.ts',
      text: "import { env } from 'node:process'\nexport const home: string | undefined = env['HOME']\n",
      says: /Use the global/,
    },
    {
      name: 'a guessable number',
      file: 'auth-server/scopes/planted-random.ts',
      text: 'export const guess: number = Math.random()\n',
      says: /Guessable/,
    },
    {
      name: 'a way round the globals',
      file: 'auth-server/scopes/planted-global.ts',
      text: 'export const now: number = globalThis.Date.now()\n',
      says: /Name the global itself/,
    },
    {
      name: 'a default export',
      file: 'auth-server/scopes/planted-default.ts',
      text: 'const planted = 1\nexport default planted\n',
      says: /no-default-export/,
    },
    {
      name: 'a directive that silences nothing',
      file: 'auth-server/scopes/planted-directive.ts',
      text: '// oxlint-disable-next-line no-debugger\nexport const planted: number = 1\n',
      says: /Unused .*directive/i,
    },
  ],
  oxfmt: [
    {
      name: 'another layout',
      file: 'auth-server/scopes/planted-layout.ts',
      text: 'export const planted   = "text";\n',
      says: /planted-layout\.ts/,
    },
  ],
  knip: [
    {
      name: 'a file that nobody imports',
      file: 'auth-server/scopes/planted-file.ts',
      text: 'export const planted: number = 1\n',
      says: /Unused files[\s\S]*planted-file\.ts/,
    },
    {
      name: 'an export that nobody uses',
      file: 'auth-server/errors.ts',
      text: '\nexport function planted(): void {}\n',
      says: /Unused exports[\s\S]*planted/,
    },
    {
      name: 'a package that another program declares',
      file: 'auth-server/clock.ts',
      text: "\nimport 'node-html-parser'\n",
      says: /Unlisted dependencies[\s\S]*node-html-parser/,
    },
  ],
  'check-imports': [
    {
      name: 'a domain folder that knows the storage',
      file: 'auth-server/scopes/catalogue.ts',
      text: "\nimport '../storage/sqlite.ts'\n",
      says: /scopes\/catalogue\.ts imports '\.\.\/storage\/sqlite\.ts': only level 5/,
    },
    {
      name: 'the engine outside of its folder',
      file: 'auth-server/http/app.ts',
      text: "\nimport 'oidc-provider'\n",
      says: /only provider\/ knows the engine/,
    },
    {
      name: 'one program that imports another',
      file: 'resource-server/index.ts',
      text: "\nimport '../auth-server/errors.ts'\n",
      says: /the programs meet on the wire/,
    },
  ],
}

/** The commands of `npm run check`, by the tool that each of them runs. */
function readCommands(): ReadonlyMap<string, string> {
  const manifest = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
    scripts: { check: string }
  }
  return new Map(
    manifest.scripts.check.split(' && ').map((command) => {
      const tool = Object.keys(FAULTS).find((name) => command.includes(name))
      if (tool === undefined) throw new Error(`no fault is planted for: ${command}`)
      return [tool, command]
    }),
  )
}

/** Everything that is, or would be, committed. */
function copyRepository(to: string): void {
  const listed = execFileSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    {
      cwd: ROOT,
      encoding: 'utf8',
    },
  )
  for (const file of listed.split('\0').filter(Boolean)) {
    mkdirSync(path.dirname(path.join(to, file)), { recursive: true })
    cpSync(path.join(ROOT, file), path.join(to, file))
  }
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(to, 'node_modules'))
}

function run(command: string, folder: string): { status: number | null; output: string } {
  const [program = '', ...options] = command.split(' ')
  const executable =
    program === 'node' ? process.execPath : path.join(ROOT, 'node_modules', '.bin', program)
  const { status, stdout, stderr } = spawnSync(executable, options, {
    cwd: folder,
    encoding: 'utf8',
    timeout: 120_000,
  })
  return { status, output: stdout + stderr }
}

describe.each([...readCommands()])('npm run check: %s', (tool, command) => {
  test('fails on every planted fault', () => {
    using folder = makeFolder()
    copyRepository(folder.path)
    for (const { file, text } of FAULTS[tool] ?? []) {
      writeFileSync(folder.file(file), text, { flag: 'a' })
    }
    const planted = run(command, folder.path)
    expect(planted.status).toBe(1)
    for (const { says } of FAULTS[tool] ?? []) expect(planted.output).toMatch(says)
  })
})

test('every tool of npm run check has a fault of its own', () => {
  expect([...readCommands().keys()].toSorted()).toEqual(Object.keys(FAULTS).toSorted())
})

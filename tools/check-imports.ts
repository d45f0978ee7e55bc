/**
 * Proves that imports run one way (the table of levels in docs/decisions/0001-the-house.md).
 *
 * Exits 0 with the number of imports it looked at, 1 with every offence, and 1 when it found nothing
 * to look at: a check that checks nothing is a broken check.
 */
import { readFileSync, readdirSync } from 'node:fs'
import { builtinModules } from 'node:module'
import path from 'node:path'

interface Import {
  readonly from: string
  readonly specifier: string
  readonly typeOnly: boolean
}

type Room = { readonly program: string; readonly folder: string; readonly level: number }

const LEVELS: Readonly<Record<string, number>> = {
  'main.ts': 5,
  'index.ts': 5,
  'server.ts': 5,
  'compose.ts': 5,
  'engine.ts': 5,
  'places.ts': 5,
  'purged.ts': 5,
  'services.ts': 5,
  'testing.ts': 5,
  http: 4,
  cli: 4,
  interactions: 3,
  'direct-access': 3,
  admin: 3,
  registration: 3,
  provider: 2,
  storage: 2,
  backchannel: 2,
  feed: 2,
  accounts: 1,
  clients: 1,
  scopes: 1,
  'api-keys': 1,
  keys: 1,
  revocation: 1,
  explain: 1,
  'clock.ts': 0,
  'compare.ts': 0,
  'errors.ts': 0,
  'events.ts': 0,
  'form.ts': 0,
  'log.ts': 0,
  'outbound.ts': 0,
  'throttle.ts': 0,
  certificates: 0,
  config: 0,
  audit: 0,
  metrics: 0,
}

const PROGRAMS = ['auth-server', 'resource-server', 'client-demo']
const IMPORT =
  /(?:^|\n)\s*(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/g

/** What is wrong with one import, or `undefined`. Pure: the paths are relative to the repository. */
export function judgeImport({ from, specifier, typeOnly }: Import): string | undefined {
  const fromRoom = locate(from)
  if (!fromRoom) return undefined
  if (!specifier.startsWith('.')) return judgePackage(fromRoom, specifier)
  const target = path.posix.normalize(path.posix.join(path.posix.dirname(from), specifier))
  const toRoom = locate(target)
  if (!toRoom || toRoom.program !== fromRoom.program) {
    return `leaves its program: the programs meet on the wire`
  }
  if (fromRoom.program !== 'auth-server' || fromRoom.folder === toRoom.folder) return undefined
  if (fromRoom.level === -1 || toRoom.level === -1) {
    const unknown = fromRoom.level === -1 ? fromRoom.folder : toRoom.folder
    return `the folder ${unknown} has no level in tools/check-imports.ts`
  }
  return judgeLevels(fromRoom, toRoom, typeOnly)
}

function judgeLevels(from: Room, to: Room, typeOnly: boolean): string | undefined {
  if (from.folder === 'clock.ts' || from.folder === 'errors.ts') {
    return `${from.folder} imports nothing`
  }
  if (from.folder === 'storage' && to.level >= 1) {
    return typeOnly ? undefined : `storage imports ports as types only (\`import type\`)`
  }
  if (to.folder === 'storage' && from.level < 5) return `only level 5 chooses the storage`
  if (from.level === 5 || (from.level === 0 && to.level === 0)) return undefined
  if (to.level < from.level) return undefined
  return `${from.folder} (level ${from.level}) may not import ${to.folder} (level ${to.level})`
}

function judgePackage(from: Room, specifier: string): string | undefined {
  if (specifier.startsWith('node:') || builtinModules.includes(specifier)) {
    return from.folder === 'clock.ts' || from.folder === 'errors.ts'
      ? `${from.folder} imports nothing`
      : undefined
  }
  if (specifier.startsWith('oidc-provider') && from.folder !== 'provider') {
    return `only provider/ knows the engine`
  }
  const ours = /^(portreeve|@portreeve\/[^/]+)/.exec(specifier)?.[1]
  if (ours === undefined) return undefined
  const allowed = from.folder === 'admin' && ours === '@portreeve/resource-server'
  return allowed ? undefined : `the programs meet on the wire, not by import of ${ours}`
}

function locate(file: string): Room | undefined {
  const [program = '', folder = ''] = file.split('/')
  if (!PROGRAMS.includes(program)) return undefined
  return { program, folder, level: LEVELS[folder] ?? -1 }
}

/** Every import, re-export and literal dynamic import of a file's text. */
export function listImports(from: string, text: string): Import[] {
  return [...text.matchAll(IMPORT)].map((match) => ({
    from,
    specifier: match[2] ?? match[3] ?? '',
    typeOnly: match[1] !== undefined,
  }))
}

function listSources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((file) => path.posix.join(folder, file.split(path.sep).join('/')))
    .filter((file) => file.endsWith('.ts') && !/node_modules|\/dist\/|\.test\.ts$/.test(file))
}

function main(): void {
  const root = path.join(import.meta.dirname, '..')
  process.chdir(root)
  const imports = PROGRAMS.flatMap(listSources).flatMap((file) =>
    listImports(file, readFileSync(file, 'utf8')),
  )
  const offences = imports.flatMap((entry) => {
    const reason = judgeImport(entry)
    return reason === undefined ? [] : [`${entry.from} imports '${entry.specifier}': ${reason}`]
  })
  for (const offence of offences) console.error(offence)
  if (imports.length === 0) console.error('no import was found: the check has checked nothing')
  else console.log(`${imports.length} imports checked, ${offences.length} run the wrong way`)
  if (offences.length > 0 || imports.length === 0) process.exitCode = 1
}

if (import.meta.main) main()

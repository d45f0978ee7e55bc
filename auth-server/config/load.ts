import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { PortreeveError } from '../errors.ts'
import { escapeCharacter, formatPath } from './echo.ts'
import type { Finding } from './rules.ts'
import type { Config, ConfigInput, DirectAccessConfig, SecretSource } from './schema.ts'
import {
  createSecretReader,
  readDeclaredSecrets,
  type Environment,
  type ReadSecret,
} from './secrets.ts'
import { validateConfig, type Mistake } from './validate.ts'

/** A configuration that has been found right, and where it comes from. */
export interface LoadedConfig {
  /** Its paths are absolute. */
  readonly config: Config
  /** Absolute: the folder of the file, or the working directory where there is none. */
  readonly folder: string
  /** Absolute; `undefined` where there is none. */
  readonly file: string | undefined
  /** What is allowed and worth a look. */
  readonly warnings: readonly Finding[]
  /** Reads the secrets that the configuration points at. */
  readonly readSecret: ReadSecret
}

export interface LoadOptions {
  /**
   * The file, relative to `folder`. Default: `portreeve.config.ts`, `.js` or `.json` in `folder`, or
   * none where none is there.
   */
  readonly file?: string | undefined
  /** Default: the process's own. */
  readonly environment?: Environment | undefined
  /** Default: the working directory. */
  readonly folder?: string | undefined
  /** Reports the secrets that cannot be had, too. Only a server needs them. Default: false. */
  readonly checkSecrets?: boolean | undefined
}

const DEFAULT_FILES = ['portreeve.config.ts', 'portreeve.config.js', 'portreeve.config.json']

type Raw = Record<string, unknown>

/** The environment of the process: read here and nowhere else. */
export function readEnvironment(): Environment {
  return process.env
}

/**
 * Defaults < file < environment (`PORT`, `ISSUER`, `DATABASE_URL`; an empty one counts as not set).
 *
 * Throws one `misconfigured` that lists every mistake; its cause holds them as `mistakes`.
 */
export async function loadConfig(options: LoadOptions = {}): Promise<LoadedConfig> {
  const { environment = readEnvironment(), checkSecrets = false } = options
  const workingFolder = path.resolve(options.folder ?? process.cwd())
  const file = findFile(workingFolder, options.file)
  const written = file === undefined ? {} : await readConfigFile(file)
  const folder = file === undefined ? workingFolder : path.dirname(file)
  const { raw, sources } = applyEnvironment(written, environment, workingFolder)
  const validated = validateConfig(followPort(raw))
  const all = [...validated.mistakes]
  const readSecret = createSecretReader(environment)
  const config = validated.config && makeAbsolute(validated.config, folder)
  if (config && checkSecrets) {
    const secrets = await readDeclaredSecrets(config, readSecret)
    if (!secrets.ok) all.push(...secrets.reason)
  }
  if (!config || all.length > 0) throw misconfigured(all, file, sources)
  return { config, folder, file, warnings: validated.warnings, readSecret }
}

/**
 * The same for a configuration that a program holds: nothing is overridden by the environment, which
 * only `{ env }` secrets are read from.
 */
export function prepareConfig(
  input: ConfigInput,
  options: Pick<LoadOptions, 'environment' | 'folder'> = {},
): LoadedConfig {
  const folder = path.resolve(options.folder ?? process.cwd())
  const { config, mistakes, warnings } = validateConfig(followPort(input))
  if (!config || mistakes.length > 0) throw misconfigured(mistakes, undefined)
  const readSecret = createSecretReader(options.environment ?? readEnvironment())
  return { config: makeAbsolute(config, folder), folder, file: undefined, warnings, readSecret }
}

/** One error that lists every mistake. `sources`: which variable a path's value came from. */
export function misconfigured(
  mistakes: readonly Mistake[],
  file: string | undefined,
  sources: ReadonlyMap<string, string> = new Map(),
): PortreeveError {
  const count = mistakes.length === 1 ? 'One mistake' : `${mistakes.length} mistakes`
  const named = mistakes.map(({ path: at, message }) => {
    const where = formatPath(at)
    return { where, variable: sources.get(where), message }
  })
  const lines = named.map(({ where, variable, message }) => {
    const label = variable === undefined || variable === where ? where : `${variable} (${where})`
    return label === '' ? `  ${message}` : `  ${label}: ${message}`
  })
  const places = namePlaces(
    named.map(({ variable }) => variable),
    file,
  )
  const text = [`${count} in ${places}:`, ...lines].join('\n')
  return new PortreeveError('misconfigured', text, { cause: { mistakes } })
}

/** Where somebody has to look: the file alone would send them to the wrong place. */
function namePlaces(
  variables: readonly (string | undefined)[],
  file = 'the configuration',
): string {
  const names = [...new Set(variables.filter((name) => name !== undefined))]
  if (names.length === 0) return file
  const ofEnvironment = `the variable${names.length === 1 ? '' : 's'} ${names.join(', ')}`
  return variables.includes(undefined) ? `${file} and ${ofEnvironment}` : ofEnvironment
}

function findFile(folder: string, named: string | undefined): string | undefined {
  if (named !== undefined) {
    const file = path.resolve(folder, named)
    if (existsSync(file)) return file
    throw new PortreeveError('misconfigured', `There is no configuration file at ${file}.`)
  }
  const found = DEFAULT_FILES.filter((name) => existsSync(path.join(folder, name)))
  if (found.length > 1) {
    const message = `There is more than one configuration file in ${folder}: ${found.join(', ')}. Name one with --config.`
    throw new PortreeveError('misconfigured', message)
  }
  return found[0] === undefined ? undefined : path.join(folder, found[0])
}

async function readConfigFile(file: string): Promise<unknown> {
  switch (path.extname(file)) {
    case '.json':
      return readJson(file)
    case '.ts':
    case '.js':
    case '.mts':
    case '.mjs':
      return importConfig(file)
    default: {
      const message = `${file} is no configuration file: expected .ts, .js or .json.`
      throw new PortreeveError('misconfigured', message)
    }
  }
}

/** The parser quotes the text around a mistake: its message is left out, because of secrets. */
async function readJson(file: string): Promise<unknown> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw unreadable(file, cause)
  })
  try {
    return JSON.parse(text.replace(/^\uFEFF/, '')) as unknown
  } catch (cause) {
    throw new PortreeveError('misconfigured', `${file} is no JSON${explainNoJson(text, cause)}.`)
  }
}

function explainNoJson(text: string, cause: unknown): string {
  const place = /line \d+ column \d+/.exec(String(cause))?.[0]
  const comma = findLastComma(text)
  if (comma !== undefined)
    return `: at ${comma} a comma comes before } or ], where JSON allows none`
  return place === undefined ? '' : `: see ${place}`
}

/** A comma after the last entry, as JavaScript allows it, is what people write most often. */
function findLastComma(text: string): string | undefined {
  // Texts are passed over whole: what is in them is none.
  for (const { 0: found, index } of text.matchAll(/"(?:[^"\\]|\\.)*(?:"|$)|,(?=\s*[}\]])/gs)) {
    if (found !== ',') continue
    const lines = text.slice(0, index + 1).split('\n')
    return `line ${lines.length} column ${lines.at(-1)?.length ?? 0}`
  }
  return undefined
}

async function importConfig(file: string): Promise<unknown> {
  const module = (await import(pathToFileURL(file).href).catch((cause: unknown) => {
    throw unreadable(file, cause)
  })) as { default?: unknown; config?: unknown }
  const config = module.default ?? module.config
  if (config !== undefined) return config
  const message = `${file} exports no configuration: expected a default export, or one named config.`
  throw new PortreeveError('misconfigured', message)
}

function unreadable(file: string, cause: unknown): PortreeveError {
  const text = cause instanceof Error ? cause.message : String(cause)
  const reason = (text.split('\n', 1)[0] ?? '').slice(0, 300).replaceAll(/\p{C}/gu, escapeCharacter)
  return new PortreeveError('misconfigured', `${file} cannot be read: ${reason}`, { cause })
}

interface Overridden {
  readonly raw: unknown
  readonly sources: ReadonlyMap<string, string>
}

function applyEnvironment(
  written: unknown,
  environment: Environment,
  workingFolder: string,
): Overridden {
  const sources = new Map<string, string>()
  if (!isObject(written)) return { raw: written, sources }
  const raw = { ...written }
  const { PORT: port, ISSUER: issuer, DATABASE_URL: url, REDIS_URL: redis } = environment
  if (isSet(issuer)) {
    raw['issuer'] = issuer
    sources.set('issuer', 'ISSUER')
  }
  if (isSet(port)) {
    raw['listen'] = override(raw['listen'], 'port', /^\d{1,6}$/.test(port) ? Number(port) : port)
    sources.set('listen.port', 'PORT')
  }
  if (isSet(url)) {
    raw['database'] = override(raw['database'], 'url', resolveDatabase(url, workingFolder))
    sources.set('database.url', 'DATABASE_URL')
  }
  if (isSet(redis)) {
    raw['redis'] = override(raw['redis'], 'url', redis)
    sources.set('redis.url', 'REDIS_URL')
  }
  return { raw, sources }
}

function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== ''
}

/** A section that is no object stays as it is: that is the mistake to report. */
function override(section: unknown, member: string, value: unknown): unknown {
  if (section === undefined) return { [member]: value }
  return isObject(section) ? { ...section, [member]: value } : section
}

/** Who names no issuer means the port that the server listens on. */
function followPort(raw: unknown): unknown {
  if (!isObject(raw) || raw['issuer'] !== undefined || !isObject(raw['listen'])) return raw
  const issuer = URL.parse(`http://localhost:${String(raw['listen']['port'])}`)?.origin
  return issuer === undefined ? raw : { ...raw, issuer }
}

function isObject(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function makeAbsolute(config: Config, folder: string): Config {
  const resolve = (source: SecretSource): SecretSource =>
    'file' in source ? { file: path.resolve(folder, source.file) } : source
  return {
    ...config,
    database: { ...config.database, url: resolveDatabase(config.database.url, folder) },
    rootKey: resolve(config.rootKey),
    keys: config.keys.encryptionKey
      ? { ...config.keys, encryptionKey: resolve(config.keys.encryptionKey) }
      : config.keys,
    clients: config.clients.map((client) =>
      client.secret ? { ...client, secret: resolve(client.secret) } : client,
    ),
    users: config.users.map((user) =>
      user.password ? { ...user, password: resolve(user.password) } : user,
    ),
    resources: config.resources.map((resource) =>
      resource.secret ? { ...resource, secret: resolve(resource.secret) } : resource,
    ),
    directAccess: config.directAccess && resolveDirectAccess(config.directAccess, resolve),
    mtls: config.mtls && resolveMtls(config.mtls, folder, resolve),
  }
}

function resolveMtls(
  { listener, ...others }: NonNullable<Config['mtls']>,
  folder: string,
  resolve: (source: SecretSource) => SecretSource,
): Config['mtls'] {
  if (!listener) return others
  const { key, certificate, authorities } = listener
  const files = {
    key: resolve(key),
    certificate: path.resolve(folder, certificate),
    authorities: authorities === undefined ? undefined : path.resolve(folder, authorities),
  }
  return { ...others, listener: { ...listener, ...files } }
}

function resolveDirectAccess(
  direct: DirectAccessConfig,
  resolve: (source: SecretSource) => SecretSource,
): DirectAccessConfig {
  const { apiKey } = direct
  if (!apiKey) return direct
  const demonstrationKeys = apiKey.demonstrationKeys.map((key) => ({
    ...key,
    secret: resolve(key.secret),
  }))
  return { ...direct, apiKey: { ...apiKey, demonstrationKeys } }
}

export type DatabasePlace =
  | { readonly kind: 'file'; readonly file: string }
  /** It ends with the server, and no other program reaches it. */
  | { readonly kind: 'memory' }
  /** `name`: host, port and database, without who may use it. */
  | { readonly kind: 'server'; readonly name: string }

export function locateDatabase({ database }: Pick<Config, 'database'>): DatabasePlace {
  const { url } = database
  if (url === 'sqlite::memory:') return { kind: 'memory' }
  const file = /^sqlite:(.+)$/s.exec(url)?.[1]
  if (file !== undefined) return { kind: 'file', file }
  const { host, pathname } = new URL(url)
  return { kind: 'server', name: `${host}${pathname}` }
}

function resolveDatabase(url: string, folder: string): string {
  const [, file] = /^sqlite:(?!\/\/|:memory:$)(.+)$/s.exec(url) ?? []
  return file === undefined ? url : `sqlite:${path.resolve(folder, file)}`
}

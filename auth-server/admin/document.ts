import { z } from 'zod'
import { HASH_HELP, isBearableHash } from '../accounts/phc.ts'
import { parseTime } from '../clock.ts'
import { ACCOUNT_ID_PREFIX } from '../config/built-in.ts'
import { checkClient } from '../config/check-client.ts'
import { checkUser } from '../config/check.ts'
import { echo } from '../config/echo.ts'
import { isRefusal, type Finding, type Path } from '../config/rules.ts'
import { clientSchema, userSchema, type Config } from '../config/schema.ts'
import { describeShape, type ShapeNode } from '../config/shape.ts'
import { normalizeUsername } from '../config/username.ts'
import { describeIssues, validateConfig, type Mistake } from '../config/validate.ts'
import { PortreeveError } from '../errors.ts'
import { apiKeyName } from './api-keys.ts'
import { refuseInput } from './refusals.ts'

export const DOCUMENT_VERSION = 1
const MOST_USERS = 50_000
const MOST_CLIENTS = 10_000
const MOST_API_KEYS = 50_000
/** What goes beyond these bounds is made to exhaust whoever walks through it. */
const DEEPEST = 32
const MOST_MEMBERS = 100
const LARGEST_ENTRY = 10_000
const LARGEST_CONFIG = 50_000
/** Nobody reads more of them, and each may take its time. */
const MOST_MISTAKES = 1000

const ACCOUNT_ID_HELP = `the id of an account: ${ACCOUNT_ID_PREFIX} and 22 characters of a-z A-Z 0-9 _ -`
const SECRET_HASH_HELP = `sha256: and 43 characters of a-z A-Z 0-9 _ -, or ${HASH_HELP}`

const exportedUser = userSchema.omit({ password: true }).extend({
  id: z
    .string()
    .regex(/^acc_[\w-]{22}$/, ACCOUNT_ID_HELP)
    .meta({ title: ACCOUNT_ID_HELP })
    .optional(),
  passwordHash: z.string().refine(isBearableHash, HASH_HELP).meta({ title: HASH_HELP }).optional(),
  disabled: z.boolean().default(false),
})

const exportedClient = clientSchema.omit({ secret: true }).extend({
  secretHash: z
    .string()
    .refine(isSecretHash, SECRET_HASH_HELP)
    .meta({ title: SECRET_HASH_HELP })
    .optional(),
  disabled: z.boolean().default(false),
})

const digest = textOf(isDigest, '43 characters of a-z A-Z 0-9 _ -: a SHA-256 in base64url')
const time = textOf((text) => parseTime(text) !== undefined, 'a time such as 2026-11-26T09:00:00Z')

const exportedApiKey = z.strictObject({
  id: textOf(
    (text) => /^key_[\w-]{22}$/.test(text),
    'the id of an API key: key_ and 22 characters',
  ),
  /** The username of its owner: an id may be another one elsewhere. */
  user: userSchema.shape.username,
  name: apiKeyName,
  resource: clientSchema.shape.defaultResource.unwrap(),
  scopes: z.array(clientSchema.shape.scopes.unwrap().element).min(1).max(1000),
  hash: digest,
  createdAt: time,
  expiresAt: time.optional(),
})

export type ExportedApiKey = z.output<typeof exportedApiKey>
export type ExportedUser = z.output<typeof exportedUser>
export type ExportedClient = z.output<typeof exportedClient>

const listOf = (most: number) =>
  z
    .array(z.unknown())
    .refine((list) => list.length <= most, `a list of at most ${most}`)
    .default([])

/** Its entries are parsed one by one, so that a mistake in one hides none in another. */
const documentSchema = z.strictObject({
  version: z.literal(DOCUMENT_VERSION),
  exportedAt: z.string().max(200).optional(),
  config: z.unknown().optional(),
  users: listOf(MOST_USERS),
  clients: listOf(MOST_CLIENTS),
  apiKeys: listOf(MOST_API_KEYS),
})

/** For the words of mistakes. */
const wholeSchema = documentSchema.extend({
  users: z.array(exportedUser),
  clients: z.array(exportedClient),
  apiKeys: z.array(exportedApiKey),
})

export interface ExportDocument {
  readonly version: typeof DOCUMENT_VERSION
  /** ISO 8601. */
  readonly exportedAt: string
  /** A configuration file as it stands, without secrets. */
  readonly config: unknown
  readonly users: readonly ExportedUser[]
  readonly clients: readonly ExportedClient[]
  readonly apiKeys: readonly ExportedApiKey[]
}

export interface ParsedDocument {
  /** `undefined` where the document has none. */
  readonly config: Config | undefined
  readonly users: readonly ExportedUser[]
  readonly clients: readonly ExportedClient[]
  readonly apiKeys: readonly ExportedApiKey[]
  readonly warnings: readonly Finding[]
}

/**
 * Reads a document by the rules that hold for what operators do otherwise. Throws one `invalid_input`
 * with everything that is wrong with it, by itself and under the configuration that it comes to.
 */
export function parseDocument(
  text: string,
  target: Pick<Config, 'roles' | 'resources'>,
): ParsedDocument {
  const parsed = documentSchema.safeParse(parseJson(text), { reportInput: true })
  const shape = describeShape(wholeSchema)
  if (!parsed.success) throw refuseInput(describeIssues(parsed.error.issues, [], shape))
  const config = parseConfig(parsed.data.config)
  const users = parseEntries(exportedUser, parsed.data.users, 'users', shape)
  const clients = parseEntries(exportedClient, parsed.data.clients, 'clients', shape)
  const apiKeys = parseEntries(exportedApiKey, parsed.data.apiKeys, 'apiKeys', shape)
  const findings = [checkUsers(users.entries, target), checkClients(clients.entries, target)].flat()
  const mistakes = [
    config.mistakes,
    users.mistakes,
    clients.mistakes,
    apiKeys.mistakes,
    findings.filter(isRefusal).map(toMistake),
    listRepeats(users.entries, 'users', 'id'),
    listRepeats(apiKeys.entries, 'apiKeys', 'id'),
    listRepeats(apiKeys.entries, 'apiKeys', 'hash'),
    checkApiKeys(apiKeys.entries, target),
  ].flat()
  if (mistakes.length > 0) throw refuseInput(mistakes)
  return {
    config: config.config,
    users: users.entries.filter((user) => user !== undefined),
    clients: clients.entries.filter((client) => client !== undefined),
    apiKeys: apiKeys.entries.filter((key) => key !== undefined),
    warnings: findings,
  }
}

/** The parser quotes the text around a mistake, which may be a hash: its message is left out. */
function parseJson(text: string): unknown {
  if (isTooDeep(text)) {
    const message = `The document is nested more than ${DEEPEST} deep.`
    throw new PortreeveError('invalid_input', message)
  }
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch (cause) {
    const place = /line \d+ column \d+/.exec(String(cause))?.[0]
    const message = `The document is no JSON${place === undefined ? '' : `: see ${place}`}.`
    throw new PortreeveError('invalid_input', message)
  }
  if (typeof raw !== 'object' || raw === null || !Object.hasOwn(raw, 'version')) {
    throw new PortreeveError('invalid_input', 'The document is no export: it has no version.')
  }
  if (Object.keys(raw).length > MOST_MEMBERS) {
    throw new PortreeveError('invalid_input', 'The document is no export: it has too many members.')
  }
  const { version } = raw as { version: unknown }
  if (version === DOCUMENT_VERSION) return raw
  const message = `The document has version ${echo(version)}; this program reads version ${DOCUMENT_VERSION}. A newer program may read it.`
  throw new PortreeveError('invalid_input', message)
}

function isTooDeep(text: string): boolean {
  let depth = 0
  let isInString = false
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index]
    if (isInString) {
      if (character === '\\') index += 1
      else if (character === '"') isInString = false
    } else if (character === '"') isInString = true
    else if (character === '{' || character === '[') {
      depth += 1
      if (depth > DEEPEST) return true
    } else if (character === '}' || character === ']') depth -= 1
  }
  return false
}

/** Whether more values hang on this one, itself included. */
function isLargerThan(most: number, value: unknown): boolean {
  const left = [value]
  for (let count = 0; left.length > 0; count += 1) {
    if (count === most) return true
    const next = left.pop()
    if (typeof next !== 'object' || next === null) continue
    for (const member of Object.values(next)) left.push(member)
  }
  return false
}

interface ParsedConfig {
  readonly config: Config | undefined
  readonly mistakes: readonly Mistake[]
}

function parseConfig(raw: unknown): ParsedConfig {
  if (raw === undefined) return { config: undefined, mistakes: [] }
  if (isLargerThan(LARGEST_CONFIG, raw)) {
    return { config: undefined, mistakes: [refuseLarge(['config'], LARGEST_CONFIG)] }
  }
  const { config, mistakes } = validateConfig(raw)
  return {
    config,
    mistakes: mistakes.map(({ path, message }) => ({ path: ['config', ...path], message })),
  }
}

/** What is mistaken is `undefined`, so that the others keep their places. */
function parseEntries<T>(
  schema: z.ZodType<T>,
  entries: readonly unknown[],
  section: 'users' | 'clients' | 'apiKeys',
  shape: ShapeNode,
): { readonly entries: readonly (T | undefined)[]; readonly mistakes: readonly Mistake[] } {
  const mistakes: Mistake[] = []
  const parsed = entries.map((entry, index) => {
    const at = [section, index]
    if (mistakes.length >= MOST_MISTAKES) return undefined
    if (isLargerThan(LARGEST_ENTRY, entry)) {
      mistakes.push(refuseLarge(at, LARGEST_ENTRY))
      return undefined
    }
    const result = schema.safeParse(entry, { reportInput: true })
    if (result.success) return result.data
    mistakes.push(...describeIssues(result.error.issues, at, shape))
    return undefined
  })
  return { entries: parsed, mistakes }
}

function refuseLarge(path: Path, most: number): Mistake {
  return { path, message: `expected at most ${most} values` }
}

function checkUsers(
  users: readonly (ExportedUser | undefined)[],
  { roles }: Pick<Config, 'roles'>,
): Finding[] {
  const names = new Map<string, number>()
  return users.flatMap((user, index) => {
    if (!user) return []
    const at = ['users', index]
    const findings = checkUser(user, roles).map((finding) => moveTo(at, finding))
    const name = normalizeUsername(user.username)
    const first = names.get(name)
    if (first === undefined) names.set(name, index)
    else findings.push(repeat('PR401', [...at, 'username'], user.username, `users[${first}]`))
    return findings
  })
}

function checkClients(
  clients: readonly (ExportedClient | undefined)[],
  { resources }: Pick<Config, 'resources'>,
): Finding[] {
  const ids = new Map<string, number>()
  return clients.flatMap((client, index) => {
    if (!client) return []
    const at = ['clients', index]
    const checked = { ...client, hasSecret: client.secretHash !== undefined }
    const findings = checkClient(checked, resources).map((finding) => moveTo(at, finding))
    const first = ids.get(client.id)
    if (first === undefined) ids.set(client.id, index)
    else findings.push(repeat('PR301', [...at, 'id'], client.id, `clients[${first}]`))
    return findings
  })
}

/** A key of what is not there could never be used, and would surprise whoever makes it one day. */
function checkApiKeys(
  apiKeys: readonly (ExportedApiKey | undefined)[],
  { resources }: Pick<Config, 'resources'>,
): Mistake[] {
  const known = new Map(resources.map(({ identifier, scopes }) => [identifier, scopes]))
  return apiKeys.flatMap((key, index): Mistake[] => {
    if (!key) return []
    const at = ['apiKeys', index]
    const scopes = known.get(key.resource)
    if (!scopes) {
      const message = `${echo(key.resource)} is the identifier of no resource`
      return [{ path: [...at, 'resource'], message }]
    }
    return key.scopes.flatMap((scope, place) =>
      Object.hasOwn(scopes, scope)
        ? []
        : [{ path: [...at, 'scopes', place], message: `${echo(scope)} is no scope of it` }],
    )
  })
}

function listRepeats<Entry>(
  entries: readonly (Entry | undefined)[],
  section: 'users' | 'apiKeys',
  member: keyof Entry & string,
): Mistake[] {
  const known = new Map<unknown, number>()
  return entries.flatMap((entry, index) => {
    const value = entry?.[member]
    if (value === undefined) return []
    const first = known.get(value)
    if (first === undefined) {
      known.set(value, index)
      return []
    }
    return [{ path: [section, index, member], message: `${section}[${first}] has the same` }]
  })
}

function toMistake({ rule, path, message }: Finding): Mistake {
  return { path, message: `${rule}: ${message}` }
}

function repeat(rule: Finding['rule'], path: Path, value: string, other: string): Finding {
  return { rule, path, message: `${other} has ${echo(value)} already` }
}

function moveTo(at: Path, { rule, path, message }: Finding): Finding {
  return { rule, path: [...at, ...path], message }
}

/** As `clients/secret.ts` keeps them. */
function isSecretHash(text: string): boolean {
  const generated = /^sha256:([\w-]{43})$/.exec(text)?.[1]
  return generated === undefined ? isBearableHash(text) : isDigest(generated)
}

function isDigest(text: string): boolean {
  return /^[\w-]{43}$/.test(text) && Buffer.from(text, 'base64url').toString('base64url') === text
}

function textOf(isRight: (text: string) => boolean, words: string): z.ZodString {
  return z.string().refine(isRight, words).meta({ title: words })
}

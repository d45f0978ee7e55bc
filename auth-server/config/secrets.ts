import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Result } from '../errors.ts'
import type { Path } from './rules.ts'
import type { Config, SecretAlgorithm, SecretSource } from './schema.ts'
import type { Mistake } from './validate.ts'

/** Variables of the environment by name. */
export type Environment = Readonly<Record<string, string | undefined>>

const LONGEST_SECRET = 4096
/** Four bytes for each character, and a line break. */
const LONGEST_FILE = 4 * LONGEST_SECRET + 2
const TOO_LONG = `holds more than ${LONGEST_SECRET} characters`

/** Reads the secret of `source`; `at` is where the source stands, for the mistake. */
export type ReadSecret = (source: SecretSource, at: Path) => Promise<Result<string, Mistake>>

/** Every secret that the configuration points at, by the name of what it belongs to, as written. */
export interface DeclaredSecrets {
  /** By client id. */
  readonly clients: ReadonlyMap<string, string>
  /** By username. */
  readonly users: ReadonlyMap<string, string>
  /** By identifier. */
  readonly resources: ReadonlyMap<string, string>
  readonly demonstrationKeys: readonly { readonly key: string; readonly user: string }[]
}

export function createSecretReader(environment: Environment): ReadSecret {
  return async (source, at) => {
    const result = await resolveSecret(source, environment)
    if (result.ok) return result
    return { ok: false, reason: { path: at, message: result.reason } }
  }
}

/**
 * The secret itself. One line break at the end of a file is not part of it. Refused, in words that
 * name the source and never the secret: what is missing, empty, longer than 4096 characters, or no
 * UTF-8. Expects the path of a file to be absolute.
 */
export async function resolveSecret(
  source: SecretSource,
  environment: Environment,
): Promise<Result<string, string>> {
  const origin = nameSource(source)
  const read =
    'env' in source ? readVariable(environment, source.env) : await readSecretFile(source.file)
  if (!read.ok) return { ok: false, reason: `${origin} ${read.reason}` }
  if (read.value === '') return { ok: false, reason: `${origin} is empty` }
  if (read.value.length > LONGEST_SECRET) return { ok: false, reason: `${origin} ${TOO_LONG}` }
  return read
}

function nameSource(source: SecretSource): string {
  return 'env' in source ? `the variable ${source.env}` : `the file ${source.file}`
}

function readVariable(environment: Environment, name: string): Result<string, string> {
  const value = environment[name]
  return value === undefined ? { ok: false, reason: 'is not set' } : { ok: true, value }
}

async function readSecretFile(file: string): Promise<Result<string, string>> {
  try {
    // A named pipe would otherwise keep the server waiting for somebody to write.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
    if (!(await handle.stat()).isFile()) return { ok: false, reason: 'is not a file' }
    const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(LONGEST_FILE + 1) })
    if (bytesRead > LONGEST_FILE) return { ok: false, reason: TOO_LONG }
    const text = new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, bytesRead))
    return { ok: true, value: text.replace(/\r?\n$/, '') }
  } catch (error) {
    return { ok: false, reason: explainReadError(error) }
  }
}

function explainReadError(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOENT') return 'does not exist'
  if (code === 'EACCES' || code === 'EPERM') return 'may not be read by this user'
  if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'is not UTF-8'
  return `cannot be read (${code ?? 'unknown error'})`
}

/** What is wrong with a password that somebody chose, or `undefined`. NIST SP 800-63B §3.1.1.2. */
export function judgePassword(password: string, shortest = 8): string | undefined {
  const { length } = password
  if (length < shortest) return `a password has at least ${shortest} characters`
  return length > 256 ? 'a password has at most 256 characters' : undefined
}

/**
 * What is wrong with a client secret that somebody chose, or `undefined`.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6749.html#appendix-A.2 RFC 6749 §A.2}
 */
export function judgeClientSecret(secret: string): string | undefined {
  if (!/^[\x20-\x7E]*$/.test(secret)) return 'a client secret is printable ASCII'
  if (secret.length < 16) return 'a client secret has at least 16 characters'
  return secret.length > 256 ? 'a client secret has at most 256 characters' : undefined
}

/** RFC 7518 §3.2: as many bytes as the hash has. */
const LEAST_BYTES: Readonly<Record<SecretAlgorithm, number>> = { HS256: 32, HS512: 64 }

/**
 * What is wrong with a secret that an API shares with this server, or `undefined`. Whoever has a token
 * can guess at its secret without asking anybody, so it has to be random; what others know, such as a
 * certificate, is none.
 */
function judgeSharedSecret(secret: string, algorithm: SecretAlgorithm): string | undefined {
  const least = LEAST_BYTES[algorithm]
  if (Buffer.byteLength(secret) < least) {
    return `a secret for ${algorithm} has at least ${least} random bytes`
  }
  return /-----BEGIN|^\s*[{[]/.test(secret)
    ? 'expected a secret, not a key or a certificate'
    : undefined
}

/** Every secret that the configuration points at, or every one that cannot be had. */
export async function readDeclaredSecrets(
  config: Pick<Config, 'clients' | 'users' | 'resources' | 'directAccess' | 'signIn'>,
  readSecret: ReadSecret,
): Promise<Result<DeclaredSecrets, readonly Mistake[]>> {
  const mistakes: Mistake[] = []
  const take = async (
    source: SecretSource | undefined,
    at: Path,
    judge: (secret: string) => string | undefined,
    keep: (secret: string) => void,
  ) => {
    if (!source) return
    const secret = await readSecret(source, at)
    const fault = secret.ok ? judge(secret.value) : undefined
    if (!secret.ok) mistakes.push(secret.reason)
    else if (fault !== undefined)
      mistakes.push({ path: at, message: `${nameSource(source)}: ${fault}` })
    else keep(secret.value)
  }
  const clients = new Map<string, string>()
  for (const [index, { id, secret }] of config.clients.entries()) {
    const at = ['clients', index, 'secret']
    await take(secret, at, judgeClientSecret, (text) => clients.set(id, text))
  }
  const users = new Map<string, string>()
  const judge = (password: string) => judgePassword(password, config.signIn.shortestPassword)
  for (const [index, { username, password }] of config.users.entries()) {
    const at = ['users', index, 'password']
    await take(password, at, judge, (text) => users.set(username, text))
  }
  const resources = new Map<string, string>()
  for (const [index, { identifier, algorithm, secret }] of config.resources.entries()) {
    const judgeShared = (text: string) =>
      [...resources.values()].includes(text)
        ? 'another resource has the same: who may make tokens for one could make them for the other'
        : judgeSharedSecret(text, algorithm as SecretAlgorithm)
    const at = ['resources', index, 'secret']
    await take(secret, at, judgeShared, (text) => resources.set(identifier, text))
  }
  const demonstrationKeys: { key: string; user: string }[] = []
  const declared = config.directAccess?.apiKey?.demonstrationKeys ?? []
  for (const [index, { secret, user }] of declared.entries()) {
    const at = ['directAccess', 'apiKey', 'demonstrationKeys', index, 'secret']
    await take(secret, at, judgeDemonstrationKey, (key) => demonstrationKeys.push({ key, user }))
  }
  return mistakes.length === 0
    ? { ok: true, value: { clients, users, resources, demonstrationKeys } }
    : { ok: false, reason: mistakes }
}

function judgeDemonstrationKey(key: string): string | undefined {
  return /^[\x21-\x7E]{1,256}$/.test(key)
    ? undefined
    : 'a demonstration key is 1 to 256 printable characters without spaces'
}

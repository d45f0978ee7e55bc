import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Result } from '../errors.ts'
import type { Path } from './rules.ts'
import type { Config, SecretSource } from './schema.ts'
import type { Mistake } from './validate.ts'

/** Variables of the environment by name. */
export type Environment = Readonly<Record<string, string | undefined>>

const LONGEST_SECRET = 4096
/** Four bytes for each character, and a line break. */
const LONGEST_FILE = 4 * LONGEST_SECRET + 2
const TOO_LONG = `holds more than ${LONGEST_SECRET} characters`

/** Reads the secret of `source`; `at` is where the source stands, for the mistake. */
export type ReadSecret = (source: SecretSource, at: Path) => Promise<Result<string, Mistake>>

/** Every secret of the clients and users, by client id and by username as written. */
export interface DeclaredSecrets {
  readonly clients: ReadonlyMap<string, string>
  readonly users: ReadonlyMap<string, string>
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
export function judgePassword(password: string): string | undefined {
  const { length } = password
  if (length < 8) return 'a password has at least 8 characters'
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

/** Every secret that the configuration points at, or every one that cannot be had. */
export async function readDeclaredSecrets(
  { clients, users }: Pick<Config, 'clients' | 'users'>,
  readSecret: ReadSecret,
): Promise<Result<DeclaredSecrets, readonly Mistake[]>> {
  const mistakes: Mistake[] = []
  const found = { clients: new Map<string, string>(), users: new Map<string, string>() }
  const take = async (
    into: Map<string, string>,
    name: string,
    source: SecretSource | undefined,
    at: Path,
    judge: (secret: string) => string | undefined,
  ) => {
    if (!source) return
    const secret = await readSecret(source, at)
    const fault = secret.ok ? judge(secret.value) : undefined
    if (!secret.ok) mistakes.push(secret.reason)
    else if (fault !== undefined)
      mistakes.push({ path: at, message: `${nameSource(source)}: ${fault}` })
    else into.set(name, secret.value)
  }
  for (const [index, { id, secret }] of clients.entries()) {
    await take(found.clients, id, secret, ['clients', index, 'secret'], judgeClientSecret)
  }
  for (const [index, { username, password }] of users.entries()) {
    await take(found.users, username, password, ['users', index, 'password'], judgePassword)
  }
  return mistakes.length === 0 ? { ok: true, value: found } : { ok: false, reason: mistakes }
}

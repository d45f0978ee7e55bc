import { hash as argonHash, verify as argonVerify } from '@node-rs/argon2'
import { PortreeveError } from '../errors.ts'

export interface PasswordHasher {
  /** A PHC string (argon2id). */
  hash(password: string): Promise<string>
  verify(password: string, phc: string): Promise<boolean>
  /** Takes as long as `verify`, and answers `false`. */
  pretend(password: string): Promise<false>
}

export interface PasswordHasherOptions {
  /** Hashes computed at once. */
  readonly concurrency: number
  /** How many more may wait. */
  readonly queue: number
}

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane. */
const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }
/** Made with the same parameters from 32 random bytes that nobody kept: no password fits. */
const NOBODYS_HASH =
  '$argon2id$v=19$m=19456,t=2,p=1$Ks3tSL/eyp60FD98fCUo/w$kdJECPyKGb4NoFnK3w5h5yJfImOQmEUMJlGkMpt62MY'

/**
 * Hashes passwords with argon2id, a bounded number at once: a flood of sign-ins may take so much of
 * the machine and no more. Throws `busy` where too many wait already.
 */
export function createPasswordHasher(options: PasswordHasherOptions): PasswordHasher {
  const limit = createLimit(options)
  const hash = (password: string) => limit(() => argonHash(password.normalize('NFC'), PARAMETERS))
  const verify = (password: string, phc: string) =>
    limit(() => argonVerify(phc, password.normalize('NFC')))
  return {
    hash,
    verify,
    async pretend(password) {
      await verify(password, NOBODYS_HASH)
      return false
    },
  }
}

function createLimit({ concurrency, queue }: PasswordHasherOptions) {
  let running = 0
  const waiting: (() => void)[] = []
  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= concurrency) {
      if (waiting.length >= queue) {
        throw new PortreeveError('busy', 'Too many passwords are being checked. Try again later.')
      }
      await new Promise<void>((resolve) => waiting.push(resolve))
    } else {
      running += 1
    }
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running -= 1
    }
  }
}

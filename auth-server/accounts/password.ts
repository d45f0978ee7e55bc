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

const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }

export function createPasswordHasher(options: PasswordHasherOptions): PasswordHasher {
  const limit = createLimit(options)
  let dummy: Promise<string> | undefined
  const hash = (password: string) => limit(() => argonHash(password.normalize('NFC'), PARAMETERS))
  const verify = (password: string, phc: string) =>
    limit(() => argonVerify(phc, password.normalize('NFC')))
  return {
    hash,
    verify,
    async pretend(password) {
      dummy ??= argonHash('nobody has this password', PARAMETERS)
      await verify(password, await dummy)
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

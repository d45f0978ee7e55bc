/** Where secrets are read from. */
export type Environment = Readonly<Record<string, string | undefined>>

/** The environment of the process: the demonstration programs read it here and nowhere else. */
export function readEnvironment(): Environment {
  return process.env
}

/** RFC 7518 §3.2: as many bytes as the hash has. */
const MIN_BYTES = { HS256: 32, HS512: 64 } as const

/** Throws a `TypeError` that names the variable, never what is in it. */
export function readSecret(
  name: string,
  algorithm: keyof typeof MIN_BYTES,
  environment: Environment,
): string {
  const { [name]: secret = '' } = environment
  const minBytes = MIN_BYTES[algorithm]
  if (Buffer.byteLength(secret) < minBytes) {
    throw new TypeError(
      `${name}: set it in the environment to a random text of at least ${minBytes} bytes for ${algorithm}`,
    )
  }
  return secret
}

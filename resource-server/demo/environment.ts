/** Where secrets are read from. */
export type Environment = Readonly<Record<string, string | undefined>>

/** The environment of the process: the demonstration programs read it here and nowhere else. */
export function readEnvironment(): Environment {
  return process.env
}

/** Throws a `TypeError` that names the variable, never what is in it. */
export function readSecret(name: string, environment: Environment): string {
  const secret = environment[name]
  // An empty one counts as not set.
  if (secret === undefined || secret === '') {
    throw new TypeError(`${name} is missing in the environment: set it to a random text`)
  }
  return secret
}

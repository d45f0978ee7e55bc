/**
 * Throws a `TypeError` for an option that does not exist: a misspelt one would be a check that nobody
 * makes. So would a text, a list or a number in the place of the options, which has none of them.
 */
export function refuseUnknownOptions(
  where: string,
  options: unknown,
  known: readonly string[],
): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new TypeError(`${where}: expected an object of options, not ${describeKind(options)}`)
  }
  const unknown = Object.keys(options).find((option) => !known.includes(option))
  if (unknown !== undefined) {
    throw new TypeError(`${where} has no option ${unknown}; it has ${known.join(', ')}`)
  }
}

/** What it is, and never what it holds: it may be a secret in a wrong place. */
function describeKind(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value
}

/** One name or several, none empty. Throws a `TypeError` that names the option. */
export function readNames(option: string, value: unknown): readonly string[] {
  const names: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (names.length === 0 || !names.every((name) => typeof name === 'string' && name !== '')) {
    throw new TypeError(
      `${option}: expected a text or a list of texts, not ${JSON.stringify(value)}`,
    )
  }
  return Object.freeze([...(names as readonly string[])])
}

/** A number within bounds, both included. Throws a `TypeError` that names the option. */
export function readNumber(
  option: string,
  value: unknown,
  [min, max]: readonly [number, number],
): number {
  if (typeof value !== 'number' || !(value >= min && value <= max)) {
    throw new TypeError(`${option}: expected ${min} to ${max}, not ${JSON.stringify(value)}`)
  }
  return value
}

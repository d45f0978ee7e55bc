/**
 * Throws a `TypeError` for an option that does not exist: a misspelt one would be a check that nobody
 * makes.
 */
export function refuseUnknownOptions(
  where: string,
  options: object,
  known: readonly string[],
): void {
  const unknown = Object.keys(options).find((option) => !known.includes(option))
  if (unknown !== undefined) {
    throw new TypeError(`${where} has no option ${unknown}; it has ${known.join(', ')}`)
  }
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

/** What `parse` makes of the arguments, or what is wrong with them: what it throws as a `TypeError`. */
export function readArguments<T extends object>(
  args: readonly string[],
  parse: (args: readonly string[]) => T,
  usage: string,
): T | string {
  try {
    return parse(args)
  } catch (error) {
    if (error instanceof TypeError) return `${error.message}\n${usage}`
    throw error
  }
}

/** A value as JSON has it. */
export type Json = Leaf | readonly Json[] | { readonly [member: string]: Json }

export type Leaf = string | number | boolean | null

/** The value with every leaf changed; each is told the names of the members that it stands in. */
export function mapLeaves(
  path: readonly string[],
  value: unknown,
  change: (path: readonly string[], leaf: Leaf) => Leaf,
): Json {
  if (Array.isArray(value)) return value.map((entry) => mapLeaves(path, entry, change))
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
    return Object.fromEntries(
      members.map(([member, inner]) => [member, mapLeaves([...path, member], inner, change)]),
    )
  }
  return change(path, isLeaf(value) ? value : null)
}

function isLeaf(value: unknown): value is Leaf {
  return ['string', 'number', 'boolean'].includes(typeof value)
}

const MOST_ENTRIES = 5

/** For people, on one line; of lists the first few entries. */
export function showValue(value: Json): string {
  if (typeof value !== 'object' || value === null) return String(value)
  if (isList(value)) {
    const more = value.length > MOST_ENTRIES ? [`… ${value.length - MOST_ENTRIES} more`] : []
    return `[${[...value.slice(0, MOST_ENTRIES).map(showValue), ...more].join(', ')}]`
  }
  const members = Object.entries(value).map(([name, member]) => `${name}: ${showValue(member)}`)
  return `{ ${members.join(', ')} }`
}

/** `Array.isArray` does not see that a list may be read-only. */
function isList(value: object): value is readonly Json[] {
  return Array.isArray(value)
}

/** To compare: all of it, a text without quotes. */
export function writeValue(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing')
}

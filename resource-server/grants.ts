/** How many different texts and lists a pool keeps; an issuer has a few dozen. */
const MAX_SHARED = 1000

/**
 * What the tokens of one issuer have in common, so that ten thousand of them that are kept hold one Set
 * of scopes and one text of an audience, not ten thousand.
 */
export interface GrantPool {
  /** The scopes of a `scope` claim. */
  readScopes(scope: string): ReadonlySet<string>
  readRoles(roles: readonly string[]): ReadonlySet<string>
  /** The same text: the one that was seen before, where it was. */
  shareText(text: string): string
  /** The same for a list, which is not to be changed later. */
  shareList(list: readonly string[]): readonly string[]
}

export function createGrantPool(): GrantPool {
  const scopes = new Map<string, ReadonlySet<string>>()
  const roles = new Map<string, ReadonlySet<string>>()
  const texts = new Map<string, string>()
  const lists = new Map<string, readonly string[]>()
  return {
    readScopes: (scope) =>
      recall(scopes, scope, () => freezeSet(scope.split(' ').filter((name) => name !== ''))),
    readRoles: (names) => recall(roles, JSON.stringify(names), () => freezeSet(names)),
    shareText: (text) => recall(texts, text, () => text),
    shareList: (list) => recall(lists, JSON.stringify(list), () => list),
  }
}

/** Forgets everything when it is full: what is in use is soon back, what was a flood is not. */
function recall<Value>(known: Map<string, Value>, name: string, make: () => Value): Value {
  const before = known.get(name)
  if (before !== undefined) return before
  if (known.size >= MAX_SHARED) known.clear()
  const value = make()
  known.set(name, value)
  return value
}

/** `Object.freeze` does not keep a Set from changing. */
function freezeSet(values: readonly string[]): ReadonlySet<string> {
  const closed = { add: refuseChange, delete: refuseChange, clear: refuseChange }
  return Object.freeze(Object.assign(new Set(values), closed))
}

function refuseChange(): never {
  throw new TypeError('what a token grants cannot be changed')
}

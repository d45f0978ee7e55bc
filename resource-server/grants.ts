import { inspect } from 'node:util'

/** How many different texts and lists a pool keeps of each kind; an issuer has a few dozen. */
const MAX_SHARED = 1000
/** How long they may be together. A set of one-letter names takes forty times its text. */
const MAX_SHARED_CHARACTERS = 65_536
/** What is longer is not shared: it would drive out what is. */
const MAX_CHARACTERS = 2048

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
  const scopes = createPool<ReadonlySet<string>>()
  const roles = createPool<ReadonlySet<string>>()
  const texts = createPool<string>()
  const lists = createPool<readonly string[]>()
  return {
    readScopes: (scope) =>
      scopes(scope, () => new ClosedSet(scope.split(' ').filter((name) => name !== ''))),
    readRoles: (names) => roles(JSON.stringify(names), () => new ClosedSet(names)),
    shareText: (text) => texts(text, () => text),
    shareList: (list) => lists(JSON.stringify(list), () => list),
  }
}

type Pool<Value> = (name: string, make: () => Value) => Value

/** Forgets everything when it is full: what is in use is soon back, what was a flood is not. */
function createPool<Value>(): Pool<Value> {
  const known = new Map<string, Value>()
  let characters = 0
  return (name, make) => {
    const before = known.get(name)
    if (before !== undefined) return before
    const value = make()
    if (name.length > MAX_CHARACTERS) return value
    characters += name.length
    if (known.size >= MAX_SHARED || characters > MAX_SHARED_CHARACTERS) {
      known.clear()
      characters = name.length
    }
    known.set(name, value)
    return value
  }
}

/** What the Sets of this Node can do without changing. */
const READERS = [
  'union',
  'intersection',
  'difference',
  'symmetricDifference',
  'isSubsetOf',
  'isSupersetOf',
  'isDisjointFrom',
].filter((name) => name in Set.prototype)

/**
 * A set that nobody can change: one handler would change it for all requests. `Object.freeze` does not
 * keep a `Set` from changing, nor does it help to take its methods away: `Set.prototype.add.call(set)`
 * needs none of them. So this is no `Set`, and what it holds is out of reach. A class, because private
 * members cost nothing for each set; functions around a variable would.
 */
class ClosedSet implements ReadonlySet<string> {
  readonly #names: ReadonlySet<string>

  static {
    for (const name of READERS) {
      Object.defineProperty(this.prototype, name, {
        value(this: ClosedSet, other: unknown) {
          return Reflect.apply(Reflect.get(Set.prototype, name), this.#names, [other])
        },
      })
    }
    Object.freeze(this.prototype)
  }

  constructor(names: readonly string[]) {
    this.#names = new Set(names)
    Object.freeze(this)
  }

  get size(): number {
    return this.#names.size
  }

  has(name: string): boolean {
    return this.#names.has(name)
  }

  forEach(
    visit: (name: string, again: string, set: ReadonlySet<string>) => void,
    thisArgument?: unknown,
  ): void {
    for (const name of this.#names) Reflect.apply(visit, thisArgument, [name, name, this])
  }

  entries(): SetIterator<[string, string]> {
    return this.#names.entries()
  }

  keys(): SetIterator<string> {
    return this.#names.keys()
  }

  values(): SetIterator<string> {
    return this.#names.values()
  }

  /** What a debugger shows would be an empty set otherwise. */
  [inspect.custom](): ReadonlySet<string> {
    return new Set(this.#names)
  }

  [Symbol.iterator](): SetIterator<string> {
    return this.#names[Symbol.iterator]()
  }
}

import { randomUUID } from 'node:crypto'
import { formatTime, type Clock } from '../clock.ts'

/** Something that belongs to the subject of a token. */
export interface Owned {
  readonly id: string
  readonly owner: string
  /** ISO 8601 in UTC. */
  readonly createdAt: string
}

/** Whose things a call may see. Others do not exist for it. */
export type Whose = { readonly owner: string } | 'everyone'

/** Things in memory: they are gone when the program ends. */
export interface OwnedThings<Content> {
  /** The oldest first. */
  list(whose: Whose): readonly (Owned & Content)[]
  find(id: string, whose: Whose): (Owned & Content) | undefined
  /**
   * `author`: who makes it, and takes the room for it. Answers `undefined` where they have made as many
   * as there is room left for: so nobody, alone or with others, leaves none to who comes new.
   */
  add(owner: string, author: string, content: Content): (Owned & Content) | undefined
}

const MAX_THINGS = 1000

export function createOwnedThings<Content>(clock: Clock): OwnedThings<Content> {
  const things = new Map<string, Owned & Content>()
  const countByAuthor = new Map<string, number>()
  const isVisible = ({ owner }: Owned, whose: Whose) =>
    whose === 'everyone' || whose.owner === owner
  return {
    list: (whose) => [...things.values()].filter((thing) => isVisible(thing, whose)),
    find(id, whose) {
      const thing = things.get(id)
      return thing !== undefined && isVisible(thing, whose) ? thing : undefined
    },
    add(owner, author, content) {
      const count = countByAuthor.get(author) ?? 0
      if (count >= MAX_THINGS - things.size) return undefined
      countByAuthor.set(author, count + 1)
      const id = randomUUID()
      const thing = { ...content, id, owner, createdAt: formatTime(clock.now()) }
      things.set(id, thing)
      return thing
    },
  }
}

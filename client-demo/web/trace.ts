import { randomUUID } from 'node:crypto'
import type { TokenWords } from './token-words.ts'

/** Between whom the flow runs, in the order of the diagram. */
export type Party = 'browser' | 'client' | 'server' | 'api'

/** One arrow of the diagram. What stands in it may be shown: secrets and tokens are shortened. */
export interface Arrow {
  readonly from: Party
  readonly to: Party
  /** What this application has not seen itself, but concludes from what it was told. */
  readonly isUnseen: boolean
  readonly isAnswer: boolean
  readonly isRefusal: boolean
  /** Such as `POST /token` or `303 See Other`. */
  readonly title: string
  /** What it means, in a sentence. */
  readonly meaning: string
  readonly fields: readonly { readonly name: string; readonly value: string }[]
  readonly tokens: readonly { readonly name: string; readonly words: TokenWords }[]
}

/** An arrow and its place among all of a trace: 1, 2, 3 … */
export type PlacedArrow = Arrow & { readonly place: number }

/** What was said for one browser, the newest last. */
export interface Trace {
  /** Another trace has another one. Means nothing elsewhere. */
  readonly id: string
  append(arrows: readonly Arrow[]): void
  /** Those whose place is above `after`, as far as they are kept. */
  list(after?: number): readonly PlacedArrow[]
}

const MOST_ARROWS = 80
/**
 * Of all arrows together: a thousand sessions, what is left of a hundred, and a hundred strangers take
 * 154 MB at the most.
 */
const MOST_CHARACTERS = 64 * 1024

/**
 * Keeps the last eighty arrows, and fewer of long ones. They are kept as JSON: whatever else a piece of a
 * text belongs to, such as the form of which it shows the start, stays in memory with the piece.
 */
export function createTrace(earlier: readonly PlacedArrow[] = []): Trace {
  const kept: { readonly place: number; readonly json: string }[] = []
  // The places of earlier arrows stay theirs.
  let last = (earlier[0]?.place ?? 1) - 1
  let characters = 0
  const trace: Trace = {
    id: randomUUID(),
    append(arrows) {
      for (const arrow of arrows) {
        last += 1
        const json = JSON.stringify({ ...arrow, place: last } satisfies PlacedArrow)
        kept.push({ place: last, json })
        characters += json.length
      }
      while (kept.length > MOST_ARROWS || characters > MOST_CHARACTERS) {
        characters -= kept.shift()?.json.length ?? 0
      }
    },
    list: (after = 0) =>
      kept.filter(({ place }) => place > after).map(({ json }) => JSON.parse(json) as PlacedArrow),
  }
  trace.append(earlier)
  return trace
}

const MOST_STRANGERS = 100

/**
 * The traces of browsers in which nobody has signed in, by the id in their cookie. Bounded, so that a
 * flood of visitors fills no memory; what it pushes out is a drawing, never anybody's session. The trace
 * of a person who is signed in is part of the session, and ends with it.
 */
export interface StrangersTraces {
  of(id: string): Trace
  forget(id: string): void
}

export function createStrangersTraces(): StrangersTraces {
  const traces = new Map<string, Trace>()
  return {
    of(id) {
      const trace = traces.get(id) ?? createTrace()
      traces.delete(id)
      const [oldest] = traces.keys()
      if (oldest !== undefined && traces.size >= MOST_STRANGERS) traces.delete(oldest)
      traces.set(id, trace)
      return trace
    },
    forget(id) {
      traces.delete(id)
    },
  }
}

/** A value that one step leaves and another needs. */
export interface Slot<Value> {
  get(): Value
  set(value: Value): void
}

export function createSlot<Value>(what: string): Slot<Value> {
  let held: { readonly value: Value } | undefined
  return {
    get() {
      if (!held) throw new TypeError(`no step has left a ${what}`)
      return held.value
    },
    set(value) {
      held = { value }
    },
  }
}

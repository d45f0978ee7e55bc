/** One step forward. A step that was released never changes: its checksum is kept. */
export interface Migration {
  readonly name: string
  readonly statements: readonly string[]
}

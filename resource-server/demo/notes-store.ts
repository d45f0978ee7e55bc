import { randomUUID } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { formatTime, type Clock } from '../clock.ts'

export interface Note {
  readonly id: string
  /** The subject of the person's tokens. */
  readonly owner: string
  readonly text: string
  /** ISO 8601 in UTC. */
  readonly createdAt: string
}

/** Whose notes a call may touch. Others do not exist for it. */
export type Whose = { readonly owner: string } | 'everyone'

export interface NoteStore extends Disposable {
  /** The newest 1000, the newest first. */
  list(whose: Whose): readonly Note[]
  find(id: string, whose: Whose): Note | undefined
  /** Answers `undefined` where the owner has 1000 notes already. */
  add(owner: string, text: string): Note | undefined
  update(id: string, text: string, whose: Whose): Note | undefined
  remove(id: string, whose: Whose): boolean
  /** Removes all that are the owner's. */
  clear(owner: string): void
}

export const MAX_NOTES = 1000

const SCHEMA = `
  pragma journal_mode = wal;
  create table if not exists notes (
    id text primary key,
    owner text not null,
    text text not null,
    created_at integer not null
  ) strict;
  create index if not exists notes_by_owner on notes (owner, created_at);
`
const COLUMNS = 'id, owner, text, created_at as createdAt'
const ALLOWED = '(:owner is null or owner = :owner)'

/**
 * Opens the notes in an SQLite file (`:memory:` for none), which is for its owner alone where it is
 * new. Every statement is prepared once.
 */
export function openNoteStore(path: string, clock: Clock): NoteStore {
  if (path !== ':memory:') closeSync(openSync(path, 'a', 0o600))
  const database = new DatabaseSync(path, { timeout: 1000 })
  database.exec(SCHEMA)
  const list = database.prepare(
    `select ${COLUMNS} from notes where ${ALLOWED} order by created_at desc, rowid desc limit ${MAX_NOTES}`,
  )
  const find = database.prepare(`select ${COLUMNS} from notes where id = :id and ${ALLOWED}`)
  // One statement, so that two requests at once cannot both take the last place.
  const add = database.prepare(`
    insert into notes (id, owner, text, created_at)
    select :id, :owner, :text, :createdAt
    where (select count(*) from notes where owner = :owner) < ${MAX_NOTES}
    returning ${COLUMNS}`)
  const update = database.prepare(
    `update notes set text = :text where id = :id and ${ALLOWED} returning ${COLUMNS}`,
  )
  const remove = database.prepare(`delete from notes where id = :id and ${ALLOWED}`)
  const clear = database.prepare('delete from notes where owner = :owner')
  return {
    list: (whose) => list.all(ownerOf(whose)).map(toNote),
    find: (id, whose) => toOptionalNote(find.get({ id, ...ownerOf(whose) })),
    add: (owner, text) =>
      toOptionalNote(add.get({ id: randomUUID(), owner, text, createdAt: clock.now() })),
    update: (id, text, whose) => toOptionalNote(update.get({ id, text, ...ownerOf(whose) })),
    remove: (id, whose) => remove.run({ id, ...ownerOf(whose) }).changes === 1,
    clear: (owner) => void clear.run({ owner }),
    [Symbol.dispose]: () => database.close(),
  }
}

function ownerOf(whose: Whose): { readonly owner: string | null } {
  return { owner: whose === 'everyone' ? null : whose.owner }
}

type Row = Record<string, unknown>

function toOptionalNote(row: Row | undefined): Note | undefined {
  return row && toNote(row)
}

function toNote({ id, owner, text, createdAt }: Row): Note {
  return {
    id: id as string,
    owner: owner as string,
    text: text as string,
    createdAt: formatTime(createdAt as number),
  }
}

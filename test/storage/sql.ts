import { DatabaseSync } from 'node:sqlite'
import { Client } from 'pg'

/** Runs a statement on the database of a suite, past all stores. */
export async function runSql(url: string, statement: string): Promise<void> {
  if (url.startsWith('sqlite:')) {
    using database = new DatabaseSync(url.slice('sqlite:'.length), { timeout: 5000 })
    database.exec(statement)
    return
  }
  const client = new Client({ connectionString: url })
  await client.connect()
  await client.query(statement)
  await client.end()
}

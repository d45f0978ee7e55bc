import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { collectSecrets } from '../support/secrets.ts'
import { startServer } from '../support/server.ts'

test('no secret that ever came by is in the files of the database or in the log', async () => {
  await using server = await startServer()
  const seen = await collectSecrets(server.issuer)
  const files = readdirSync(server.folder).filter((name) => name.includes('.sqlite'))
  const bytes = files.map((name) => readFileSync(path.join(server.folder, name), 'latin1')).join('')
  const kept = [...seen].filter(([text]) => bytes.includes(text) || server.logged().includes(text))
  expect(kept.map(([, what]) => what)).toEqual([])
  // They would be found, if they were there.
  for (const kind of ['RefreshToken', 'AuthorizationCode', 'Interaction', 'Session']) {
    expect(bytes).toContain(kind)
  }
  expect(new Set(seen.values()).size).toBeGreaterThan(8)
  expect(seen.size).toBeGreaterThan(30)
})

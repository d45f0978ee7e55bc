import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../clock.ts'
import { openNoteStore } from './notes-store.ts'

test('a new database and what stands beside it are for their owner alone', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'notes-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = path.join(folder, 'notes.sqlite')
  using store = openNoteStore(file, systemClock)
  store.add('acc_alice', 'a note')
  const modes = [file, `${file}-wal`, `${file}-shm`].map((name) => statSync(name).mode & 0o777)
  expect(modes).toEqual([0o600, 0o600, 0o600])
})

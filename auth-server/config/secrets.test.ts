import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { judgeClientSecret, judgePassword, resolveSecret } from './secrets.ts'

async function readFileSecret(content: string | Buffer) {
  const folder = await mkdtemp(path.join(tmpdir(), 'portreeve-secret-'))
  const file = path.join(folder, 'secret')
  try {
    await writeFile(file, content)
    const result = await resolveSecret({ file }, {})
    return result.ok ? result : { ...result, reason: result.reason.replace(file, 'FILE') }
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('reads a variable as it is', async () => {
  const result = await resolveSecret({ env: 'NAME' }, { NAME: ' hunter2 \n' })
  expect(result).toEqual({ ok: true, value: ' hunter2 \n' })
})

test.each([
  ['is missing', {}, 'the variable NAME is not set'],
  ['is empty', { NAME: '' }, 'the variable NAME is empty'],
  ['is too long', { NAME: 'x'.repeat(4097) }, 'the variable NAME holds more than 4096 characters'],
])('refuses a variable that %s', async (_name, environment, reason) => {
  expect(await resolveSecret({ env: 'NAME' }, environment)).toEqual({ ok: false, reason })
})

test.each([
  ['without the line break at its end', 'hunter2\n', 'hunter2'],
  ['without that of Windows', 'hunter2\r\n', 'hunter2'],
  ['with every other line break', '\nhunter\n2\n\n', '\nhunter\n2\n'],
  ['of the greatest length', `${'€'.repeat(4096)}\n`, '€'.repeat(4096)],
])('reads a file %s', async (_name, content, value) => {
  expect(await readFileSecret(content)).toEqual({ ok: true, value })
})

test.each([
  ['is empty but for a line break', '\n', 'the file FILE is empty'],
  ['is too long', 'x'.repeat(4097), 'the file FILE holds more than 4096 characters'],
  ['is huge', 'x'.repeat(1_000_000), 'the file FILE holds more than 4096 characters'],
  ['is no text', Buffer.from([0xc3, 0x28]), 'the file FILE is not UTF-8'],
])('refuses a file that %s', async (_name, content, reason) => {
  expect(await readFileSecret(content)).toEqual({ ok: false, reason })
})

test('refuses what is no file', async () => {
  expect(await resolveSecret({ file: tmpdir() }, {})).toEqual({
    ok: false,
    reason: `the file ${tmpdir()} is not a file`,
  })
  const missing = await resolveSecret({ file: '/nowhere/at/all' }, {})
  expect(missing).toEqual({ ok: false, reason: 'the file /nowhere/at/all does not exist' })
})

test('bounds the length of passwords and of chosen client secrets', () => {
  expect(judgePassword('x'.repeat(7))).toBe('a password has at least 8 characters')
  expect(judgePassword('x'.repeat(8))).toBeUndefined()
  expect(judgePassword('x'.repeat(257))).toBe('a password has at most 256 characters')
  expect(judgeClientSecret('x'.repeat(15))).toBe('a client secret has at least 16 characters')
  expect(judgeClientSecret('x'.repeat(16))).toBeUndefined()
  expect(judgeClientSecret('x'.repeat(257))).toBe('a client secret has at most 256 characters')
  expect(judgeClientSecret(`${'x'.repeat(16)}é`)).toBe('a client secret is printable ASCII')
})

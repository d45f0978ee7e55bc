import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { makeFolder } from '../support/folder.ts'
import { close, listen, portOf } from '../support/web-demo.ts'

const MAIN = path.resolve(import.meta.dirname, '../../client-demo/web/main.ts')
const NEEDED = [
  '--issuer',
  'http://127.0.0.1:1',
  '--client-id',
  'web',
  '--api',
  'http://127.0.0.1:1',
]

const start = (...args: string[]) =>
  spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000 })

const run = async (...args: string[]) => {
  const child = start(...args)
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  if (child.exitCode === null) await once(child, 'exit')
  return { code: child.exitCode, stdout, stderr }
}

test('the web demo runs without anything behind it, and ends when it is told to', async () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const child = start(...NEEDED, '--port', '0', '--json')
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
    const { url } = JSON.parse(line) as { url: string }
    expect(url).toMatch(/^http:\/\/localhost:\d+$/)
    const page = await fetch(url)
    expect([page.status, (await page.text()).includes('action="/sign-in"')]).toEqual([200, true])
    child.kill(signal)
    expect(await once(child, 'exit')).toEqual([0, null])
  }
})

test('the web demo says which port is taken and how to choose another', async () => {
  const taken = await listen()
  const port = portOf(taken)
  const { code, stdout, stderr } = await run(...NEEDED, '--port', String(port))
  await close(taken)
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toContain(`Port ${port} is taken`)
  expect(stderr).toContain('--port')
})

test('the web demo says which secret file it cannot read, and refuses an empty one', async () => {
  using folder = makeFolder()
  const file = folder.file('secret')
  const missing = await run(...NEEDED, '--port', '0', '--client-secret-file', file)
  expect([missing.code, missing.stderr]).toEqual([1, `--client-secret-file: cannot read ${file}\n`])
  writeFileSync(file, '\n')
  const empty = await run(...NEEDED, '--port', '0', '--client-secret-file', file)
  expect([empty.code, empty.stderr]).toEqual([1, `--client-secret-file: ${file} is empty\n`])
})

test('the web demo refuses wrong usage with exit code 2', async () => {
  for (const args of [
    [],
    [...NEEDED, '--port', '70000'],
    [...NEEDED, '--port', 'x'],
    [...NEEDED, '--issuer', 'nonsense'],
    [...NEEDED, '--issuer', 'http://id.example'],
    [...NEEDED, '--api', 'ftp://127.0.0.1'],
    [...NEEDED, 'more'],
    [...NEEDED, '--unknown'],
  ]) {
    const { code, stdout, stderr } = await run(...args)
    expect([args, code, stdout]).toEqual([args, 2, ''])
    expect(stderr).toContain('error: ')
  }
})

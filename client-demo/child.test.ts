import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { ROOT, startChild, type Child } from './child.ts'

const never = new AbortController().signal

/** Starts a program of these lines. */
async function start(source: string, stopped = never): Promise<Child> {
  await using folder = await mkdtempDisposable(path.join(tmpdir(), 'portreeve-child-'))
  const file = path.join(folder.path, 'program.mjs')
  await writeFile(file, source)
  const environment = { SECRET: 'of the child' }
  return await startChild(
    { name: 'program', file: path.relative(ROOT, file), args: ['--json'], environment },
    stopped,
  )
}

const READY = `console.log(JSON.stringify({ url: 'x', secret: process.env.SECRET, home: process.env.HOME }))
setInterval(() => {}, 1000)`

test('is ready when it says so, and gets no other environment than its own', async () => {
  await using child = await start(READY)
  expect(child.ready).toEqual({ url: 'x', secret: 'of the child' })
})

test('ends with its scope', async () => {
  const child = await start(READY)
  await child[Symbol.asyncDispose]()
  expect(() => process.kill(child.pid, 0)).toThrow('ESRCH')
})

test('tells its last lines when it ends before it is ready', async () => {
  const source = `for (let n = 1; n <= 40; n++) console.error('line ' + n)
process.exitCode = 3`
  const problem: unknown = await start(source).catch((error: unknown) => error)
  expect(String(problem)).toMatch(/the program ended by itself \(exit code 3\)/)
  expect(String(problem)).toContain('line 40')
  expect(String(problem)).not.toContain('line 9\n')
})

test('says in a sentence what a program says in JSON', async () => {
  const document = JSON.stringify({
    error: { code: 'misconfigured', message: 'One mistake:\n  it' },
  })
  const source = `console.error(${JSON.stringify(document)}); console.error('{"level":30}'); console.error('null')
process.exitCode = 1`
  const problem: unknown = await start(source).catch((error: unknown) => error)
  expect(String(problem)).toMatch(/lines:\n {2}One mistake:\n {4}it\n {2}\{"level":30\}\n {2}null$/)
})

test('tells why it died later', async () => {
  await using child = await start(READY)
  process.kill(child.pid, 'SIGKILL')
  expect((await child.died).message).toMatch(/^the program ended by itself \(SIGKILL\)/)
})

test('is not awaited when the person has stopped the demonstration', async () => {
  const stop = new AbortController()
  const source = `console.error('started'); setInterval(() => {}, 1000)`
  const started = start(source, stop.signal)
  setImmediate(() => stop.abort())
  await expect(started).rejects.toThrow(/abort/i)
})

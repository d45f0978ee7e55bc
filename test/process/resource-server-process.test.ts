import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../resource-server/clock.ts'
import { makeFolder } from '../support/folder.ts'
import { API, createKey, signToken, startIssuer } from '../support/issuer.ts'
import { startProgram, type Program } from '../support/program.ts'

const NOTES_API = 'resource-server/demo/notes.ts'
const GOOD = ['--issuer', 'http://127.0.0.1:9', '--audience', API]

async function urlOf(program: Program): Promise<string> {
  const line = await program.firstLine
  if (line === undefined) throw new Error((await program.ended).stderr)
  return (JSON.parse(line) as { url: string }).url
}

describe('the notes API as a process', () => {
  test('says where it listens, serves, and ends cleanly at a signal', async () => {
    const key = await createKey('ES256')
    await using issuer = await startIssuer(systemClock, key)
    const options = ['--audience', 'https://other.example/', '--port', '0', '--json']
    const args = ['--issuer', issuer.url, '--audience', API, ...options]
    await using program = startProgram(NOTES_API, args)
    const url = await urlOf(program)
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
    for (const aud of [API, 'https://other.example/']) {
      const authorization = `Bearer ${signToken(key, issuer.claims({ aud }))}`
      const answer = await fetch(`${url}/notes`, { headers: { authorization } })
      expect([answer.status, await answer.json()]).toEqual([200, { notes: [] }])
    }
    program.signal('SIGTERM')
    expect(await program.ended).toMatchObject({ code: 0, stderr: '' })
  })

  test('starts while the issuer is not up, and answers 503 meanwhile', async () => {
    const key = await createKey('ES256')
    const issuer = await startIssuer(systemClock, key)
    const token = signToken(key, issuer.claims())
    await issuer[Symbol.asyncDispose]()
    const args = ['--issuer', issuer.url, '--audience', API, '--port', '0', '--json']
    await using program = startProgram(NOTES_API, args)
    const url = await urlOf(program)
    expect((await fetch(`${url}/healthz`)).status).toBe(200)
    const answer = await fetch(`${url}/notes`, { headers: { authorization: `Bearer ${token}` } })
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5'])
    program.signal('SIGINT')
    const { code, stderr } = await program.ended
    expect(code).toBe(0)
    const logged = JSON.parse(stderr) as Record<string, unknown>
    expect(logged).toMatchObject({
      event: 'refused',
      refusal: { kind: 'keys_unavailable', cause: { code: 'unreachable' } },
    })
    expect(stderr).not.toContain(token)
  })

  test('names the port that is taken and the option that changes it', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    await using cleanUp = new AsyncDisposableStack()
    cleanUp.defer(() => void other.close())
    const port = String((other.address() as AddressInfo).port)
    await using program = startProgram(NOTES_API, [...GOOD, '--port', port])
    const { code, stdout, stderr } = await program.ended
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(new RegExp(`^Port ${port} on 127\\.0\\.0\\.1 is taken.* --port\\.\n$`))
  })

  test('names the database that does not open and the option that changes it', async () => {
    using folder = makeFolder()
    await using program = startProgram(NOTES_API, [
      ...GOOD,
      '--port',
      '0',
      '--database',
      folder.path,
    ])
    const { code, stderr } = await program.ended
    expect(code).toBe(1)
    expect(stderr).toMatch(/^The database .* cannot be opened: .* --database\.\n$/)
  })

  test('explains its usage where it is used wrongly', async () => {
    await using program = startProgram(NOTES_API, [...GOOD, '--colour'])
    const { code, stdout, stderr } = await program.ended
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/^Unknown option '--colour'.*\n\nUsage: /s)
  })

  test('explains its usage when asked', async () => {
    await using program = startProgram(NOTES_API, ['--help'])
    const { code, stdout, stderr } = await program.ended
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/^Usage: /)
  })
})

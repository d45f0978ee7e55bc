import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { buildWorld } from '../../client-demo/world.ts'
import { createBrowser } from '../support/browser.ts'
import { makeFolder } from '../support/folder.ts'
import { startProgram } from '../support/program.ts'
import { PASSWORDS, startServer, WEB_SECRET } from '../support/server.ts'

const EXAMPLES = path.resolve(import.meta.dirname, '../../examples')
const EXAMPLE = path.join(EXAMPLES, 'your-own-client.ts')

test.each(['your-own-client.ts', 'your-own-api.ts'])('%s is under 30 lines', async (name) => {
  const lines = (await readFile(path.join(EXAMPLES, name), 'utf8')).trimEnd().split('\n')
  expect(lines.length).toBeLessThan(30)
})

/** Runs the example and is Alice in front of it; answers how it ended and what it printed. */
async function signInAt(
  issuer: string,
  password: string,
  args: readonly string[],
): Promise<{ readonly ended: unknown[]; readonly output: string }> {
  const client = spawn(process.execPath, [EXAMPLE, issuer, ...args], { env: {} })
  const ended = once(client, 'close')
  const lines: string[] = []
  const reader = createInterface(client.stdout).on('line', (line) => lines.push(line))
  client.stderr.on('data', (chunk: Buffer) => lines.push(chunk.toString()))

  const [first] = (await once(reader, 'line')) as [string]
  const browser = createBrowser(issuer)
  const page = await browser.get(first.replace('Open ', ''))
  const consent = await browser.submit(page, '/sign-in', { username: 'alice', password })
  const { location = '' } = await browser.submit(consent, '/consent')
  const back = await fetch(location)
  expect(await back.text()).toContain('You are signed in')
  return { ended: await ended, output: lines.join('\n') }
}

test('your own client signs a person in and calls an API for them', async () => {
  await using world = await buildWorld(new AbortController().signal)
  const { issuer, api, secrets } = world
  const { ended, output } = await signInAt(issuer, secrets.ALICE_PASSWORD, [api])
  expect(ended).toEqual([0, null])
  expect(output).toMatch(/sub: 'acc_/)
  expect(output).toContain(`iss: '${issuer}'`)
  expect(output).toContain('{ notes: [] }')
})

test('your own client can be another one, with a secret', async () => {
  using folder = makeFolder()
  const secretFile = path.join(folder.path, 'secret')
  await writeFile(secretFile, `${WEB_SECRET}\n`)
  await using server = await startServer((config) => ({
    ...config,
    clients: config.clients?.map((client) =>
      client.id === 'web'
        ? { ...client, applicationType: 'native', redirectUris: ['http://127.0.0.1/back'] }
        : client,
    ),
  }))
  await using api = startProgram('examples/your-own-api.ts', [server.issuer, '0'])
  const port = /port: (\d+)/.exec((await api.firstLine) ?? '')?.[1]
  const { ended, output } = await signInAt(server.issuer, PASSWORDS.alice, [
    `http://127.0.0.1:${port}`,
    'web',
    'http://127.0.0.1:0/back',
    secretFile,
  ])
  expect(ended).toEqual([0, null])
  expect(output).toContain("aud: 'web'")
  expect(output).toMatch(/hello: 'acc_/)
  expect(output).not.toContain(WEB_SECRET)
})

test('your own client says on one line that its place for the answer is taken', async () => {
  await using taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const callback = `http://127.0.0.1:${port}/callback`
  const args = ['http://127.0.0.1:9', 'http://127.0.0.1:9', 'web', callback]
  const ended = promisify(execFile)(process.execPath, [EXAMPLE, ...args], { env: {} })
  await expect(ended).rejects.toMatchObject({
    code: 1,
    stdout: '',
    stderr: `give another redirect URI: listen EADDRINUSE: address already in use 127.0.0.1:${port}\n`,
  })
})

test('your-own-api.ts says on one line why it is 503, with no stack', async () => {
  await using api = startProgram('examples/your-own-api.ts', ['http://127.0.0.1:9', '0'])
  const port = /port: (\d+)/.exec((await api.firstLine) ?? '')?.[1]
  const token = `${Buffer.from('{"alg":"ES256","typ":"at+jwt","kid":"k"}').toString('base64url')}.e30.AAAA`
  const headers = { authorization: `Bearer ${token}` }
  const { status } = await fetch(`http://127.0.0.1:${port}/`, { headers })
  expect(status).toBe(503)
  api.signal('SIGTERM')
  const { stderr } = await api.ended
  const [line = '', ...more] = stderr.trimEnd().split('\n')
  expect(more).toEqual([])
  expect(JSON.parse(line)).toMatchObject({
    kind: 'keys_unavailable',
    cause: { code: 'unreachable', message: expect.stringContaining('127.0.0.1:9') as string },
  })
})

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempDisposable, readFile, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { createBrowser, type Browser } from '../support/browser.ts'
import { CLI, isAlive, runDemo, type Ended } from '../support/demo-run.ts'
import { authorizationUrl, makePkce, requestToken } from '../support/flow.ts'

interface Running {
  readonly issuer: string
  readonly api: string
  readonly web: string
  readonly secretsFile: string
  readonly processes: readonly { readonly name: string; readonly pid: number }[]
}

const FREE_PORTS = ['--port', '0', '--api-port', '0', '--web-port', '0']

/** Starts all of it, lets `visit` look, and stops it. */
async function startAndVisit(
  folder: string,
  visit: (running: Running) => Promise<void>,
): Promise<{ readonly ended: Ended; readonly running: Running }> {
  let visited: Promise<void> | undefined
  const args = ['start', ...FREE_PORTS, '--data', folder, '--json']
  const ended = await runDemo(args, (line, { kill }) => {
    visited ??= visit(JSON.parse(line) as Running).finally(() => kill('SIGINT'))
  })
  await visited
  return { ended, running: JSON.parse(ended.stdout) as Running }
}

test('start runs the servers until stopped, and keeps people and keys for the next time', async () => {
  await using folder = await mkdtempDisposable(path.join(tmpdir(), 'portreeve-start-test-'))
  const keys: unknown[] = []
  const secrets: string[] = []
  const visit = async ({ issuer, api, web, secretsFile }: Running): Promise<void> => {
    const { keys: published } = (await (await fetch(`${issuer}/jwks`)).json()) as { keys: unknown }
    keys.push(published)
    expect((await fetch(`${api}/notes`)).status).toBe(401)
    expect((await fetch(web)).status).toBe(200)
    expect((await stat(secretsFile)).mode & 0o777).toBe(0o600)
    secrets.push(await readFile(secretsFile, 'utf8'))
  }
  for (let round = 0; round < 2; round += 1) {
    const { ended, running } = await startAndVisit(folder.path, visit)
    expect({ code: ended.code, stderr: ended.stderr }).toEqual({ code: 0, stderr: '' })
    expect(running.processes).toHaveLength(3)
    expect(running.processes.filter(({ pid }) => isAlive(pid))).toEqual([])
    for (const secret of Object.values(JSON.parse(secrets[0] ?? '') as object)) {
      expect(ended.stdout).not.toContain(secret)
    }
  }
  expect(keys[1]).toEqual(keys[0])
  expect(secrets[1]).toBe(secrets[0])
})

test('start: its API refuses the token of an app whose access was removed, within a second', async () => {
  await using folder = await mkdtempDisposable(path.join(tmpdir(), 'portreeve-start-test-'))
  const { ended } = await startAndVisit(folder.path, async ({ issuer, api, secretsFile }) => {
    const secrets = JSON.parse(await readFile(secretsFile, 'utf8')) as { ALICE_PASSWORD: string }
    const browser = createBrowser(issuer)
    const token = await signInAlice(issuer, browser, secrets.ALICE_PASSWORD)
    const askApi = async () => {
      const answer = await fetch(`${api}/notes`, { headers: { authorization: `Bearer ${token}` } })
      return answer.status
    }
    expect(await askApi()).toBe(200)
    const account = await browser.get(`${issuer}/account`)
    await browser.submit(account, '/account/apps/remove')
    await expect.poll(askApi, { timeout: 1000, interval: 10 }).toBe(401)
  })
  expect({ code: ended.code, stderr: ended.stderr }).toEqual({ code: 0, stderr: '' })
})

async function signInAlice(issuer: string, browser: Browser, password: string): Promise<string> {
  const app = { client_id: 'portreeve-demo', redirect_uri: 'http://127.0.0.1:9/callback' }
  const { verifier, challenge } = makePkce()
  const scope = 'openid notes:read'
  const first = await browser.get(authorizationUrl(issuer, challenge, { ...app, scope }))
  const consent = await browser.submit(first, '/sign-in', { username: 'alice', password })
  const { location = '' } = await browser.submit(consent, '/consent')
  const code = new URL(location).searchParams.get('code') ?? ''
  const request = { grant_type: 'authorization_code', code, code_verifier: verifier, ...app }
  const { body } = await requestToken(issuer, request, {})
  return body.access_token
}

test('start ends with the npm that was told to end', async () => {
  await using folder = await mkdtempDisposable(path.join(tmpdir(), 'portreeve-start-test-'))
  const args = ['start', ...FREE_PORTS, '--data', folder.path, '--json']
  // As npm runs it: in a shell, which ends at the signal and passes nothing on.
  const shell = spawn('sh', ['-c', '"$0" "$@"; exit', process.execPath, CLI, ...args], {
    env: { TMPDIR: folder.path, npm_lifecycle_event: 'start' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const closed = once(shell.stdout, 'close')
  const [line] = (await once(createInterface(shell.stdout), 'line')) as [string]
  const { processes } = JSON.parse(line) as Running
  expect(processes.every(({ pid }) => isAlive(pid))).toBe(true)
  shell.kill('SIGTERM')
  // All of them hold it: it closes when the last has ended.
  await closed
  expect(processes.filter(({ pid }) => isAlive(pid))).toEqual([])
})

test('start says that it stops', async () => {
  await using folder = await mkdtempDisposable(path.join(tmpdir(), 'portreeve-start-test-'))
  const args = ['start', ...FREE_PORTS, '--data', folder.path]
  const { code, stdout } = await runDemo(args, (line, { kill }) => {
    if (line === 'Stop it with Ctrl+C.') kill('SIGINT')
  })
  expect(code).toBe(0)
  expect(stdout).toMatch(/\nStop it with Ctrl\+C\.\n\nStopping them …$/)
})

test('start ends all of it, with a reason, when one of them ends', async () => {
  await using folder = await mkdtempDisposable(path.join(tmpdir(), 'portreeve-start-test-'))
  const args = ['start', ...FREE_PORTS, '--data', folder.path, '--json']
  const { code, stdout, stderr } = await runDemo(args, (line) => {
    const { processes } = JSON.parse(line) as Running
    process.kill(processes[1]?.pid ?? 0, 'SIGKILL')
  })
  expect(code).toBe(1)
  expect(stderr).toMatch(/^error: the notes API ended by itself \(SIGKILL\)/)
  const { processes } = JSON.parse(stdout) as Running
  expect(processes.filter(({ pid }) => isAlive(pid))).toEqual([])
})

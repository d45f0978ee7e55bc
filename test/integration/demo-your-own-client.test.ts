import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { buildWorld } from '../../client-demo/world.ts'
import { createBrowser } from '../support/browser.ts'

const EXAMPLE = path.resolve(import.meta.dirname, '../../examples/your-own-client.ts')

test('your own client is under 30 lines', async () => {
  const lines = (await readFile(EXAMPLE, 'utf8')).trimEnd().split('\n')
  expect(lines.length).toBeLessThan(30)
})

test('your own client signs a person in and calls an API for them', async () => {
  await using world = await buildWorld(new AbortController().signal)
  const { issuer, api, secrets } = world
  const client = spawn(process.execPath, [EXAMPLE, issuer, api], { env: {} })
  const ended = once(client, 'close')
  const lines: string[] = []
  const reader = createInterface(client.stdout).on('line', (line) => lines.push(line))
  client.stderr.on('data', (chunk: Buffer) => lines.push(chunk.toString()))

  const [first] = (await once(reader, 'line')) as [string]
  const browser = createBrowser(issuer)
  const page = await browser.get(first.replace('Open ', ''))
  const typed = { username: 'alice', password: secrets.ALICE_PASSWORD }
  const consent = await browser.submit(page, '/sign-in', typed)
  const { location = '' } = await browser.submit(consent, '/consent')
  const back = await fetch(location)
  expect(await back.text()).toContain('You are signed in')

  expect(await ended).toEqual([0, null])
  const output = lines.join('\n')
  expect(output).toMatch(/sub: 'acc_/)
  expect(output).toContain(`iss: '${issuer}'`)
  expect(output).toContain('{ notes: [] }')
})

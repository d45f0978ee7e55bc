import { execFile } from 'node:child_process'
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { findFreePort } from '../support/engines/service.ts'
import { decodeJwt } from '../support/flow.ts'
import { runProgram, startServerProcess } from '../support/process.ts'

/** What a reader of docs/client-certificates.md gets who does what it says. */
const ROOT = path.resolve(import.meta.dirname, '../..')
const run = promisify(execFile)
const PAGE = await readFile(path.join(ROOT, 'docs/client-certificates.md'), 'utf8')

/** The blocks of a language, in their order. */
function listBlocks(language: string): string[] {
  return [...PAGE.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].flatMap(([, name, text = '']) =>
    name === language ? [text] : [],
  )
}

function findBlock(language: string, start: string): string {
  const found = listBlocks(language).find((block) => block.includes(start))
  if (found === undefined) throw new TypeError(`the page has no block with ${start}`)
  return found
}

test('its blocks run where they are pasted, in zsh as well', () => {
  for (const block of listBlocks('sh')) {
    // A shell that somebody types into takes no comments there, and splits no variable into words.
    expect(block).not.toMatch(/^\s*#/m)
    expect(block.replaceAll(/"[^"]*"/g, '')).not.toContain('$')
  }
})

test('the page leads to tokens that are bound to certificates', { timeout: 120_000 }, async () => {
  await using folder = await mkdtempDisposable(path.join(tmpdir(), 'portreeve-certificates-'))
  const port = await findFreePort()
  const shell = async (script: string) => {
    // `npx` would look for the programs of this clone on the registry: they are on the path.
    const here = script.replaceAll('3443', String(port)).replaceAll('npx node', 'node')
    const options = { cwd: folder.path, timeout: 60_000 }
    const { stdout } = await run('bash', ['-euc', here], options)
    return stdout
  }
  const save = (name: string, text: string) => writeFile(path.join(folder.path, name), text)
  await shell(findBlock('sh', 'authority.key'))
  const printed = await shell('openssl x509 -in robot.pem -noout -subject -nameopt RFC2253')
  expect(findBlock('json', 'tls_client_auth')).toContain(printed.trim().replace('subject=', ''))
  const config = path.join(folder.path, 'portreeve.config.json')
  const settings = findBlock('json', '"listener"').replace('3443', String(port))
  await save('portreeve.config.json', settings)
  await save('robot.json', findBlock('json', 'tls_client_auth'))
  await save(
    'wrong.json',
    '{"authMethod":"tls_client_auth","certificate":{"subjectDn":"CN=other"}}',
  )

  const addClient = (name: string) => {
    const grant = ['--grant', 'client_credentials', '--scope', 'notes:read']
    const args = [
      'clients',
      'add',
      name,
      ...grant,
      '--settings',
      `${name}.json`,
      '--config',
      config,
    ]
    return runProgram(args, { folder: folder.path })
  }
  const added = await addClient('robot')
  expect([added.code, added.stdout]).toEqual([
    0,
    expect.stringContaining('CN=robot,O=Example,C=DE'),
  ])
  expect((await addClient('wrong')).code).toBe(0)
  const ownBlock = findBlock('sh', 'own.pem')
  const [makeOwn = ''] = ownBlock.split('npx portreeve')
  await shell(makeOwn)
  expect((await addClient('own')).code).toBe(0)

  const options = { folder: folder.path, environment: { PORT: '0' } }
  await using server = await startServerProcess(config, options)
  expect(JSON.parse(server.printed().split('\n')[0] ?? '')).toMatchObject({
    certificates: `https://localhost:${port}`,
  })
  const readCurl = (block: string) => block.split(/^(?=curl)/m)[1] ?? ''
  const curl = readCurl(findBlock('sh', '--settings robot.json'))
  const own = readCurl(ownBlock)
  for (const [sub, request] of [
    ['robot', curl],
    ['own', own],
  ] as const) {
    const bound = JSON.parse(await shell(request)) as Record<string, string>
    expect(decodeJwt(bound['access_token'] ?? '').claims).toMatchObject({
      sub,
      cnf: { 'x5t#S256': expect.stringMatching(/^[\w-]{43}$/) },
    })
  }
  const refusals = [
    [
      curl.replace('client_id=robot', 'client_id=wrong'),
      'expected subjectDn CN=other, got CN=robot',
    ],
    [curl.replace(/--cert \S+ --key \S+/, ''), 'client certificate was not provided'],
    [curl.replaceAll(/--(cert|key) robot/g, '--$1 own'), 'client certificate was not verified'],
    [own.replaceAll(/--(cert|key) own/g, '--$1 robot'), 'unregistered client certificate provided'],
  ] as const
  for (const [request, detail] of refusals) {
    expect(JSON.parse(await shell(request))).toMatchObject({ error: 'invalid_client' })
    expect(server.logged()).toContain(detail)
  }
})

import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { claimPorts } from './ports.ts'

async function takePort(): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

test('names every port that is taken, what it is for, and a command that would do', async () => {
  await using one = await takePort()
  await using other = await takePort()
  const wanted = [
    { what: 'the authorization server', port: one.port, option: '--port' },
    { what: 'the notes API', port: 0, option: '--api-port' },
    { what: 'the web demo', port: other.port, option: '--web-port' },
  ]
  const { message } = await claimPorts(wanted).then(
    () => new Error('none is taken'),
    (error: Error) => error,
  )
  expect(message).toContain(`port ${one.port} for the authorization server is taken\n`)
  expect(message).toContain(`port ${other.port} for the web demo is taken\n`)
  expect(message).not.toContain('notes API')
  const [, port = '', webPort = ''] =
    /npm start -- --port (\d+) --web-port (\d+)$/.exec(message) ?? []
  const others = [
    { what: 'x', port: Number(port), option: '--x' },
    { what: 'y', port: Number(webPort), option: '--y' },
  ]
  expect(await claimPorts(others)).toEqual([Number(port), Number(webPort)])
})

test('replaces each 0 by a free port of its own', async () => {
  const free = { what: 'x', port: 0, option: '--x' }
  const ports = await claimPorts([free, free, free])
  expect(new Set(ports).size).toBe(3)
  expect(ports).not.toContain(0)
})

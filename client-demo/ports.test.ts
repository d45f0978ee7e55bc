import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { claimPorts } from './ports.ts'

test('names a port that is taken, what it is for and the option that changes it', async () => {
  await using server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const wanted = [{ what: 'the notes API', port, option: '--api-port' }]
  await expect(claimPorts(wanted)).rejects.toThrow(
    `port ${port} for the notes API is taken: stop what listens there, or choose another one with --api-port`,
  )
})

test('replaces each 0 by a free port of its own', async () => {
  const free = { what: 'x', port: 0, option: '--x' }
  const ports = await claimPorts([free, free, free])
  expect(new Set(ports).size).toBe(3)
  expect(ports).not.toContain(0)
})

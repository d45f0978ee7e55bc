import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { request as sendRequest, type ClientRequest, type IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../resource-server/clock.ts'
import { startDemo, startUpstream, type DemoProgram, type Upstream } from '../support/demo.ts'
import { API, createKey, signToken, startIssuer } from '../support/issuer.ts'

const key = await createKey('ES256')
const MIB = 2 ** 20

type Answer = Parameters<typeof startUpstream>[0]

interface World extends AsyncDisposable {
  readonly gateway: DemoProgram
  readonly upstream: Upstream
  readonly open: (method: string, headers?: Record<string, string>) => ClientRequest
}

/** The gateway as a process of its own, whose memory is nobody else's. */
async function start(answer: Answer): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const issuer = cleanUp.use(await startIssuer(systemClock, key))
  const upstream = cleanUp.use(await startUpstream(answer))
  const args = ['--issuer', issuer.url, '--audience', API, '--route', `/=${upstream.url}`]
  const gateway = cleanUp.use(await startDemo('gateway.ts', args))
  const authorization = `Bearer ${signToken(key, issuer.claims())}`
  const running = cleanUp.move()
  return {
    gateway,
    upstream,
    open: (method, headers = {}) =>
      sendRequest(gateway.url, { method, headers: { authorization, ...headers } }),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  }
}

async function untilAnswered(request: ClientRequest): Promise<IncomingMessage> {
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return response
}

async function nextText(stream: IncomingMessage): Promise<string> {
  const [chunk] = (await once(stream, 'data')) as [Buffer]
  return chunk.toString()
}

/** Its memory by now, which is the most that `readPeakMemory` will have seen: its start took more. */
function forgetPeakMemory(program: DemoProgram): number {
  writeFileSync(`/proc/${program.pid}/clear_refs`, '5')
  return readPeakMemory(program)
}

/** The most memory that the process has had since. */
function readPeakMemory({ pid }: DemoProgram): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(status) ?? []
  return Number(kilobytes) * 1024
}

/** Blocks of 64 KiB, no two alike; notes how many bytes were taken. */
function produce(bytes: number, taken: { bytes: number }): Readable {
  function* blocks(): Generator<Buffer> {
    while (taken.bytes < bytes) {
      const block = Buffer.alloc(65_536, taken.bytes / 65_536)
      taken.bytes += block.length
      yield block
    }
  }
  return Readable.from(blocks(), { objectMode: false })
}

async function count(stream: Readable): Promise<number> {
  let bytes = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) bytes += chunk.length
  return bytes
}

describe('the gateway lets bodies flow', () => {
  test('in both directions at once: each part is there before the next is sent', async () => {
    await using world = await start((request, response) => {
      response.flushHeaders()
      request.pipe(response)
    })
    const request = world.open('POST')
    request.flushHeaders()
    // There are headers before there is any body.
    const response = await untilAnswered(request)
    for (const part of ['one', 'two', 'three']) {
      request.write(part)
      expect(await nextText(response)).toBe(part)
    }
    request.end()
    await once(response.resume(), 'end')
    expect(response.complete).toBe(true)
  })

  test('50 MiB up and down, in bounded memory', async () => {
    await using world = await start((request, response) => {
      void (async () => {
        const received = await count(request)
        const headers = { 'Content-Length': String(50 * MIB), 'X-Received': String(received) }
        response.writeHead(200, headers)
        await pipeline(produce(50 * MIB, { bytes: 0 }), response)
      })()
    })
    const warmUp = world.open('GET').end()
    await count(await untilAnswered(warmUp))
    const before = forgetPeakMemory(world.gateway)
    const request = world.open('POST')
    const [response] = await Promise.all([
      untilAnswered(request),
      pipeline(produce(50 * MIB, { bytes: 0 }), request),
    ])
    expect(response.headers['x-received']).toBe(String(50 * MIB))
    expect(await count(response)).toBe(50 * MIB)
    expect(readPeakMemory(world.gateway) - before).toBeLessThan(40 * MIB)
  })

  test('no faster than the client reads', async () => {
    const taken = { bytes: 0 }
    await using world = await start((_request, response) => {
      pipeline(produce(200 * MIB, taken), response).catch(() => {})
    })
    const request = world.open('GET').end()
    const response = await untilAnswered(request)
    const before = forgetPeakMemory(world.gateway)
    await untilStill(taken)
    // What the kernel holds for two connections.
    expect(taken.bytes).toBeLessThan(100 * MIB)
    expect(readPeakMemory(world.gateway) - before).toBeLessThan(40 * MIB)
    response.destroy()
    await vi.waitUntil(() => world.upstream.requests[0]?.socket.destroyed, { timeout: 10_000 })
  })

  test('no faster than the service reads', async () => {
    await using world = await start(() => {})
    const taken = { bytes: 0 }
    const request = world.open('POST')
    request.on('error', () => {})
    pipeline(produce(100 * MIB, taken), request).catch(() => {})
    await untilStill(taken)
    expect(taken.bytes).toBeLessThan(100 * MIB)
    request.destroy()
    const [received] = world.upstream.requests
    received?.resume().on('error', () => {})
    await vi.waitUntil(() => received?.socket.destroyed, { timeout: 10_000 })
    expect(received?.complete).toBe(false)
  })

  test('a service that breaks off is no end of the answer', async () => {
    await using world = await start((_request, response) => {
      response.writeHead(200).write('first', () => response.socket?.resetAndDestroy())
    })
    const response = await untilAnswered(world.open('GET').end())
    await expect(count(response)).rejects.toThrow('aborted')
    expect(response.complete).toBe(false)
  })

  test('an answer that is under way at SIGTERM is given whole', async () => {
    let finish = (): void => {}
    await using world = await start((_request, response) => {
      response.writeHead(200).write('first')
      finish = () => void response.end('last')
    })
    const response = await untilAnswered(world.open('GET').end())
    expect(await nextText(response)).toBe('first')
    world.gateway.signal('SIGTERM')
    await vi.waitUntil(() => refusesConnections(world.gateway.url), { timeout: 10_000 })
    finish()
    expect(await nextText(response)).toBe('last')
    expect(await world.gateway.ended).toMatchObject({ code: 0, stderr: '' })
  })
})

/** Waits until nothing has been taken for a second. */
async function untilStill(taken: { readonly bytes: number }): Promise<void> {
  let last = -1
  let same = 0
  await vi.waitUntil(
    () => {
      same = taken.bytes === last && last > 0 ? same + 1 : 0
      last = taken.bytes
      return same === 20
    },
    { timeout: 20_000, interval: 50 },
  )
}

async function refusesConnections(url: string): Promise<boolean> {
  try {
    await fetch(url)
    return false
  } catch {
    return true
  }
}

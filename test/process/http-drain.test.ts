import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { basic } from '../support/flow.ts'
import { SERVICE_SECRET, startServer } from '../support/server.ts'

const BODY = 'grant_type=client_credentials&scope=notes:read'

/** A connection on which a request has begun to arrive. */
async function begin(url: string, bytes: string) {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  socket.write(bytes)
  const answer = text(socket)
  return { finish: (rest: string) => void socket.write(rest), answer }
}

function refuses(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  return new Promise((resolve) => {
    socket.on('connect', () => {
      socket.destroy()
      resolve(false)
    })
    socket.on('error', () => resolve(true))
  })
}

describe('a server that is told to stop', () => {
  test('answers what is under way, takes nothing new, says so to probes, and asks for no more on their connections', async () => {
    const server = await startServer()
    const { host } = new URL(server.url)
    const post = await begin(
      server.url,
      [
        'POST /token HTTP/1.1',
        `Host: ${host}`,
        `Authorization: ${basic('service', SERVICE_SECRET)}`,
        'Content-Type: application/x-www-form-urlencoded',
        `Content-Length: ${BODY.length}`,
        '',
        BODY.slice(0, 10),
      ].join('\r\n'),
    )
    const probe = await begin(server.url, `GET /readyz HTTP/1.1\r\nHost: ${host}\r\n`)
    // Both have arrived when a later request on another connection has been answered.
    await fetch(`${server.url}/livez`)
    const startedAt = performance.now()
    const stopped = server[Symbol.asyncDispose]()
    expect(await refuses(server.url)).toBe(true)
    probe.finish('\r\n')
    expect(await probe.answer).toMatch(
      /^HTTP\/1\.1 503 .*\r\nConnection: close\r\n.*"status":"draining"/s,
    )
    post.finish(BODY.slice(10))
    expect(await post.answer).toMatch(
      /^HTTP\/1\.1 200 .*\r\nConnection: close\r\n.*"access_token"/s,
    )
    await stopped
    // A connection that is kept for more would have kept the server for ten seconds.
    expect(performance.now() - startedAt).toBeLessThan(5000)
    expect(server.logged()).toContain('"event":"stopped"')
  })
})

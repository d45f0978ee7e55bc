import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { startServer } from '../support/server.ts'

const FORM = 'Content-Type: application/x-www-form-urlencoded'
/** What the server allows is 15 s, looked at every second. */
const MOST_SECONDS = 20

/** Sends the beginning, then a byte each second; answers what came back and how long it took. */
async function trickle(url: string, beginning: string) {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  const start = performance.now()
  socket.write(beginning)
  socket.on('error', () => {})
  const timer = setInterval(() => socket.write('a'), 1000)
  const answer = await text(socket).catch(() => '')
  clearInterval(timer)
  return { answer, seconds: (performance.now() - start) / 1000 }
}

describe('a client that takes its time', () => {
  test('is told so after 15 seconds, and holds up nobody meanwhile', async () => {
    await using server = await startServer()
    const { host } = new URL(server.url)
    const slow = Promise.all([
      trickle(server.url, `GET /jwks HTTP/1.1\r\nHost: ${host}\r\nX-Slow: `),
      trickle(
        server.url,
        `POST /token HTTP/1.1\r\nHost: ${host}\r\n${FORM}\r\nContent-Length: 500\r\n\r\na`,
      ),
    ])
    expect((await fetch(`${server.url}/jwks`)).status).toBe(200)
    for (const { answer, seconds } of await slow) {
      expect(answer).toMatch(/^HTTP\/1\.1 408 .*X-Request-Id: /s)
      expect(seconds).toBeGreaterThan(10)
      expect(seconds).toBeLessThan(MOST_SECONDS)
    }
    expect(server.logged()).toContain('"status":408')
    expect((await fetch(`${server.url}/livez`)).status).toBe(200)
  })
})

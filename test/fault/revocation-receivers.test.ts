import { once } from 'node:events'
import { IncomingMessage, ServerResponse } from 'node:http'
import { connect, Socket } from 'node:net'
import { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { generateKeyPair, exportJWK } from 'jose'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../auth-server/clock.ts'
import { createFeed } from '../../auth-server/feed/feed.ts'
import type { PrivateJwk } from '../../auth-server/keys/keyset.ts'
import { createLog } from '../../auth-server/log.ts'
import type { NewRevocation } from '../../auth-server/revocation/revocation.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import {
  getListenerToken,
  getPage,
  LISTENER_SECRET,
  openFeed,
  withListener,
} from '../support/feed.ts'
import { decodeJwt } from '../support/flow.ts'
import { makeFolder } from '../support/folder.ts'
import { startServerProcess, writeConfig } from '../support/process.ts'

const HOUR = 3_600_000
const MEBIBYTE = 2 ** 20

function grants(name: string, count: number): NewRevocation[] {
  const now = systemClock.now()
  const about = {
    kind: 'grant',
    reason: 'operator',
    revokedAt: now,
    expiresAt: now + HOUR,
  } as const
  return Array.from({ length: count }, (_, index) => ({ ...about, subject: `${name} ${index}` }))
}

describe('receivers that do not read', () => {
  /** More than the buffers of both ends of a connection hold. */
  const BATCHES = 16
  const BATCH = 2000
  const SLOW = 20
  const PATIENCE_SECONDS = 10
  const MOST_MEBIBYTES = 150

  test('are cut off, cost the server no memory, and miss nothing when they come back', async () => {
    using folder = makeFolder()
    const config = writeConfig(folder.path, withListener)
    const environment = { LISTENER_SECRET }
    await using server = await startServerProcess(config, { folder: folder.path, environment })
    const { issuer } = server
    const token = await getListenerToken(issuer)
    const all = await Promise.all(Array.from({ length: SLOW }, () => openAndStop(issuer, token)))
    using cleanUp = new DisposableStack()
    for (const socket of all) cleanUp.defer(() => socket.destroy())
    await using quick = await openFeed(issuer, token)
    await quick.nextOf('beat')
    await using stores = await openStores(`sqlite:${server.database}`, systemClock)
    const before = readMostBytes(server.pid)
    for (let batch = 0; batch < BATCHES; batch += 1) {
      await stores.revocations.append(grants(`batch ${batch}`, BATCH))
      // No more at once than is given one by one, so that the slow one is not told to skip it.
      for (let count = 0; count < BATCH; count += 1) await quick.nextOf('set')
    }
    // The server keeps what it gives to all, 5000 entries with their signatures. What it would keep for
    // these alone, if it waited for them, is more than twice as much.
    expect((readMostBytes(server.pid) - before) / MEBIBYTE).toBeLessThan(MOST_MEBIBYTES)
    const port = Number(new URL(issuer).port)
    const countOpen = () => all.filter(({ localPort = 0 }) => isEstablished(port, localPort)).length
    await expect.poll(countOpen, { timeout: 2 * PATIENCE_SECONDS * 1000 }).toBe(0)
    // The last event may be a part.
    const read = (await text(all[0] as Socket)).split('\n\n').slice(0, -1)
    const ids = read.flatMap((event) => /^id: (.*)$/m.exec(event)?.[1] ?? [])
    const places = ids.map((id) => Number(id.split(':')[1]))
    expect(places).toEqual(places.map((_, index) => index + 1))
    expect(places.length).toBeLessThan(BATCHES * BATCH)
    await using again = await openFeed(issuer, token, { lastEventId: ids.at(-1) ?? '' })
    const { after } = JSON.parse((await again.nextOf('behind')).data) as { after: number }
    expect(after).toBe(places.length)
    const subjects = await readPages(issuer, token, after)
    expect(subjects.length).toBe(BATCHES * BATCH - places.length)
    expect(subjects.at(-1)).toBe(`batch ${BATCHES - 1} ${BATCH - 1}`)
    await stores.revocations.append(grants('after', 1))
    const { data } = await again.nextOf('set')
    expect(decodeJwt(data).claims['seq']).toBe(BATCHES * BATCH + 1)
  })

  function readMostBytes(pid: number): number {
    const [, kibibytes] =
      /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    return Number(kibibytes) * 1024
  }

  /** As the server's end of the connection has it. */
  function isEstablished(port: number, ofPeer: number): boolean {
    const [local, remote] = [port, ofPeer].map((one) =>
      one.toString(16).padStart(4, '0').toUpperCase(),
    )
    const row = new RegExp(`: \\w+:${local} \\w+:${remote} 01 `)
    return row.test(readFileSync('/proc/net/tcp', 'utf8'))
  }

  async function openAndStop(issuer: string, token: string): Promise<Socket> {
    const { hostname, port, host } = new URL(issuer)
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    socket.write(
      `GET /revocations/stream HTTP/1.0\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    )
    await once(socket, 'readable')
    return socket
  }

  async function readPages(issuer: string, token: string, after: number): Promise<unknown[]> {
    const { entries, through, head, next } = await getPage(issuer, token, after)
    expect(next).toBe(through === head ? null : `<?after=${String(through)}>; rel="next"`)
    const subjects = (entries as unknown[][]).map(([, , subject]) => subject)
    if (through === head) return subjects
    return [...subjects, ...(await readPages(issuer, token, Number(through)))]
  }
})

describe('ten thousand receivers', () => {
  const RECEIVERS = 10_000
  const CLIENTS = 100
  const BEAT_SECONDS = 5
  const ENTRIES = 10
  const MOST_KIBIBYTES = 40

  test('cost a signature for each turn of beats and each entry, however many hear it', async () => {
    using folder = makeFolder()
    await using stores = await openStores(`sqlite:${folder.file('log.sqlite')}`, systemClock)
    const { privateKey } = await generateKeyPair('ES256', { extractable: true })
    const key = { ...(await exportJWK(privateKey)), kid: 'k', alg: 'ES256' } as PrivateJwk
    let signatures = 0
    const signingKeys = () => {
      signatures += 1
      return [key]
    }
    const { revocations, receivers } = stores
    const log = createLog('silent')
    const parts = {
      revocations,
      receivers,
      signingKeys,
      publishedKeys: () => [],
      clock: systemClock,
      log,
    }
    const feed = await createFeed(parts, { issuer: 'https://id.example' })
    await using stack = new AsyncDisposableStack()
    stack.use(feed)
    const heapBefore = readHeapBytes()
    const listeners = await Promise.all(
      Array.from({ length: RECEIVERS }, (_, index) => listen(feed, index)),
    )
    const kibibytes = (readHeapBytes() - heapBefore) / RECEIVERS / 1024
    await expect
      .poll(() => listeners.every(({ count }) => count('beat') > 0), { timeout: 60_000 })
      .toBe(true)
    // Each is answered what it has asked with; all who come together share a beat.
    expect(listeners.every(({ count }) => count('hello') === 1)).toBe(true)
    expect(signatures).toBeLessThan(RECEIVERS + RECEIVERS / 10)

    signatures = 0
    const fromBeats = listeners.map(({ count }) => count('beat'))
    await wait(2 * BEAT_SECONDS * 1000)
    const heard = listeners.map(({ count }, index) => count('beat') - (fromBeats[index] ?? 0))
    // The timer of a busy machine may be late by a turn.
    expect(heard.every((beats) => beats >= 1 && beats <= 3)).toBe(true)
    expect(heard.reduce((sum, beats) => sum + beats, 0) / RECEIVERS).toBeGreaterThan(1.5)
    expect(signatures).toBeLessThanOrEqual(2 * 50 + 2)

    signatures = 0
    await revocations.append(grants('for all', ENTRIES))
    await expect
      .poll(() => listeners.every(({ count }) => count('set') === ENTRIES), { timeout: 60_000 })
      .toBe(true)
    expect(signatures).toBeLessThanOrEqual(ENTRIES + 60)
    expect(kibibytes).toBeLessThan(MOST_KIBIBYTES)
  })

  function readHeapBytes(): number {
    setFlagsFromString('--expose-gc')
    ;(runInNewContext('gc') as () => void)()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }

  /** A stream whose connection takes everything at once, and counts. */
  async function listen(feed: Awaited<ReturnType<typeof createFeed>>, index: number) {
    const counts = new Map<string, number>()
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        for (const [, event = ''] of chunk.toString('latin1').matchAll(/^event: (\w+)$/gm)) {
          counts.set(event, (counts.get(event) ?? 0) + 1)
        }
        done()
      },
    })
    const response = new ServerResponse(new IncomingMessage(new Socket()))
    response.assignSocket(sink as Socket)
    const now = systemClock.now() / 1000
    const listener = {
      clientId: `client-${index % CLIENTS}`,
      tokenId: 't',
      keyId: 'k',
      issuedAt: now,
      expiresAt: now + 600,
    }
    const asking = { listener, receiver: `r${index}`, isAdmitted: async () => true }
    if (!(await feed.stream(asking, { lastEventId: '', nonce: 'n'.repeat(22) }, response)))
      throw new Error(`no place for ${index}`)
    return { count: (event: string) => counts.get(event) ?? 0 }
  }
})

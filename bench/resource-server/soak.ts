import { randomBytes, randomInt, type KeyObject } from 'node:crypto'
import { Agent, request } from 'node:http'
import { OURS } from './contenders.ts'
import { startContender } from './contender-process.ts'
import type { Cores } from './cores.ts'
import { makeKeyPair, startIssuer, type Issuer } from './issuer.ts'
import { CONNECTIONS } from './load.ts'

/** What a server's heap did while it was sent nothing but bad tokens. */
export interface Soak {
  readonly minutes: number
  readonly requests: number
  /** How many answers there were of each status. */
  readonly statuses: Readonly<Record<string, number>>
  /** Bytes after a garbage collection: after the first 20 seconds, then after each minute. */
  readonly heap: readonly number[]
  /** Whether a good token was let through before and after, which is all that may be. */
  readonly isSound: boolean
}

/** In these, code is compiled and what grows once has grown. */
const WARM_UP_MS = 20_000
const MINUTE_MS = 60_000

/** Minutes of random bad tokens, no two alike, from 32 connections kept alive. */
export async function runSoak(minutes: number, cores: Cores): Promise<Soak> {
  await using issuer = await startIssuer('ES256')
  await using server = await startContender(OURS, issuer.setup, cores)
  const good = issuer.sign()
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })
  const statuses: Record<string, number> = {}
  const send = async (token: string) => await sendToken(server.url, token, agent)
  const isGoodBefore = (await send(good)) === 200
  const makeToken = createTokenMaker(issuer, good)
  await sendFor(WARM_UP_MS, async () => void (await send(makeToken())))
  const heap = [await server.measureHeap()]
  for (let minute = 0; minute < minutes; minute += 1) {
    await sendFor(MINUTE_MS, async () => {
      const status = await send(makeToken())
      statuses[status] = (statuses[status] ?? 0) + 1
    })
    heap.push(await server.measureHeap())
  }
  const isSound = isGoodBefore && (await send(good)) === 200 && statuses['200'] === undefined
  agent.destroy()
  const requests = Object.values(statuses).reduce((sum, count) => sum + count, 0)
  return { minutes, requests, statuses, heap, isSound }
}

async function sendFor(milliseconds: number, work: () => Promise<void>): Promise<void> {
  const end = performance.now() + milliseconds
  const runWorker = async () => {
    while (performance.now() < end) await work()
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, runWorker))
}

function sendToken(url: string, token: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, headers: { Authorization: `Bearer ${token}` } })
    sent.on('response', (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode ?? 0))
    })
    sent.on('error', reject)
    sent.end()
  })
}

/** One kind after the other of what strangers send. */
function createTokenMaker(issuer: Issuer, good: string): () => string {
  const [header = '', payload = '', signature = ''] = good.split('.')
  const stranger: KeyObject = makeKeyPair('ES256').privateKey
  const kinds: readonly (() => string)[] = [
    () => makeNoise(2000),
    () => `${makeNoise(100)}.${makeNoise(900)}.${makeNoise(300)}`,
    () => `${header}.${payload}.${randomBytes(64).toString('base64url')}`,
    () => `${header}.${changeCharacter(payload)}.${signature}`,
    () => `${makeHeader({ kid: makeNoise(40) })}.${payload}.${signature}`,
    () => `${makeHeader({ alg: makeNoise(8) })}.${payload}.${signature}`,
    () => issuer.sign({ key: stranger }),
    () => `${good}.${makeNoise(20)}`,
  ]
  let turn = 0
  return () => {
    turn += 1
    return kinds[turn % kinds.length]?.() ?? ''
  }
}

function makeHeader(changes: Readonly<Record<string, string>>): string {
  const header = { alg: 'ES256', typ: 'at+jwt', ...changes }
  return Buffer.from(JSON.stringify(header)).toString('base64url')
}

/** Of a random length, 1 byte at least. */
function makeNoise(maxBytes: number): string {
  return randomBytes(randomInt(1, maxBytes)).toString('base64url')
}

function changeCharacter(text: string): string {
  const place = randomInt(text.length)
  return text.slice(0, place) + (text[place] === 'A' ? 'B' : 'A') + text.slice(place + 1)
}

/** What the cache of tokens takes: `node memory.ts`. Prints one line of JSON. */
import { setImmediate } from 'node:timers/promises'
import { createVerifier, type Verifier } from '@portreeve/resource-server'
import { measureHeap } from '../heap.ts'
import { makeKeyPair, startIssuer, type Issuer } from './issuer.ts'
import { createRoomyVerifier } from './cache-options.ts'
import { pickExpectations } from './setup.ts'

export interface Memory {
  /** How many tokens were shown in each step. */
  readonly tokens: number
  /** Of a cache that has room for all; `undefined` where there is no cache to be told so. */
  readonly bytesPerToken: number | undefined
  /** Of a verifier as it comes: bytes on the heap beyond those at the start, after each step. */
  readonly growth: readonly number[]
}

const TOKENS = 20_000
const STEPS = 3
/** So that what is compiled and set up once is there before the measurement. */
const WARM_UP = 2000

const AUTHORIZATION = 'Bearer '

/** Shows tokens to the verifier that it has never seen, and keeps none of them here. */
async function showTokens(verifier: Verifier, issuer: Issuer, count: number): Promise<void> {
  for (let shown = 0; shown < count; shown += 1) {
    // The key set's timer and the issuer, which is in this process, have their turn.
    if (shown % 1000 === 0) await setImmediate()
    const header = AUTHORIZATION + issuer.sign()
    // As Node's parser makes it: one piece, of which the token is a part.
    const flat = Buffer.from(header, 'latin1').toString('latin1')
    const result = await verifier.verify(flat.slice(AUTHORIZATION.length))
    if (!result.ok) throw new Error(`a good token was refused: ${result.reason.kind}`)
  }
}

async function measureGrowth(verifier: Verifier, issuer: Issuer): Promise<number> {
  const before = measureHeap()
  await showTokens(verifier, issuer, TOKENS)
  return measureHeap() - before
}

async function measureToken(verifier: Verifier, issuer: Issuer): Promise<number> {
  await showTokens(verifier, issuer, WARM_UP)
  return (await measureGrowth(verifier, issuer)) / TOKENS
}

async function measureSteps(verifier: Verifier, issuer: Issuer): Promise<readonly number[]> {
  // The key set is fetched, and nothing kept.
  await verifier.verify(issuer.sign({ key: makeKeyPair('ES256').privateKey }))
  const growth: number[] = []
  for (let step = 0; step < STEPS; step += 1) {
    growth.push((growth.at(-1) ?? 0) + (await measureGrowth(verifier, issuer)))
  }
  return growth
}

await using issuer = await startIssuer('ES256')
// Both live to the end: what one gives back would be taken for the other's.
await using roomy = createRoomyVerifier(issuer.setup, TOKENS * 4)
await using ordinary = createVerifier(pickExpectations(issuer.setup))
const memory: Memory = {
  tokens: TOKENS,
  bytesPerToken: roomy && (await measureToken(roomy, issuer)),
  growth: await measureSteps(ordinary, issuer),
}
console.log(JSON.stringify(memory))

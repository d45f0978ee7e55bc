/**
 * What a check costs by itself, in one process without HTTP: `node loops.ts`. Prints one line of JSON.
 */
import { hash, randomUUID, verify, type KeyObject } from 'node:crypto'
import { createVerifier, type Verifier } from '@portreeve/resource-server'
import { calculateJwkThumbprint, createRemoteJWKSet, jwtVerify } from 'jose'
import { createDpopVerifier } from '../../resource-server/dpop.ts'
import { compareSides, compareTimes, type Measured, type Side } from '../measure.ts'
import { createUncachedVerifier } from './cache-options.ts'
import { makeKeyPair, readSeconds, signJws, startIssuer } from './issuer.ts'
import { summarise, type Summary } from '../numbers.ts'
import { ALGORITHMS, type Algorithm } from './setup.ts'

/** What one way to check costs, in microseconds of processor time. */
export interface LoopResult {
  readonly algorithm: Algorithm
  readonly name: LoopName
  readonly cost: Summary
  /** How many times the raw signature check of the same run. */
  readonly ofRaw: number
}

export type LoopName = 'raw' | 'jose' | 'cold' | 'warm' | 'warm, 1000 tokens' | 'dpop'

export interface Loops {
  readonly results: readonly LoopResult[]
  /** Whether the verifier could be told to keep no tokens; else it has no cache and all is cold. */
  readonly hasCache: boolean
}

const TOKENS = 1000
const MILLISECONDS = 15
/** Until then code is still being compiled, and a first answer of the issuer is waited for. */
const WARM_UP = 3000

/**
 * Checks as often as asked, with one input after the other, and answers the processor time in
 * milliseconds. The inputs are made before.
 */
function createSide<T>(
  name: LoopName,
  makeInputs: (count: number) => readonly T[],
  check: (input: T) => unknown,
): Side {
  return {
    name,
    async run(_workers, count) {
      const inputs = makeInputs(count)
      const start = process.cpuUsage()
      for (let done = 0; done < count; done += 1) {
        const answer = check(inputs[done % inputs.length] as T)
        // What is there at once is not waited for.
        requireGood(answer instanceof Promise ? await answer : answer)
      }
      const { user, system } = process.cpuUsage(start)
      return (user + system) / 1000
    },
  }
}

async function compareWarm(sides: readonly Side[]): Promise<readonly Measured[]> {
  for (const side of sides) await side.run(1, WARM_UP)
  return await compareSides(sides, 1, MILLISECONDS)
}

function createTokenSide(name: LoopName, tokens: readonly string[], verifier: Verifier): Side {
  return createSide(
    name,
    () => tokens,
    (token) => verifier.verify(token),
  )
}

/** Of a verifier a result, of a signature `true`, of jose a payload: a refusal would be measured as well. */
function requireGood(answer: unknown): void {
  if (answer === true) return
  if (typeof answer === 'object' && answer !== null) {
    if (!('ok' in answer) || answer.ok === true) return
  }
  throw new Error(`a good input was refused: ${JSON.stringify(answer)}`)
}

interface Signature {
  readonly signed: Buffer
  readonly signature: Buffer
}

function createRawCheck(algorithm: Algorithm, key: KeyObject): (input: Signature) => boolean {
  const digest = algorithm === 'EdDSA' ? null : 'sha256'
  const prepared = algorithm === 'ES256' ? ({ key, dsaEncoding: 'ieee-p1363' } as const) : key
  return ({ signed, signature }) => verify(digest, signed, prepared, signature)
}

function readSignature(jws: string): Signature {
  const end = jws.lastIndexOf('.')
  return {
    signed: Buffer.from(jws.slice(0, end)),
    signature: Buffer.from(jws.slice(end + 1), 'base64url'),
  }
}

async function runTokenLoops(algorithm: Algorithm): Promise<Loops> {
  await using issuer = await startIssuer(algorithm)
  const { issuer: url, jwksUri, audience } = issuer.setup
  const tokens = Array.from({ length: TOKENS }, () => issuer.sign())
  const { verifier: cold, hasCache } = createUncachedVerifier(issuer.setup)
  const warm = createVerifier({ issuer: url, audience })
  await using verifiers = new AsyncDisposableStack()
  verifiers.use(cold)
  verifiers.use(warm)
  const jwks = createRemoteJWKSet(new URL(jwksUri))
  const options = { issuer: url, audience, algorithms: [algorithm], typ: 'at+jwt' }
  const signatures = tokens.map(readSignature)
  const measured = await compareWarm([
    createSide('raw', () => signatures, createRawCheck(algorithm, issuer.publicKey)),
    createSide(
      'jose',
      () => tokens,
      (token) => jwtVerify(token, jwks, options),
    ),
    createTokenSide('cold', tokens, cold),
    createTokenSide('warm', tokens.slice(0, 1), warm),
    createTokenSide('warm, 1000 tokens', tokens, warm),
  ])
  return { results: describe(algorithm, measured), hasCache }
}

/** Each proof is good once, so they are made before each measurement, outside of its time. */
async function runProofLoop(): Promise<readonly LoopResult[]> {
  const { publicKey, privateKey } = makeKeyPair('ES256')
  const jwk = publicKey.export({ format: 'jwk' })
  const thumbprint = await calculateJwkThumbprint(jwk)
  await using issuer = await startIssuer('ES256')
  const accessToken = issuer.sign()
  const url = 'https://notes.example/notes'
  const header = { alg: 'ES256', typ: 'dpop+jwt', jwk } as const
  const ath = hash('sha256', accessToken, 'base64url')
  const makeProofs = (count: number) => {
    const common = { htm: 'GET', htu: url, ath, iat: readSeconds() }
    return Array.from({ length: count }, () =>
      signJws(header, { ...common, jti: randomUUID() }, privateKey),
    )
  }
  const dpop = createDpopVerifier()
  const checkProof = (proof: string) =>
    dpop.verify({ proof, method: 'GET', url, accessToken, thumbprint })
  const checkRaw = createRawCheck('ES256', publicKey)
  const measured = await compareWarm([
    createSide('raw', (count) => makeProofs(count).map(readSignature), checkRaw),
    createSide('dpop', makeProofs, checkProof),
  ])
  return describe('ES256', measured).filter(({ name }) => name === 'dpop')
}

function describe(algorithm: Algorithm, measured: readonly Measured[]): readonly LoopResult[] {
  const [raw] = measured
  return measured.map((side) => ({
    algorithm,
    name: side.name as LoopName,
    cost: summarise(side.times.map((milliseconds) => milliseconds * 1000)),
    ofRaw: raw ? compareTimes(side, raw) : Number.NaN,
  }))
}

const results: LoopResult[] = []
let hasCache = true
for (const algorithm of ALGORITHMS) {
  const loops = await runTokenLoops(algorithm)
  results.push(...loops.results)
  hasCache &&= loops.hasCache
}
results.push(...(await runProofLoop()))
const loops: Loops = { results, hasCache }
console.log(JSON.stringify(loops))

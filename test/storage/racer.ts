/**
 * One of two processes that race on one storage: `racer.ts NAME URL [REDIS]`. Opens it, says so,
 * waits for SIGUSR2, and prints what it has won.
 */
import { once } from 'node:events'
import { createLog } from '../../auth-server/log.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { createTestClock } from '../support/clock.ts'
import { CREDENTIALS, PER_ROUND, ROUNDS, type RaceResult } from './race.ts'
import { consume, createRows, untilAnswered } from './world.ts'

const [name = '', url = '', redisUrl] = process.argv.slice(2)
const clock = createTestClock()
const { put, insert } = createRows(clock)
const redis = redisUrl === undefined ? undefined : { url: redisUrl, log: createLog('silent') }
await using stores = await openStores(url, clock, { redis })

const isTime = once(process, 'SIGUSR2')
// A signal handler alone keeps no process alive.
const alive = setInterval(() => {}, 60_000)
console.log('ready')
await isTime
clearInterval(alive)

const consumed: string[] = []
const inserted: string[] = []
for (let round = 0; round < ROUNDS; round += 1) {
  for (const model of CREDENTIALS) {
    const grantId = `${model} ${round}`
    const all = await repeat((index) =>
      stores.models.apply([
        consume(model, grantId),
        put('RefreshToken', `${grantId} ${name} ${index}`, { grantId }),
      ]),
    )
    consumed.push(...all.flatMap(({ outcome }) => (outcome === 'applied' ? grantId : [])))
  }
  const proof = `proof ${round}`
  const all = await repeat(() => stores.models.apply([insert('ReplayDetection', proof)]))
  inserted.push(...all.flatMap(({ outcome }) => (outcome === 'applied' ? proof : [])))
  const entry = { kind: 'user', reason: 'user_changed', revokedAt: 0, expiresAt: 0 } as const
  await untilAnswered(() => stores.revocations.append([{ ...entry, subject: `${name} ${round}` }]))
}
const result: RaceResult = { consumed, inserted }
console.log(JSON.stringify(result))

function repeat<T>(work: (index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(
    Array.from({ length: PER_ROUND }, (_, index) => untilAnswered(() => work(index))),
  )
}

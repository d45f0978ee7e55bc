/** Ends grants, a few at a time, as many instances of a server do: `revocation-racer.ts URL NAME COUNT`. */
import { systemClock } from '../../auth-server/clock.ts'
import { openStores } from '../../auth-server/storage/stores.ts'

const [url = '', name = '', count = '0'] = process.argv.slice(2)
const MOST_AT_ONCE = 3
const WRITERS = 4
const HOUR = 3_600_000

await using stores = await openStores(url, systemClock)
const subjects = Array.from({ length: Number(count) }, (_, index) => `${name} ${index}`)
console.log('ready')
const write = async () => {
  for (let some = takeSome(); some.length > 0; some = takeSome()) {
    const now = systemClock.now()
    const about = {
      kind: 'grant',
      reason: 'operator',
      revokedAt: now,
      expiresAt: now + HOUR,
    } as const
    await stores.revocations.append(some.map((subject) => ({ ...about, subject })))
  }
}
await Promise.all(Array.from({ length: WRITERS }, write))

function takeSome(): string[] {
  return subjects.splice(0, 1 + (subjects.length % MOST_AT_ONCE))
}

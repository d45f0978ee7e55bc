/**
 * One of two processes that write one audit log: `audit-racer.ts URL NAME`. Opens it, says so, waits for
 * SIGUSR2, and records so many events, a few at a time. Half-way it waits for the other one, so that each
 * writes in between what the other writes.
 */
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { createAuditKey } from '../../auth-server/audit/audit.ts'
import { createAuditRecorder } from '../../auth-server/audit/recorder.ts'
import { systemClock } from '../../auth-server/clock.ts'
import { createLog } from '../../auth-server/log.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import { AUDIT_SECRET, PER_WRITER } from './audit-race.ts'

const AT_ONCE = 7
const LOOK_EVERY_MS = 5

const [url = '', name = ''] = process.argv.slice(2)
await using stores = await openStores(url, systemClock)
const recorder = createAuditRecorder({
  store: stores.audit,
  key: createAuditKey(AUDIT_SECRET),
  clock: systemClock,
  log: createLog('error'),
})

const isTime = once(process, 'SIGUSR2')
// A signal handler alone keeps no process alive.
const alive = setInterval(() => {}, 60_000)
console.log('ready')
await isTime
clearInterval(alive)

const hasOther = async () =>
  (await stores.audit.page(undefined, PER_WRITER)).some(({ event }) => event !== name)

for (let n = 0; n < PER_WRITER; n += 1) {
  if (n === PER_WRITER / 2) while (!(await hasOther())) await wait(LOOK_EVERY_MS)
  recorder.record({ event: name, by: 'server', facts: { n } })
  if (n % AT_ONCE === 0) await recorder.flush()
}
await recorder.flush()

/**
 * A server that purges when it is told to: `purging-server.ts CONFIG DATABASE_URL BEFORE`. Each SIGUSR2
 * begins a purge of what expires before `BEFORE` (ms), or ends the one that runs. After each it prints how
 * many rows were removed.
 */
import { loadConfig } from '../../auth-server/config/load.ts'
import { systemClock } from '../../auth-server/clock.ts'
import { createLog } from '../../auth-server/log.ts'
import { createAuthServer } from '../../auth-server/server.ts'
import { purgeExpired } from '../../auth-server/storage/purge.ts'
import { openStores } from '../../auth-server/storage/stores.ts'

const [file = '', url = '', before = ''] = process.argv.slice(2)
const loaded = await loadConfig({ file })
const log = createLog('info', { write: () => {} })
const server = await createAuthServer(loaded, { log })
const { models } = await openStores(url, systemClock)

let stop: AbortController | undefined
process.on('SIGUSR2', () => {
  if (stop) {
    stop.abort()
    return
  }
  stop = new AbortController()
  void purgeExpired(models, Number(before), stop.signal)
    .then((count) => console.log(count))
    .finally(() => {
      stop = undefined
    })
})
console.log(server.issuer)

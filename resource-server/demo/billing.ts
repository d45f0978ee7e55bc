import { systemClock } from '../clock.ts'
import { createBillingApi } from './billing-api.ts'
import { createApiServer, log, runProgram, serveUntilStopped, type ServeSettings } from './serve.ts'
import { describeService, readServiceSettings } from './service-settings.ts'
import type { TokenSettings } from './token-settings.ts'

const OPTIONS = { file: 'billing.ts', defaultPort: 9002 }

async function serve({
  verifier,
  feed,
  ...settings
}: TokenSettings & ServeSettings): Promise<void> {
  await using cleanUp = new AsyncDisposableStack()
  cleanUp.use(feed)
  cleanUp.use(verifier)
  const server = createApiServer()
  server.on('request', createBillingApi(verifier, systemClock, log).callback())
  await serveUntilStopped(server, settings, (url) => `Billing is at ${url}. Ctrl+C stops it.`)
}

process.exitCode = await runProgram(
  {
    usage: describeService(OPTIONS),
    readSettings: (argv) => readServiceSettings(OPTIONS, argv),
    serve,
  },
  process.argv.slice(2),
)

import { systemClock } from '../clock.ts'
import { createOrdersApi } from './orders-api.ts'
import { createApiServer, log, runProgram, serveUntilStopped, type ServeSettings } from './serve.ts'
import { describeService, readServiceSettings } from './service-settings.ts'
import type { TokenSettings } from './token-settings.ts'

const OPTIONS = { file: 'orders.ts', defaultPort: 9003 }

async function serve({
  verifier,
  feed,
  ...settings
}: TokenSettings & ServeSettings): Promise<void> {
  await using cleanUp = new AsyncDisposableStack()
  cleanUp.use(feed)
  cleanUp.use(verifier)
  const server = createApiServer()
  server.on('request', createOrdersApi(verifier, systemClock, log).callback())
  await serveUntilStopped(server, settings, (url) => `Orders is at ${url}. Ctrl+C stops it.`)
}

process.exitCode = await runProgram(
  {
    usage: describeService(OPTIONS),
    readSettings: (argv) => readServiceSettings(OPTIONS, argv),
    serve,
  },
  process.argv.slice(2),
)

import { systemClock } from '../clock.ts'
import { createExchange, EXCHANGE_TIMEOUT_MS } from './gateway-exchange.ts'
import { createGateway } from './gateway-api.ts'
import { readSettings, USAGE, type GatewaySettings } from './gateway-settings.ts'
import { createBoundedServer, log, runProgram, serveUntilStopped } from './serve.ts'

const MAX_HEADER_BYTES = 16_384
const MAX_CONNECTIONS = 1000

async function serve({
  verifier,
  feed,
  exchange,
  gateway,
  ...settings
}: GatewaySettings): Promise<void> {
  await using cleanUp = new AsyncDisposableStack()
  cleanUp.use(feed)
  cleanUp.use(verifier)
  const options = { ...gateway, exchange: exchange && createExchange(exchange, systemClock) }
  const running = cleanUp.use(createGateway(verifier, options, systemClock, log))
  // A body may take as long as the whole exchange, which begins when there is a token for the service.
  const server = createBoundedServer(options.wholeTimeoutMs + EXCHANGE_TIMEOUT_MS + 1000, {
    maxHeaderSize: MAX_HEADER_BYTES,
  })
  server.maxConnections = MAX_CONNECTIONS
  // Node would drop what is above a number in silence; the gateway refuses it.
  server.maxHeadersCount = 0
  server.on('request', running.handle)
  server.on('checkContinue', running.handle)
  await serveUntilStopped(server, settings, (url) => `The gateway is at ${url}. Ctrl+C stops it.`)
}

process.exitCode = await runProgram({ usage: USAGE, readSettings, serve }, process.argv.slice(2))

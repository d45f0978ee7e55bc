import { systemClock } from '../clock.ts'
import { createHelloApi } from './hello-api.ts'
import { readSettings, USAGE, type HelloSettings } from './hello-settings.ts'
import { createApiServer, log, runProgram, serveUntilStopped } from './serve.ts'

async function serve({ verifiers, ...settings }: HelloSettings): Promise<void> {
  await using cleanUp = new AsyncDisposableStack()
  cleanUp.use(verifiers.session)
  cleanUp.use(verifiers.apiKey)
  const server = createApiServer()
  server.on('request', createHelloApi(verifiers, systemClock, log).callback())
  await serveUntilStopped(server, settings, (url) => `Hello is at ${url}. Ctrl+C stops it.`)
}

process.exitCode = await runProgram({ usage: USAGE, readSettings, serve }, process.argv.slice(2))

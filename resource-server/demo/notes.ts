import { readFileSync } from 'node:fs'
import { systemClock } from '../clock.ts'
import { createNotesApi } from './notes-api.ts'
import { openNoteStore, type NoteStore } from './notes-store.ts'
import {
  createApiServer,
  createTlsApiServer,
  log,
  Misconfigured,
  readUrl,
  runProgram,
  serveUntilStopped,
} from './serve.ts'
import { readSettings, USAGE, type Settings, type TlsFiles } from './settings.ts'

async function serve({
  verifier,
  feed,
  database,
  signInMaxAgeSeconds,
  tls,
  ...settings
}: Settings): Promise<void> {
  await using cleanUp = new AsyncDisposableStack()
  cleanUp.use(feed)
  cleanUp.use(verifier)
  const store = cleanUp.use(openStore(database))
  const server = tls ? createTlsApiServer(readTls(tls)) : createApiServer()
  // It takes what proofs of a key name (RFC 9449) from where it listens, so not before.
  server.once('listening', () => {
    const api = createNotesApi(verifier, store, log, {
      publicUrl: readUrl(server),
      ...(signInMaxAgeSeconds === undefined ? {} : { signInMaxAgeSeconds }),
    })
    server.on('request', api.callback())
  })
  await serveUntilStopped(
    server,
    settings,
    (url) => `The notes API is at ${url}/notes. Ctrl+C stops it.`,
  )
}

function readTls({ certificate, key }: TlsFiles): { cert: Buffer; key: Buffer } {
  try {
    return { cert: readFileSync(certificate), key: readFileSync(key) }
  } catch (cause) {
    const { message } = cause as Error
    throw new Misconfigured(`The certificate or its key cannot be read: ${message}.`, { cause })
  }
}

function openStore(path: string): NoteStore {
  try {
    return openNoteStore(path, systemClock)
  } catch (cause) {
    const message = `The database ${path} cannot be opened: ${(cause as Error).message}. Choose another with --database.`
    throw new Misconfigured(message, { cause })
  }
}

process.exitCode = await runProgram({ usage: USAGE, readSettings, serve }, process.argv.slice(2))

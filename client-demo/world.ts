import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { listenForCallback, type Callback } from './callback.ts'
import { startChild, type Child } from './child.ts'
import {
  BRIEF,
  describeDemo,
  makeSecrets,
  NOTES,
  type Place,
  type Secrets,
} from './configuration.ts'
import { createWire, type Wire } from './wire.ts'

/** Servers of our own, on free ports and a fresh database; all of it goes with its scope. */
export interface World extends AsyncDisposable {
  readonly issuer: string
  readonly api: string
  readonly secrets: Secrets
  readonly callback: Callback
  readonly wire: Wire
  readonly children: readonly Child[]
}

export async function buildWorld(stopped: AbortSignal): Promise<World> {
  await using cleanUp = new AsyncDisposableStack()
  const folder = await mkdtemp(path.join(tmpdir(), 'portreeve-demo-'))
  cleanUp.defer(() => rm(folder, { recursive: true, force: true }))
  const callback = cleanUp.use(await listenForCallback())
  const secrets = makeSecrets()
  const place = { issuer: 'http://127.0.0.1:0', port: 0 }
  const authServer = cleanUp.use(await startAuthServer(folder, place, secrets, stopped))
  const { issuer = '' } = authServer.ready
  const notes = cleanUp.use(
    await startNotesApi({ issuer, port: 0, more: ['--clock-tolerance', '0'] }, stopped),
  )
  const { url: api = '' } = notes.ready
  const wire = createWire()
  wire.name(issuer, 'authorization server')
  wire.name(api, 'notes API')
  wire.name(callback.origin, 'client')
  const kept = cleanUp.move()
  return {
    issuer,
    api,
    secrets,
    callback,
    wire,
    children: [authServer, notes],
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}

/** Writes its configuration to `folder`, where its database and key go as well. */
export async function startAuthServer(
  folder: string,
  place: Place,
  secrets: Secrets,
  stopped: AbortSignal,
  logFile?: string,
): Promise<Child> {
  const config = path.join(folder, 'portreeve.config.json')
  await writeFile(config, JSON.stringify(describeDemo(place), undefined, 2), { mode: 0o600 })
  const program = {
    name: 'the authorization server',
    file: 'auth-server/main.ts',
    args: ['serve', '--config', config, '--json'],
    environment: { ...secrets },
    ...(logFile === undefined ? {} : { logFile }),
  }
  return startChild(program, stopped)
}

export interface NotesPlace {
  readonly issuer: string
  readonly port: number
  readonly more: readonly string[]
  readonly logFile?: string
}

/** It accepts tokens for its own audience and for the brief one, and for no other. */
export function startNotesApi(
  { issuer, port, more, logFile }: NotesPlace,
  stopped: AbortSignal,
): Promise<Child> {
  const audiences = [NOTES, BRIEF].flatMap((audience) => ['--audience', audience])
  const program = {
    name: 'the notes API',
    file: 'resource-server/demo/notes.ts',
    args: ['--issuer', issuer, ...audiences, '--port', String(port), ...more, '--json'],
    environment: {},
    ...(logFile === undefined ? {} : { logFile }),
  }
  return startChild(program, stopped)
}

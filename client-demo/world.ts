import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { listenForCallback, type Callback } from './callback.ts'
import type { Child } from './child.ts'
import { makeSecrets, type Secrets } from './configuration.ts'
import { startAuthServer, startNotesApi } from './programs.ts'
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
  const authServer = cleanUp.use(await startAuthServer({ folder, place, secrets }, stopped))
  const { issuer = '' } = authServer.ready
  const notes = cleanUp.use(
    await startNotesApi({ issuer, port: 0, clockToleranceSeconds: 0 }, stopped),
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

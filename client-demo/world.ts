import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { listenForCallback, type Callback } from './callback.ts'
import type { Child, Ready } from './child.ts'
import { runPortreeve } from './command.ts'
import { makeClientKey, type ClientKey } from './client-keys.ts'
import { makeSecrets, type KeyName, type Secrets } from './configuration.ts'
import {
  AUTH_SERVER,
  DIRECT_ACCESS,
  UNAUTHENTICATED_ACCESS,
  nameApi,
  startApi,
  locateConfig,
  startAuthServer,
  type ApiName,
  type AuthServerOptions,
} from './programs.ts'
import { listenForReaders, type DocumentSite } from './documents.ts'
import { listenForEcho, type Echo } from './echo.ts'
import { startRedis } from './redis.ts'
import { createPublisher, type Publisher } from './publisher.ts'
import type { ProcessReport } from './report.ts'
import { makeSmallSecrets, type SmallSecrets } from './small-systems.ts'
import { makeCertificates, type Certificates } from './tls-places.ts'
import { createWire, type Wire } from './wire.ts'

/** Servers of our own, on free ports and a fresh database; all of it goes with its scope. */
export interface World extends AsyncDisposable {
  readonly issuer: string
  /** Of the notes API. */
  readonly api: string
  readonly secrets: Secrets & SmallSecrets
  /** Where an API answers that the flow needs. */
  locate(api: ApiName): string
  /** Where the authorization server gives tokens without OAuth. */
  locateDirectAccess(): NonNullable<Ready['direct']>
  /** What clients sign with. */
  readonly keys: Readonly<Record<KeyName, ClientKey>>
  /** Of a flow that needs an API over TLS. Throws for others. */
  readonly certificates: () => Certificates
  readonly callback: Callback
  /** Of an app that says there what it is. */
  readonly site: DocumentSite
  readonly wire: Wire
  /** Behind the gateway. */
  readonly echo: Echo
  readonly publisher: Publisher
  /** Where the authorization server keeps everything, or all but its sessions. */
  readonly databaseFile: string
  /** Where it keeps its sessions, if not there. */
  readonly redisUrl: string | undefined
  /** What an operator does on the command line. */
  operate(...args: readonly string[]): Promise<Readonly<Record<string, unknown>>>
  /** Resolves, with the reason, if one of the programs ends by itself. */
  readonly died: Promise<Error>
  isBroken(): boolean
  listProcesses(): readonly ProcessReport[]
  /** Ends the authorization server and starts it again in the same place. */
  restartAuthServer(): Promise<void>
}

export interface WorldOptions {
  /** Default: the notes API. */
  readonly apis?: readonly ApiName[]
  /** Where a Redis is; `own` starts one. Default: sessions are in the database. */
  readonly redis?: RedisChoice
}

export type RedisChoice = { readonly url: string } | 'own' | undefined

export async function buildWorld(
  stopped: AbortSignal,
  { apis = ['notes'], redis }: WorldOptions = {},
): Promise<World> {
  await using guard = new AsyncDisposableStack()
  const owned = guard.use(new AsyncDisposableStack())
  const folder = await mkdtemp(path.join(tmpdir(), 'portreeve-demo-'))
  owned.defer(() => rm(folder, { recursive: true, force: true }))
  const tls = apis.includes('notesOverTls') ? await makeCertificates(folder) : undefined
  const keys = { ledger: await makeClientKey(), bank: await makeClientKey() }
  const callback = owned.use(await listenForCallback())
  const site = owned.use(await listenForReaders())
  const echo = owned.use(await listenForEcho())
  const secrets = { ...makeSecrets(), ...makeSmallSecrets() }
  const publisher = await createPublisher()
  const wire = createWire()
  for (const origin of [callback.origin, site.origin]) wire.name(origin, 'client')
  for (const secret of Object.values(secrets).filter(isRandom)) wire.keepSecret(secret)

  const death = Promise.withResolvers<Error>()
  let isBroken = false
  const children = new Map<string, Child>()
  const watch = async ({ died }: Child): Promise<void> => {
    const error = await died
    isBroken = true
    death.resolve(error)
  }
  const keep = (child: Child): Child => {
    owned.use(child)
    children.set(child.name, child)
    const { secrets: direct, unauthenticated } = child.ready.direct ?? {}
    wire.name(urlOf(child), child.name)
    if (direct !== undefined) wire.name(direct, DIRECT_ACCESS)
    if (unauthenticated !== undefined) wire.name(unauthenticated, UNAUTHENTICATED_ACCESS)
    void watch(child)
    return child
  }
  const startServer = (place: AuthServerOptions['place']) => {
    const published = {
      callbackUrl: callback.redirectUri,
      publisherKey: publisher.jwk,
      keys: { ledger: keys.ledger.jwk, bank: keys.bank.jwk },
      tls: tls?.paths,
    }
    const withFlows = { ...place, ...published }
    return startAuthServer({ folder, place: withFlows, secrets, redisUrl }, stopped)
  }

  const own = redis === 'own' ? await startRedis(folder, stopped) : undefined
  if (own) {
    keep(own.child)
    wire.keepSecret(own.password)
  }
  const redisUrl = redis === 'own' ? own?.url : redis?.url
  let authServer = keep(await startServer({ issuer: 'http://127.0.0.1:0', port: 0 }))
  const issuer = urlOf(authServer)
  const starting = new Map<ApiName, Promise<Child>>()
  const startOnce = (name: ApiName): Promise<Child> => {
    const child = starting.get(name) ?? startApi(name, surroundings, stopped)
    starting.set(name, child)
    return child
  }
  const locate = async (name: ApiName) => urlOf(await startOnce(name))
  const surroundings = { issuer, secrets, echo: echo.origin, tls: tls?.paths, locate }
  for (const name of apis) void startOnce(name)
  const started = await Promise.allSettled(starting.values())
  // Whatever has started is ours to end, also where another has not.
  for (const result of started) if (result.status === 'fulfilled') keep(result.value)
  for (const result of started) if (result.status === 'rejected') throw result.reason
  const notes = children.get(nameApi('notes'))
  guard.move()
  return {
    issuer,
    api: notes ? urlOf(notes) : '',
    secrets,
    locate(api) {
      const child = children.get(nameApi(api))
      if (!child) throw new TypeError(`the flow does not say that it needs ${nameApi(api)}`)
      return urlOf(child)
    },
    locateDirectAccess() {
      const { direct } = authServer.ready
      if (!direct) throw new TypeError(`the ${AUTH_SERVER} gives no tokens without OAuth`)
      return direct
    },
    keys,
    certificates() {
      if (!tls) throw new TypeError('the flow does not say that it needs an API over TLS')
      return tls.certificates
    },
    callback,
    site,
    wire,
    echo,
    publisher,
    databaseFile: path.join(folder, 'portreeve.sqlite'),
    redisUrl,
    operate: (...args) => runPortreeve(locateConfig(folder), args),
    died: death.promise,
    isBroken: () => isBroken,
    listProcesses: () =>
      [...children.values()].flatMap((child) => [
        { name: child.name, pid: child.pid, url: urlOf(child) },
        ...listDirectAccess(child, apis),
      ]),
    async restartAuthServer() {
      await authServer[Symbol.asyncDispose]()
      authServer = keep(await startServer({ issuer, port: Number(new URL(issuer).port) }))
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** Those that people chose long ago are short, and words. */
function isRandom(secret: string): boolean {
  return secret.length >= 15
}

/** The listeners for clients of old, where a flow calls the APIs that take their tokens. */
function listDirectAccess({ pid, ready }: Child, apis: readonly ApiName[]): ProcessReport[] {
  const { secrets, unauthenticated } = ready.direct ?? {}
  return [
    { name: DIRECT_ACCESS, pid, url: secrets, isUsed: apis.includes('hello') },
    {
      name: UNAUTHENTICATED_ACCESS,
      pid,
      url: unauthenticated,
      isUsed: apis.includes('oldGateway'),
    },
  ].flatMap(({ name, pid: process, url, isUsed }) =>
    url !== undefined && isUsed ? [{ name, pid: process, url }] : [],
  )
}

function urlOf({ ready }: Child): string {
  return ready.issuer ?? ready.url ?? ''
}

import { addAbortListener } from 'node:events'
import type { Child } from './child.ts'
import { claimPorts } from './ports.ts'
import { startAuthServer, startNotesApi, startWebDemo } from './programs.ts'
import { openVault, type Vault } from './vault.ts'

export interface StartOptions {
  /** 0 takes a free one, here and below. */
  readonly port: number
  readonly apiPort: number
  readonly webPort: number
  /** Where it keeps its data. */
  readonly folder: string
}

/** What runs now. */
export interface Running {
  readonly issuer: string
  readonly api: string
  readonly web: string
  readonly vault: Vault
  readonly processes: readonly { readonly name: string; readonly pid: number }[]
}

/** Of every API: what a clock may be off by. */
const CLOCK_TOLERANCE_SECONDS = 5

/** Runs the servers and the web demo until stopped; throws if one of them ends by itself. */
export async function startDemo(
  options: StartOptions,
  announce: (running: Running) => void,
  stopped: AbortSignal,
): Promise<void> {
  const [port = 0, apiPort = 0, webPort = 0] = await claimPorts([
    { what: 'the authorization server', port: options.port, option: '--port' },
    { what: 'the notes API', port: options.apiPort, option: '--api-port' },
    { what: 'the web demo', port: options.webPort, option: '--web-port' },
  ])
  const vault = await openVault(options.folder)
  await using cleanUp = new AsyncDisposableStack()
  const children: Child[] = []
  const keep = (child: Child): Child => {
    children.push(cleanUp.use(child))
    return child
  }
  const issuer = `http://localhost:${port}`
  const place = { issuer, port, webUrl: `http://localhost:${webPort}` }
  const { folder, secrets, webSecretFile: secretFile } = vault
  const logFile = vault.file('auth-server.log')
  keep(await startAuthServer({ folder, place, secrets, logFile }, stopped))
  const notes = {
    issuer,
    feedSecret: secrets.FEED_SECRET,
    port: apiPort,
    clockToleranceSeconds: CLOCK_TOLERANCE_SECONDS,
    database: vault.file('notes.sqlite'),
    logFile: vault.file('notes.log'),
  }
  const { url: api = '' } = keep(await startNotesApi(notes, stopped)).ready
  const web = { issuer, api, port: webPort, secretFile, logFile: vault.file('web.log') }
  const { url = '' } = keep(await startWebDemo(web, stopped)).ready
  const processes = children.map(({ name, pid }) => ({ name, pid }))
  announce({ issuer, api, web: url, vault, processes })
  const end = new Promise<undefined>((resolve) => {
    addAbortListener(stopped, () => resolve(undefined))
  })
  const death = await Promise.race([...children.map(({ died }) => died), end])
  if (death) throw death
}

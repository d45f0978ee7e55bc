import { performance } from 'node:perf_hooks'
import open from 'open'
import type { OpenBrowser } from './flow.ts'
import type { FlowEntry } from './flows/flows.ts'
import { AUTH_SERVER, nameApi, type ApiName } from './programs.ts'
import type { EndReport, Reporter } from './report.ts'
import { hasRedis, REDIS } from './redis.ts'
import { buildWorld, type RedisChoice, type World } from './world.ts'

export interface RunOptions {
  /** Opens the person's own browser for the sign-in. Default: the flow plays the person. */
  readonly usesBrowser: boolean
  /**
   * Where sessions are kept. `false`: in the server's own database. Default: there too, unless a flow has
   * more to show with a Redis, and this machine has one to start.
   */
  readonly redisUrl?: string | false | undefined
}

/** Runs flows one after the other in one world; answers whether all went as they should. */
export async function runFlows(
  flows: readonly FlowEntry[],
  reporter: Reporter,
  stopped: AbortSignal,
  { usesBrowser, redisUrl }: RunOptions,
): Promise<boolean> {
  const start = performance.now()
  const apis = listNeeds(flows)
  const redis = await chooseRedis(flows, redisUrl)
  const programs = [...(redis === 'own' ? [REDIS] : []), AUTH_SERVER, ...apis.map(nameApi)]
  reporter.prepare(flows, programs)
  await using world = await buildWorld(stopped, { apis, redis })
  const openBrowser = usesBrowser ? createOpenBrowser(reporter) : undefined
  const ends: EndReport[] = []
  for (const flow of flows) {
    ends.push(await runFlow(flow, world, reporter, stopped, openBrowser))
    // The others would fail for the same reason.
    if (world.isBroken()) break
  }
  const ok = ends.length === flows.length && ends.every((end) => end.ok)
  const notRun = flows.slice(ends.length).map(({ name }) => name)
  const durationMs = Math.round(performance.now() - start)
  reporter.summary({ type: 'summary', ok, flows: ends, notRun, durationMs })
  return ok
}

async function runFlow(
  { name, summary, run }: FlowEntry,
  world: World,
  reporter: Reporter,
  stopped: AbortSignal,
  openBrowser: OpenBrowser | undefined,
): Promise<EndReport> {
  const { issuer, api, wire, died } = world
  const processes = world.listProcesses()
  reporter.start({ type: 'start', flow: name, summary, issuer, api, processes })
  const collaborators = { flow: name, wire, reporter, deaths: [died], stopped }
  const end = await run(world, collaborators, openBrowser)
  reporter.end(end)
  return end
}

function listNeeds(flows: readonly FlowEntry[]): readonly ApiName[] {
  return [...new Set(flows.flatMap(({ needs }) => needs))]
}

async function chooseRedis(
  flows: readonly FlowEntry[],
  url: string | false | undefined,
): Promise<RedisChoice> {
  if (url === false) return undefined
  if (url !== undefined) return { url }
  return flows.some(({ likesRedis }) => likesRedis) && (await hasRedis()) ? 'own' : undefined
}

function createOpenBrowser({ ask }: Reporter): OpenBrowser {
  return async (url, todo) => {
    ask(`${todo} If no browser opens, go to`, url)
    await open(url)
  }
}

import open from 'open'
import type { OpenBrowser } from './flow.ts'
import type { FlowEntry } from './flows/flows.ts'
import type { Reporter } from './report.ts'
import { buildWorld } from './world.ts'

export interface RunOptions {
  /** Opens the person's own browser for the sign-in. Default: the flow plays the person. */
  readonly usesBrowser: boolean
}

/** Runs flows, each in a world of its own; answers whether all went as they should. */
export async function runFlows(
  flows: readonly FlowEntry[],
  reporter: Reporter,
  stopped: AbortSignal,
  { usesBrowser }: RunOptions,
): Promise<boolean> {
  for (const { name, summary, run } of flows) {
    reporter.prepare({ name, summary })
    await using world = await buildWorld(stopped)
    const { issuer, api, children, wire } = world
    const processes = children.map(({ name: process, pid }) => ({ name: process, pid }))
    reporter.start({ type: 'start', flow: name, summary, issuer, api, processes })
    const deaths = children.map(({ died }) => died)
    const openBrowser = usesBrowser ? createOpenBrowser(reporter) : undefined
    const end = await run(world, { wire, reporter, deaths, stopped }, openBrowser)
    reporter.end(end)
    if (!end.ok) return false
  }
  return true
}

function createOpenBrowser({ ask }: Reporter): OpenBrowser {
  return async (url, todo) => {
    ask(`${todo} If no browser opens, go to`, url)
    await open(url)
  }
}

import { runSteps, type Flow, type OpenBrowser, type RunCollaborators } from '../flow.ts'
import type { EndReport } from '../report.ts'
import type { World } from '../world.ts'
import { codeFlow } from './code/flow.ts'

/** A flow whose stage is its own business. */
export interface FlowEntry {
  readonly name: string
  readonly summary: string
  readonly run: (
    world: World,
    collaborators: RunCollaborators,
    openBrowser: OpenBrowser | undefined,
  ) => Promise<EndReport>
}

/** Every flow, by its name on the command line. */
export const FLOWS: readonly FlowEntry[] = [enter(codeFlow)]

export const DEFAULT_FLOW = 'code'

function enter<Stage>({ name, summary, createStage, listSteps }: Flow<Stage>): FlowEntry {
  return {
    name,
    summary,
    run(world, collaborators, openBrowser) {
      const stage = createStage(world, collaborators.stopped, openBrowser)
      return runSteps(stage, listSteps(stage), collaborators)
    },
  }
}

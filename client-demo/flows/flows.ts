import { distance } from 'fastest-levenshtein'
import { runSteps, type Flow, type OpenBrowser, type RunCollaborators } from '../flow.ts'
import type { ApiName } from '../programs.ts'
import type { EndReport } from '../report.ts'
import type { World } from '../world.ts'
import { apiKeyFlow } from './api-key.ts'
import { cibaFlow } from './ciba.ts'
import { cimdFlow } from './cimd.ts'
import { codeFlow } from './code/flow.ts'
import { dcrFlow } from './dcr.ts'
import { deviceFlow } from './device.ts'
import { dpopFlow } from './dpop.ts'
import { exchangeFlow } from './exchange.ts'
import { fapi2Flow } from './fapi2.ts'
import { jarFlow } from './jar.ts'
import { logoutFlow } from './logout.ts'
import { microservicesFlow } from './microservices.ts'
import { mtlsFlow } from './mtls.ts'
import { parFlow } from './par.ts'
import { passwordFlow } from './password.ts'
import { rarFlow } from './rar.ts'
import { revokeFlow } from './revoke.ts'
import { serviceFlow } from './service.ts'
import { sessionsFlow } from './sessions.ts'
import { stepUpFlow } from './step-up.ts'

/** A flow whose stage is its own business. */
export interface FlowEntry {
  readonly name: string
  readonly summary: string
  readonly needs: readonly ApiName[]
  readonly likesRedis: boolean
  readonly takesBrowser: boolean
  readonly run: (
    world: World,
    collaborators: RunCollaborators,
    openBrowser: OpenBrowser | undefined,
  ) => Promise<EndReport>
}

/** Every flow, by its name on the command line; `all` runs them in this order. */
export const FLOWS: readonly FlowEntry[] = [
  enter(codeFlow),
  enter(serviceFlow),
  enter(logoutFlow),
  enter(revokeFlow),
  enter(sessionsFlow),
  enter(passwordFlow),
  enter(microservicesFlow),
  enter(apiKeyFlow),
  enter(parFlow),
  enter(jarFlow),
  enter(rarFlow),
  enter(dpopFlow),
  enter(mtlsFlow),
  enter(fapi2Flow),
  enter(stepUpFlow),
  enter(deviceFlow),
  enter(cibaFlow),
  enter(exchangeFlow),
  enter(dcrFlow),
  enter(cimdFlow),
]

export const DEFAULT_FLOW = 'code'
export const ALL_FLOWS = 'all'

/** Further than this from a name it is a guess at nothing. */
const MOST_TYPOS = 3

/** The name that somebody may have meant. */
export function suggestFlow(typed: string): string | undefined {
  const [nearest] = [ALL_FLOWS, ...FLOWS.map(({ name }) => name)]
    .map((name) => ({ name, typos: distance(typed.toLowerCase(), name) }))
    .filter(({ name, typos }) => typos <= MOST_TYPOS && typos < name.length)
    .toSorted((one, other) => one.typos - other.typos)
  return nearest?.name
}

function enter<Stage>(flow: Flow<Stage>): FlowEntry {
  const { name, summary, needs, likesRedis = false, takesBrowser = false } = flow
  const { createStage, listSteps } = flow
  return {
    name,
    summary,
    needs,
    likesRedis,
    takesBrowser,
    run(world, collaborators, openBrowser) {
      const stage = createStage(world, collaborators.stopped, openBrowser)
      return runSteps(stage, listSteps(stage), collaborators)
    },
  }
}

import { ClientSecretBasic, type Configuration } from 'openid-client'
import { createBrowser, type Browser, type Page } from '../../browser.ts'
import type { Note } from '../../call-api.ts'
import { ROBOT_CLIENT, type Username } from '../../configuration.ts'
import type { OpenBrowser } from '../../flow.ts'
import { createNeighbour, type AuthorizationRequest, type Tokens } from '../../oauth.ts'
import { createSlot, type Slot } from '../../slot.ts'
import type { World } from '../../world.ts'

/** What the steps of the code flow share, and what each leaves for those that follow. */
export interface CodeStage {
  readonly world: World
  /** Opens a URL in the person's own browser; absent where the flow plays the person itself. */
  readonly openBrowser: OpenBrowser | undefined
  readonly stopped: AbortSignal
  /** A browser for each of the people. */
  readonly browsers: Readonly<Record<Username, Browser>>
  readonly client: Slot<Configuration>
  readonly request: Slot<AuthorizationRequest>
  /** Where Alice's browser is. */
  readonly page: Slot<Page>
  /** Where her browser brought the answer. */
  readonly answer: Slot<URL>
  readonly tokens: Readonly<Record<Username, Slot<Tokens>>>
  /** What Alice's tokens were refreshed to. */
  readonly refreshed: Slot<Tokens>
  readonly note: Slot<Note>
}

export function createCodeStage(
  world: World,
  stopped: AbortSignal,
  openBrowser: OpenBrowser | undefined,
): CodeStage {
  const { wire } = world
  return {
    world,
    stopped,
    openBrowser,
    browsers: {
      alice: createBrowser(wire),
      bob: createBrowser(wire),
      admin: createBrowser(wire),
    },
    client: createSlot('client'),
    request: createSlot('authorization request'),
    page: createSlot('page'),
    answer: createSlot('answer'),
    tokens: {
      alice: createSlot('tokens of Alice'),
      bob: createSlot('tokens of Bob'),
      admin: createSlot('tokens of the admin'),
    },
    refreshed: createSlot('refreshed tokens'),
    note: createSlot('note'),
  }
}

/** A service with a secret, known to the same server. */
export function createRobot({ client, world }: CodeStage): Configuration {
  const secret = ClientSecretBasic(world.secrets.ROBOT_SECRET)
  return createNeighbour(world, client.get(), ROBOT_CLIENT, secret)
}

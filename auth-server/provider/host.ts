import type { IncomingMessage, ServerResponse } from 'node:http'
import type Provider from 'oidc-provider'

/**
 * Holds the engine. Keys and settings of an engine never change: a change builds a new one and swaps
 * it in, and requests under way finish on the old one. Nobody keeps a Provider, only this getter.
 */
export interface EngineHost {
  provider(): Provider
  handle(req: IncomingMessage, res: ServerResponse): Promise<void>
  rebuild(): Promise<void>
}

export async function createEngineHost(build: () => Promise<Provider>): Promise<EngineHost> {
  let current = await load(build)
  return {
    provider: () => current.provider,
    handle: (req, res) => current.handle(req, res),
    async rebuild() {
      current = await load(build)
    },
  }
}

async function load(build: () => Promise<Provider>) {
  const provider = await build()
  const handle = provider.callback()
  return { provider, handle: async (req: IncomingMessage, res: ServerResponse) => handle(req, res) }
}

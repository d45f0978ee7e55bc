import type { IncomingMessage, ServerResponse } from 'node:http'
import type Provider from 'oidc-provider'

/**
 * Holds the engine. Keys and settings of an engine never change: a change builds a new one and swaps
 * it in, and requests under way finish on the old one. Nobody keeps a Provider, only this getter.
 */
export interface EngineHost {
  provider(): Provider
  handle(req: IncomingMessage, res: ServerResponse): Promise<void>
  /**
   * Builds one engine at a time. Whoever calls during a build gets the one after it, because what is
   * being built may have been read before their change; they all share it. If it fails, the engine that
   * there is goes on.
   */
  rebuild(): Promise<void>
}

export async function createEngineHost(build: () => Promise<Provider>): Promise<EngineHost> {
  let current = await load(build)
  let running: Promise<void> | undefined
  let next: Promise<void> | undefined
  const replace = async () => {
    current = await load(build)
  }
  const runAfter = async (before: Promise<void> | undefined) => {
    await before?.catch(() => {})
    next = undefined
    running = replace()
    await running
  }
  return {
    provider: () => current.provider,
    handle: (req, res) => current.handle(req, res),
    rebuild() {
      next ??= runAfter(running)
      return next
    },
  }
}

async function load(build: () => Promise<Provider>) {
  const provider = await build()
  const handle = provider.callback()
  return { provider, handle: async (req: IncomingMessage, res: ServerResponse) => handle(req, res) }
}

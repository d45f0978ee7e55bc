import { vi } from 'vitest'

/** Every token that a token endpoint answers to somebody in this process, until disposed of. */
export interface RecordedTokens extends Disposable {
  readonly seen: readonly string[]
  /** How often a token endpoint was asked. */
  readonly requests: number
  /** Addresses of other answers that hold one of the tokens, in their address, headers or body. */
  findLeaks(): string[]
}

export function recordTokens(): RecordedTokens {
  const ask = fetch
  const seen: string[] = []
  const others: string[][] = []
  let requests = 0
  vi.stubGlobal('fetch', async (...parameters: Parameters<typeof fetch>) => {
    const response = await ask(...parameters)
    const text = await response.clone().text()
    if (new URL(response.url).pathname === '/token') {
      requests += 1
      const body = JSON.parse(text) as Record<string, unknown>
      const values = ['access_token', 'refresh_token', 'id_token'].map((name) => body[name])
      seen.push(...values.filter((value) => typeof value === 'string'))
    } else others.push([response.url, JSON.stringify([...response.headers]), text])
    return response
  })
  return {
    seen,
    get requests() {
      return requests
    },
    findLeaks: () =>
      others
        .filter((answer) => seen.some((token) => answer.some((part) => part.includes(token))))
        .map(([url = '']) => url),
    [Symbol.dispose]: () => void vi.unstubAllGlobals(),
  }
}

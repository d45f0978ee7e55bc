import { addAbortListener } from 'node:events'
import { IssuerError } from './errors.ts'

/** Answers the header `Authorization` of a request to the issuer. */
export type Authorize = () => string | PromiseLike<string>

/** As whom this API asks its issuer. */
export interface ClientOptions {
  readonly clientId?: string | undefined
  readonly clientSecret?: string | undefined
  readonly authorization?: Authorize | undefined
}

/** The header by what `where` was told. Throws a `TypeError` that names the option, and quotes no secret. */
export function readAuthorize(where: string, options: ClientOptions): Authorize {
  const { clientId, clientSecret, authorization } = options
  if (authorization !== undefined) {
    if (typeof authorization !== 'function') {
      throw new TypeError('authorization: expected a function that answers a header')
    }
    if (clientId !== undefined || clientSecret !== undefined) {
      throw new TypeError('authorization: expected it, or clientId and clientSecret, not both')
    }
    return authorization
  }
  requireClientId(where, clientId)
  if (!isFilled(clientSecret)) {
    throw new TypeError(
      `clientSecret: ${where} expected a text that is not empty; is its variable set?`,
    )
  }
  const header = writeBasic(clientId, clientSecret)
  return () => header
}

export function requireClientId(where: string, clientId: unknown): asserts clientId is string {
  if (isFilled(clientId)) return
  throw new TypeError(`clientId: ${where} expected a text that is not empty, or authorization`)
}

function isFilled(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

/** RFC 6749 §2.3.1: each is encoded as in a form, before they are put together. */
function writeBasic(clientId: string, clientSecret: string): string {
  const [id, secret] = [clientId, clientSecret].map((text) =>
    new URLSearchParams({ '': text }).toString().slice(1),
  )
  return `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`
}

/** Throws an `IssuerError` where it answers none that can be sent, or takes too long. */
export async function askAuthorization(authorize: Authorize, signal: AbortSignal): Promise<string> {
  const given = await orAbort(signal, async () => authorize()).catch((cause: unknown) => {
    throw new IssuerError('turned_away', 'no authorization to ask the issuer', { cause })
  })
  // What `fetch` would say of it quotes it.
  if (typeof given === 'string' && /^[\x21-\x7E]+ [\x21-\x7E]+$/.test(given)) return given
  throw new IssuerError('turned_away', 'authorization answered no scheme with credentials')
}

/** What the users' own function does need not end by itself. */
function orAbort<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const listener = addAbortListener(signal, () => reject(signal.reason as Error))
    void work()
      .then(resolve, reject)
      .finally(() => listener[Symbol.dispose]())
  })
}

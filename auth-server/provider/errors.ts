import { errors, type KoaContextWithOIDC } from 'oidc-provider'
import { describeToOperator, PortreeveError } from '../errors.ts'
import type { EnginePages } from './interaction.ts'

/** Too many wrong secrets, or too much of something else: whoever asks has to wait. */
export class TooManyAttempts extends errors.OIDCProviderError {
  readonly retryAfterSeconds: number

  constructor(retryAfterSeconds: number, what = 'failed attempts') {
    super(429, 'temporarily_unavailable')
    this.retryAfterSeconds = retryAfterSeconds
    this.error_description = `too many ${what}, try again in ${retryAfterSeconds} s`
    this.expose = true
  }
}

/** A bound of this server was reached, or its storage does not answer. */
class TemporarilyUnavailable extends errors.OIDCProviderError {
  /** `cause` is for the operator: the client is told that it may try again. */
  constructor(cause: PortreeveError) {
    super(503, 'temporarily_unavailable')
    this.error_description = 'the server is busy, try again'
    this.error_detail = describeToOperator(cause)
    this.expose = true
    // The person tries again here; the client could do nothing with it.
    this.allow_redirect = false
  }
}

/** A refusal of ours in the engine's terms; anything else stays the unexpected error that it is. */
export function toEngineError(error: unknown, retryAfter: (seconds: number) => void): unknown {
  if (!(error instanceof PortreeveError)) return error
  if (error.code === 'throttled') {
    const { retryAfterSeconds } = error.cause as { retryAfterSeconds: number }
    retryAfter(retryAfterSeconds)
    return new TooManyAttempts(retryAfterSeconds)
  }
  if (error.code !== 'busy') return error
  retryAfter(1)
  return new TemporarilyUnavailable(error)
}

/** The same port, whose refusals the engine takes for its own. It answers any other error with 500. */
export function speakToEngine<Port extends object>(port: Port): Port {
  const methods = Object.entries(port as Record<string, (...args: unknown[]) => unknown>)
  const translated = methods.map(([name, method]) => [
    name,
    async (...args: unknown[]) => {
      try {
        return await method(...args)
      } catch (error) {
        throw toEngineError(error, () => {})
      }
    },
  ])
  return Object.fromEntries(translated) as Port
}

/** Renders an error of the engine as a page: what the client may know, and the id to quote. */
export function createErrorRenderer(pages: EnginePages, requestId: (ctx: object) => string) {
  return (
    ctx: KoaContextWithOIDC,
    out: { error: string; error_description?: string | undefined },
    error?: Error,
  ): void => {
    // It took too long, or was done already: no fault of the app, as a 400 would say.
    if (error instanceof errors.SessionNotFound) ctx.status = 410
    ctx.type = 'html'
    ctx.body = pages.error({
      status: ctx.status,
      error: out.error,
      description: out.error_description ?? '',
      requestId: requestId(ctx),
    })
  }
}

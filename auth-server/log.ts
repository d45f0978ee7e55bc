import { AsyncLocalStorage } from 'node:async_hooks'
import { pino, type DestinationStream, type Level, type Logger as PinoLogger } from 'pino'

export type Logger = PinoLogger
export type LogLevel = Level | 'silent'

/** The request that the running code serves: its id stands on every log line written meanwhile. */
export const currentRequest: AsyncLocalStorage<{ readonly requestId: string }> =
  new AsyncLocalStorage()

/** Members that must never be written, wherever an object that carries them is logged. */
const SECRET_MEMBERS = [
  'password',
  'secret',
  'client_secret',
  'clientSecret',
  'code',
  'access_token',
  'refresh_token',
  'id_token',
  'authorization',
  'cookie',
]

/**
 * As pino does it, but the code of an error has another name than a code of OAuth, which is censored:
 * `ECONNRESET` is what an operator looks for.
 */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const { code, ...facts }: Record<string, unknown> = pino.stdSerializers.err(error)
  return isErrorCode(code) ? { ...facts, errorCode: code } : facts
}

/** Codes of OAuth have 43 characters. */
function isErrorCode(code: unknown): boolean {
  return typeof code === 'number' || (typeof code === 'string' && /^\w{1,40}$/.test(code))
}

/** Lines of JSON on standard error, so that standard output stays the program's answer. */
export function createLog(level: LogLevel, destination?: DestinationStream): Logger {
  const redact = SECRET_MEMBERS.flatMap((member) => [member, `*.${member}`, `*.*.${member}`])
  const options = {
    level,
    base: null,
    redact: { paths: redact, censor: '[secret]' },
    serializers: { err: serializeError },
    mixin: () => ({ ...currentRequest.getStore() }),
  }
  return pino(options, destination ?? pino.destination({ dest: 2, sync: true }))
}

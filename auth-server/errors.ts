/**
 * Why an operation was refused. `conflict`: what is to be made exists already. `read_only`: the
 * configuration file owns the object. `busy`: a bound of the server was reached, try again later.
 * `tampered`: what is stored is not what was written.
 */
export type ErrorCode =
  | 'invalid_input'
  | 'not_found'
  | 'conflict'
  | 'read_only'
  | 'busy'
  | 'throttled'
  | 'misconfigured'
  | 'storage_failed'
  | 'tampered'

/** A refusal or failure that its reader can act on. The message is safe to print to an operator. */
export class PortreeveError extends Error {
  override readonly name = 'PortreeveError'
  readonly code: ErrorCode

  /** `cause` carries `{ expected, actual }` where a comparison failed, or the underlying error. */
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** For the log: what failed, and what made it fail. */
export function describeToOperator({ message, cause }: PortreeveError): string {
  return cause instanceof Error ? `${message} (${cause.message})` : message
}

/** An expected refusal as a value. */
export type Result<T, Reason> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: Reason }

/** What a `switch` over a closed union reaches when a member was forgotten: a compile error. */
export function assertNever(value: never): never {
  throw new TypeError(`unexpected value: ${JSON.stringify(value)}`)
}

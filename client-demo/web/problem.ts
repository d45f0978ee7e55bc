/** Why a request ends in a page that says so. All of it is shown: it holds no secret. */
export class Problem extends Error {
  override readonly name = 'Problem'
  readonly status: number
  readonly title: string
  /** A machine's word for it, such as `invalid_grant`. */
  readonly code: string | undefined

  constructor(status: number, title: string, text: string, code?: string, cause?: unknown) {
    super(text, { cause })
    this.status = status
    this.title = title
    this.code = code
  }
}

/** The authorization server no longer stands by this session. */
export class SessionOver extends Problem {}

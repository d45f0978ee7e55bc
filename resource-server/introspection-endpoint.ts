import { askAuthorization, type Authorize } from './authorization.ts'
import type { Clock } from './clock.ts'
import { IssuerError, type IntrospectionUnavailable, type Result } from './errors.ts'
import { withDeadline, type FetchJson, type PostForm } from './fetch-json.ts'
import { parseJsonObject, weighJson, type JsonObject } from './json.ts'
import { SIGNED_ANSWER, type SignedAnswers } from './introspection-signed.ts'
import { discoverUrl } from './metadata.ts'

/** Questions that are on their way at the same time: more would be a load for the issuer. */
const MAX_ASKING = 50
/** Questions that wait for their turn. Whoever comes then is sent away. */
const MAX_WAITING = 1000
const MAX_WAIT_MS = 5000
/** After an outage nothing is asked for so long, twice as long after the next, and so on. */
const FIRST_BACK_OFF_MS = 1000
const MAX_BACK_OFF_MS = 30_000
/** The address of the endpoint is looked up again after this, and after every outage. */
const MAX_METADATA_AGE_MS = 60 * 60_000
/** These are not about the token: the API's own credentials, too many questions, a sick issuer. */
const NOT_SERVED = [401, 429, 502, 503, 504]

export interface EndpointSettings {
  readonly issuer: string
  /** `undefined`: where the issuer's metadata say. */
  readonly url: string | undefined
  /** The header `Authorization` with which this API asks. */
  readonly authorize: Authorize
  /** Where answers have to be signed. It ends with the endpoint. */
  readonly signed: SignedAnswers | undefined
}

/** What an issuer said about one token. */
export interface IntrospectionAnswer {
  readonly members: JsonObject
  /** About how much memory it takes, in bytes. */
  readonly size: number
}

/** For the operator. */
export interface EndpointState {
  readonly ageSeconds: number | undefined
  readonly fetches: number
  readonly failedFetches: number
}

/** Where an issuer is asked about tokens (RFC 7662). Disposing of it ends the questions under way. */
export interface IntrospectionEndpoint extends AsyncDisposable {
  /**
   * What the issuer says about a token; never throws. Any number of calls at the same time: at most 50
   * are on their way, others wait their turn, for 5 seconds and a thousand of them at most. While the
   * issuer is out, it is asked by one call at a time, and only when its time to recover is over.
   */
  ask(token: string): Promise<Result<IntrospectionAnswer, IntrospectionUnavailable>>
  readonly state: EndpointState
}

export function createIntrospectionEndpoint(
  settings: EndpointSettings,
  clock: Clock,
): IntrospectionEndpoint {
  return new RemoteEndpoint(settings, clock)
}

interface Outage {
  readonly since: number
  readonly until: number
  /** How many there were in a row. */
  readonly count: number
  readonly error: Error
}

class RemoteEndpoint implements IntrospectionEndpoint {
  readonly #settings: EndpointSettings
  readonly #clock: Clock
  readonly #turns: Turns
  readonly #stop = new AbortController()
  readonly #asking = new Set<Promise<unknown>>()
  #source: { readonly url: string; readonly at: number } | undefined
  #discovery: Promise<string> | undefined
  #outage: Outage | undefined
  #isProbing = false
  #answeredAt: number | undefined
  #fetches = 0
  #failedFetches = 0

  constructor(settings: EndpointSettings, clock: Clock) {
    this.#settings = settings
    this.#clock = clock
    this.#turns = createTurns(clock)
  }

  get state(): EndpointState {
    const age =
      this.#answeredAt === undefined ? undefined : this.#clock.monotonic() - this.#answeredAt
    return {
      ageSeconds: age === undefined ? undefined : age / 1000,
      fetches: this.#fetches,
      failedFetches: this.#failedFetches,
    }
  }

  async ask(token: string): Promise<Result<IntrospectionAnswer, IntrospectionUnavailable>> {
    const early = this.#findObstacle()
    if (early !== undefined) return refuse(early)
    if (!(await this.#turns.take())) return refuse(unavailable(FIRST_BACK_OFF_MS, TOO_MANY))
    try {
      // Meanwhile those in front may have found the issuer out.
      const late = this.#findObstacle()
      return late === undefined ? await this.#askNow(token) : refuse(late)
    } finally {
      this.#turns.give()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#settings.signed?.[Symbol.asyncDispose]()
    await Promise.allSettled(this.#asking)
  }

  #findObstacle(): IntrospectionUnavailable | undefined {
    if (this.#stop.signal.aborted) return unavailable(FIRST_BACK_OFF_MS, STOPPED)
    if (this.#outage === undefined) return undefined
    const left = this.#outage.until - this.#clock.monotonic()
    return left > 0 || this.#isProbing ? unavailable(left, this.#outage.error) : undefined
  }

  async #askNow(token: string): Promise<Result<IntrospectionAnswer, IntrospectionUnavailable>> {
    const startedAt = this.#clock.monotonic()
    const isProbe = this.#outage !== undefined
    if (isProbe) this.#isProbing = true
    this.#fetches += 1
    const asked = withDeadline(this.#clock, this.#stop.signal, (fetchJson, postForm, signal) =>
      this.#fetchAnswer(token, fetchJson, postForm, signal),
    )
    this.#asking.add(asked)
    try {
      const value = await asked
      this.#answeredAt = startedAt
      this.#outage = undefined
      return { ok: true, value }
    } catch (error) {
      this.#failedFetches += 1
      return refuse(this.#noteFailure(error as IssuerError, startedAt))
    } finally {
      this.#asking.delete(asked)
      if (isProbe) this.#isProbing = false
    }
  }

  /**
   * A `bad_answer` may be a matter of this one token: were it taken for an outage, a stranger with a
   * token that the issuer chokes on would lock everybody out. So it ends an outage, if anything.
   */
  #noteFailure(error: IssuerError, startedAt: number): IntrospectionUnavailable {
    if (error.code === 'bad_answer') {
      this.#outage = undefined
      return unavailable(FIRST_BACK_OFF_MS, error)
    }
    const before = this.#outage
    const now = this.#clock.monotonic()
    // Of many questions that fail together, the first one counts.
    if (before === undefined || startedAt > before.since) {
      const count = before === undefined ? 0 : before.count + 1
      const backOffMs = Math.min(MAX_BACK_OFF_MS, FIRST_BACK_OFF_MS * 2 ** count)
      this.#source = undefined
      this.#outage = { since: now, until: now + backOffMs, count, error }
    }
    return unavailable((this.#outage?.until ?? now) - now, error)
  }

  async #fetchAnswer(
    token: string,
    fetchJson: FetchJson,
    postForm: PostForm,
    signal: AbortSignal,
  ): Promise<IntrospectionAnswer> {
    const url = await this.#findUrl(fetchJson)
    const authorization = await askAuthorization(this.#settings.authorize, signal)
    const form = new URLSearchParams({ token, token_type_hint: 'access_token' })
    const { signed } = this.#settings
    const accept = signed ? SIGNED_ANSWER : 'application/json'
    const ask = () => postForm(url, authorization, form, accept)
    const answer = await ask().catch((error: unknown) => {
      // A connection that was kept open may be closed just then; to ask again changes nothing.
      if (signal.aborted || (error as IssuerError).code !== 'unreachable') throw error
      return ask()
    })
    if (answer.bytes === undefined) {
      const code = NOT_SERVED.includes(answer.status) ? 'turned_away' : 'bad_answer'
      const cause = { expected: 200, actual: answer.status }
      throw new IssuerError(code, `${url} answered ${answer.status}`, { cause })
    }
    const members = await this.#readMembers(url, answer)
    if (typeof members['active'] !== 'boolean') {
      throw new IssuerError('bad_answer', `${url} answered no active that is true or false`)
    }
    return { members, size: weighJson(answer.bytes) }
  }

  async #readMembers(
    url: string,
    { bytes, type }: { readonly bytes: Buffer; readonly type: string },
  ): Promise<JsonObject> {
    const { signed } = this.#settings
    if (signed) {
      if (type === SIGNED_ANSWER) return signed.read(bytes.toString('latin1'))
      const cause = { expected: SIGNED_ANSWER, actual: type }
      throw new IssuerError('bad_answer', `${url} answered what is not signed`, { cause })
    }
    const parsed = parseJsonObject(bytes)
    if (parsed.ok) return parsed.value
    throw new IssuerError('bad_answer', `${url} answered JSON: ${parsed.reason}`)
  }

  async #findUrl(fetchJson: FetchJson): Promise<string> {
    const { issuer, url } = this.#settings
    if (url !== undefined) return url
    const now = this.#clock.monotonic()
    if (this.#source !== undefined && now - this.#source.at <= MAX_METADATA_AGE_MS) {
      return this.#source.url
    }
    this.#discovery ??= discoverUrl(issuer, 'introspection_endpoint', fetchJson)
      .then((found) => {
        this.#source = { url: found, at: now }
        return found
      })
      .catch((cause: unknown) => {
        const { code, message } = cause as IssuerError
        throw new IssuerError(code === 'bad_answer' ? 'turned_away' : code, message, { cause })
      })
      .finally(() => {
        this.#discovery = undefined
      })
    return this.#discovery
  }
}

const TOO_MANY = new IssuerError('turned_away', 'too many tokens wait for the issuer to be asked')
const STOPPED = new IssuerError('turned_away', 'this verifier was disposed of')

/** Whole seconds, and at least one: what `Retry-After` takes. */
function unavailable(milliseconds: number, cause: Error): IntrospectionUnavailable {
  const retryAfterSeconds = Math.max(1, Math.ceil(milliseconds / 1000))
  return { kind: 'introspection_unavailable', retryAfterSeconds, cause }
}

interface Turns {
  /** Whether one may begin: `false` where there is no more room, or it took too long. */
  take(): Promise<boolean>
  give(): void
}

/** First come, first served. Those who begin end in bounded time, and those who wait are seen to then. */
function createTurns(clock: Clock): Turns {
  const waiting: { readonly since: number; readonly begin: (may: boolean) => void }[] = []
  let asking = 0
  return {
    async take() {
      if (asking < MAX_ASKING) {
        asking += 1
        return true
      }
      if (waiting.length >= MAX_WAITING) return false
      return new Promise((begin) => waiting.push({ since: clock.monotonic(), begin }))
    },
    give() {
      asking -= 1
      while (asking < MAX_ASKING) {
        const next = waiting.shift()
        if (next === undefined) return
        const may = clock.monotonic() - next.since <= MAX_WAIT_MS
        if (may) asking += 1
        next.begin(may)
      }
    },
  }
}

function refuse(reason: IntrospectionUnavailable): {
  readonly ok: false
  readonly reason: IntrospectionUnavailable
} {
  return { ok: false, reason }
}

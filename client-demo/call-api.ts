import type { StepNotes } from './flow.ts'
import type { World } from './world.ts'

export interface ApiCall {
  /** Where the API answers. Default: the notes API. */
  readonly at?: string
  readonly method?: 'GET' | 'POST' | 'DELETE'
  readonly path?: string
  readonly token?: string
  /** Shows that the sender has the key of the token (RFC 9449). */
  readonly proof?: string
  /** Default: DPoP with a proof, else Bearer. */
  readonly scheme?: 'Bearer' | 'DPoP'
  readonly body?: Readonly<Record<string, string>>
}

export interface Note {
  readonly id: string
  readonly owner: string
  readonly text: string
}

export interface ApiAnswer {
  readonly status: number
  readonly challenge: string
  /** What the next proof is to hold. */
  readonly nonce: string | undefined
  readonly body: Partial<Note> & { readonly notes?: readonly Note[]; readonly error?: string }
}

/** Asks an API, with a token as RFC 6750 §2.1 or RFC 9449 §7.1 sends it, or without one. */
export async function callApi(
  { wire, api }: World,
  { at = api, method = 'GET', path = '/notes', token, proof, scheme, body }: ApiCall,
): Promise<ApiAnswer> {
  const how = scheme ?? (proof === undefined ? 'Bearer' : 'DPoP')
  const response = await wire.fetch(`${at}${path}`, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `${how} ${token}` }),
      ...(proof === undefined ? {} : { dpop: proof }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return readApiAnswer(response)
}

async function readApiAnswer(response: Response): Promise<ApiAnswer> {
  const text = await response.text()
  return {
    status: response.status,
    challenge: response.headers.get('www-authenticate') ?? '',
    nonce: response.headers.get('dpop-nonce') ?? undefined,
    body: text === '' ? {} : (JSON.parse(text) as ApiAnswer['body']),
  }
}

/** What an API is to say about a request that it refuses. */
export interface ApiRefusal {
  readonly status: number
  readonly error: string
}

export const INVALID_TOKEN: ApiRefusal = { status: 401, error: 'invalid_token' }
export const INSUFFICIENT_SCOPE: ApiRefusal = { status: 403, error: 'insufficient_scope' }

/** Both places of a refusal: the challenge is for libraries, the body for people. */
export function checkRefusal(
  { check }: StepNotes,
  { status, challenge, body }: ApiAnswer,
  expected: ApiRefusal,
  what = '',
): void {
  check(`${what}status`, expected.status, status)
  check(`${what}error in WWW-Authenticate`, expected.error, readParameter(challenge, 'error'))
  check(`${what}error in the body`, expected.error, body.error)
}

/** A token for reading alone writes nothing, and the API says what it would take. */
export async function checkNoWriting(notes: StepNotes, world: World, token: string): Promise<void> {
  const body = { text: 'Written without leave' }
  const answer = await callApi(world, { method: 'POST', token, body })
  checkRefusal(notes, answer, INSUFFICIENT_SCOPE)
  notes.check('the scope it takes', 'notes:write', readParameter(answer.challenge, 'scope'))
}

/** A parameter of a challenge (RFC 9110 §11.6.1), as an API of ours writes it. */
export function readParameter(challenge: string, name: string): string | undefined {
  return new RegExp(`\\b${name}="([^"]*)"`).exec(challenge)?.[1]
}

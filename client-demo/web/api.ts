import { readBounded } from '../read-bounded.ts'
import { Problem } from './problem.ts'
import type { Send } from './recorder.ts'

const TIMEOUT_MS = 5000
/** A thousand notes of two thousand characters. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024
const NOTE_ID = /^[\w-]{1,64}$/

export interface Note {
  readonly id: string
  readonly owner: string
  readonly text: string
  readonly createdAt: string
}

export interface ApiAnswer {
  /** What was asked, such as `DELETE /notes/7`. */
  readonly request: string
  readonly status: number
  readonly body: unknown
  readonly challenge: string | undefined
}

export type AskApi = (
  token: string,
  method: string,
  path: string,
  body?: object,
) => Promise<ApiAnswer>

/** Asks the API with an access token. No answer at all is a `Problem`; a refusal is an answer. */
export function createApi(api: string, send: Send): AskApi {
  return async (token, method, path, body) => {
    const headers = { accept: 'application/json', authorization: `Bearer ${token}` }
    const content = body && {
      body: JSON.stringify(body),
      headers: { ...headers, 'content-type': 'application/json' },
    }
    try {
      const response = await send(new URL(path, api).href, {
        method,
        headers,
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
        ...content,
      })
      return {
        request: `${method} ${path}`,
        status: response.status,
        body: parseJson(await readBounded(response, MAX_ANSWER_BYTES)),
        challenge: response.headers.get('www-authenticate')?.slice(0, 1000),
      }
    } catch (error) {
      const text = `No usable answer came from ${api}. Is it running? Try again in a moment.`
      throw new Problem(503, 'The notes API is not there', text, undefined, error)
    }
  }
}

/** The path of a note. An id with dots or slashes would lead elsewhere. */
export function pathOfNote(id: unknown): string {
  if (typeof id === 'string' && NOTE_ID.test(id)) return `/notes/${id}`
  throw new Problem(400, 'That is no note’s id', 'Ids are letters, digits, - and _.')
}

export function readNotes(body: unknown): Note[] {
  const notes: unknown = isRecord(body) ? body['notes'] : undefined
  return Array.isArray(notes) ? notes.map(readNote) : []
}

export function readNote(value: unknown): Note {
  const note = isRecord(value) ? value : {}
  const read = (name: string) => {
    const field = note[name]
    return typeof field === 'string' || typeof field === 'number' ? String(field) : ''
  }
  return { id: read('id'), owner: read('owner'), text: read('text'), createdAt: read('createdAt') }
}

/** What a refusal means to the person, in words. */
export function explainRefusal({ status, challenge, body }: ApiAnswer): string {
  const scope = /scope="([^"]*)"/.exec(challenge ?? '')?.[1]
  if (status === 401) return 'The API does not accept this access token.'
  if (status === 403 && scope) {
    return `Your access token does not carry ${scope}: the authorization server did not grant it to you.`
  }
  if (status === 403) return 'You may not do that.'
  if (status === 404)
    return 'For you, there is no such note. Whether it exists is nobody’s business.'
  if (status === 503) return 'The API cannot check access tokens just now. Try again in a moment.'
  const said = isRecord(body) ? body['error_description'] : undefined
  return typeof said === 'string' ? said.slice(0, 500) : 'The API gave no reason.'
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

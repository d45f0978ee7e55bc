import { createInviteOperations } from '../../auth-server/admin/invites.ts'
import { systemClock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { createEvents } from '../../auth-server/events.ts'
import { createLog } from '../../auth-server/log.ts'
import { openStores } from '../../auth-server/storage/stores.ts'
import type { Answer } from './endpoints.ts'
import { REDIRECT, type TestServer } from './server.ts'

export type Metadata = Readonly<Record<string, unknown>>

export const METADATA = { client_name: 'A New App', redirect_uris: [REDIRECT] }

export function withRegistration(registration: ConfigInput['registration']) {
  return (config: ConfigInput): ConfigInput => ({ ...config, registration })
}

type Place = Pick<TestServer, 'folder'>

/** As an operator works, beside the running server. */
async function openInvites({ folder }: Place) {
  const stores = await openStores(`sqlite:${folder}/portreeve.sqlite`, systemClock)
  const invites = createInviteOperations({
    registrations: stores.registrations,
    clock: systemClock,
    events: createEvents(createLog('silent')),
  })
  return { invites, [Symbol.asyncDispose]: () => stores[Symbol.asyncDispose]() }
}

export async function withdraw(place: Place, id: string): Promise<void> {
  await using operator = await openInvites(place)
  await operator.invites.remove(id)
}

export async function invite(
  place: Place,
  uses = 1,
  lifeMilliseconds = 60_000,
): Promise<{ readonly id: string; readonly token: string }> {
  await using operator = await openInvites(place)
  const { invites } = operator
  const expiresAt = systemClock.now() + lifeMilliseconds
  const made = await invites.add({ label: 'a test', uses, expiresAt })
  return { id: made.invite.id, token: made.token }
}

export async function send(
  url: string,
  method: string,
  body?: unknown,
  token?: string,
  headers: Readonly<Record<string, string>> = { 'content-type': 'application/json' },
): Promise<Answer> {
  const response = await fetch(url, {
    method,
    headers: { ...headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {},
  }
}

/** A client that has registered itself. */
export interface Registered {
  readonly id: string
  readonly secret: string
  /** What it is managed with, and where. */
  readonly token: string
  readonly url: string
  readonly body: Answer['body']
}

export async function register(
  issuer: string,
  metadata: Metadata = {},
  token?: string,
): Promise<Registered> {
  const answer = await send(`${issuer}/register`, 'POST', { ...METADATA, ...metadata }, token)
  if (answer.status !== 201) throw new Error(`not registered: ${answer.status} ${answer.text}`)
  const { body } = answer
  return {
    id: String(body['client_id']),
    secret: String(body['client_secret']),
    token: String(body['registration_access_token']),
    url: String(body['registration_client_uri']),
    body,
  }
}

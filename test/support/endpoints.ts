import { systemClock } from '../../auth-server/clock.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { basic } from './flow.ts'
import { makeProof, type ProofChange, type ProofClient } from './proof.ts'
import { WEB_SECRET } from './server.ts'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** Empty where the answer is no JSON. */
  readonly body: Readonly<Record<string, unknown>>
}

export type Form =
  | string
  | Readonly<Record<string, string>>
  | readonly (readonly [string, string])[]

/** Posts a form to the issuer; as the web client unless the headers say otherwise. */
export async function post(
  issuer: string,
  path: string,
  form: Form,
  headers: Readonly<Record<string, string>> = { authorization: basic('web', WEB_SECRET) },
): Promise<Answer> {
  const body = new URLSearchParams(form as Record<string, string>).toString()
  const response = await fetch(issuer + path, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {},
  }
}

export function introspect(
  issuer: string,
  token: string,
  headers?: Readonly<Record<string, string>>,
): Promise<Answer> {
  return post(issuer, '/introspect', { token }, headers)
}

export function revoke(
  issuer: string,
  token: string,
  headers?: Readonly<Record<string, string>>,
): Promise<Answer> {
  return post(issuer, '/revoke', { token }, headers)
}

export async function askUserinfo(
  issuer: string,
  token: string,
  headers: Readonly<Record<string, string>> = { authorization: `Bearer ${token}` },
): Promise<Answer> {
  const response = await fetch(`${issuer}/userinfo`, { headers })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: JSON.parse(text) as Record<string, unknown>,
  }
}

/** The proof for a request to the issuer itself, which has no access token yet. */
export function prove(
  client: ProofClient,
  issuer: string,
  path = '/token',
  { claims, header = {} }: ProofChange = {},
): string {
  const request = { method: 'POST', url: issuer + path, accessToken: '' }
  return makeProof(client, request, systemClock, { claims: { ath: undefined, ...claims }, header })
}

type Client = NonNullable<ConfigInput['clients']>[number]

/** Adds clients, and changes those that are there already. */
export function withClients(...clients: readonly (Partial<Client> & Pick<Client, 'id'>)[]) {
  return (config: ConfigInput): ConfigInput => {
    const known = new Map((config.clients ?? []).map((client) => [client.id, client]))
    for (const client of clients) known.set(client.id, { ...known.get(client.id), ...client })
    return { ...config, clients: [...known.values()] }
  }
}

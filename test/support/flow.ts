import { createHash, randomBytes } from 'node:crypto'
import { createBrowser, type Browser, type Page } from './browser.ts'
import { PASSWORDS, REDIRECT, WEB_SECRET } from './server.ts'

export interface TokenAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: {
    readonly access_token: string
    readonly refresh_token: string
    readonly id_token: string
    readonly token_type: string
    readonly scope: string
    readonly expires_in: number
    readonly error: string
    readonly error_description: string
  }
}

export interface AuthorizationRequest {
  readonly client_id?: string
  readonly redirect_uri?: string
  readonly scope?: string | undefined
  readonly resource?: string | readonly string[]
  readonly [parameter: string]: string | readonly string[] | undefined
}

/** A PKCE pair (RFC 7636). */
export function makePkce(): { verifier: string; challenge: string } {
  const verifier = randomBytes(32).toString('base64url')
  return { verifier, challenge: createHash('sha256').update(verifier).digest('base64url') }
}

export function authorizationUrl(
  issuer: string,
  challenge: string | undefined,
  request: AuthorizationRequest = {},
): string {
  const defaults = {
    client_id: 'web',
    response_type: 'code',
    redirect_uri: REDIRECT,
    scope: 'openid notes:read',
    state: 'a state',
    ...(challenge === undefined
      ? {}
      : { code_challenge: challenge, code_challenge_method: 'S256' }),
  }
  const url = new URL('/auth', issuer)
  for (const [name, value] of Object.entries({ ...defaults, ...request })) {
    for (const one of [value ?? []].flat()) url.searchParams.append(name, one)
  }
  return url.href
}

export async function signIn(
  browser: Browser,
  page: Page,
  username: keyof typeof PASSWORDS | 'nobody' = 'alice',
): Promise<Page> {
  const password = username === 'nobody' ? PASSWORDS.bob : PASSWORDS[username]
  return browser.submit(page, '/sign-in', { username, password })
}

/** Asks for authorization, signs in and agrees; answers what came back to the client. */
export async function authorize(
  issuer: string,
  request: AuthorizationRequest = {},
  who: keyof typeof PASSWORDS | 'nobody' = 'alice',
  browser: Browser = createBrowser(issuer),
): Promise<{ code: string; verifier: string; browser: Browser; answer: URLSearchParams }> {
  const { verifier, challenge } = makePkce()
  let page = await browser.get(authorizationUrl(issuer, challenge, request))
  if (page.text.includes('/sign-in"')) page = await signIn(browser, page, who)
  if (page.text.includes('/consent"')) page = await browser.submit(page, '/consent')
  if (page.location === undefined) {
    throw new Error(`no redirect to the client but ${page.status}: ${page.text.slice(0, 3000)}`)
  }
  const answer = new URL(page.location).searchParams
  return { code: answer.get('code') ?? '', verifier, browser, answer }
}

export function basic(id: string, secret: string): string {
  const encoded = [id, secret].map(encodeURIComponent).join(':')
  return `Basic ${Buffer.from(encoded).toString('base64')}`
}

/** Posts to the token endpoint; as the web client unless the headers say otherwise. */
export async function requestToken(
  issuer: string,
  body: Record<string, string> | string,
  headers: Record<string, string> = { authorization: basic('web', WEB_SECRET) },
): Promise<TokenAnswer> {
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams(body).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    // A proxy in between has pages of its own.
    body: (text.startsWith('{') ? JSON.parse(text) : {}) as TokenAnswer['body'],
  }
}

/** The whole code flow, from nothing to tokens. */
export async function obtainTokens(
  issuer: string,
  request: AuthorizationRequest = {},
  who: keyof typeof PASSWORDS | 'nobody' = 'alice',
): Promise<TokenAnswer['body'] & { readonly browser: Browser }> {
  const { code, verifier, browser, answer } = await authorize(issuer, request, who)
  if (code === '') throw new Error(`refused: ${answer.toString()}`)
  const { status, body } = await requestToken(issuer, {
    grant_type: 'authorization_code',
    code,
    code_verifier: verifier,
    redirect_uri: request.redirect_uri ?? REDIRECT,
  })
  if (status !== 200) throw new Error(`token endpoint: ${status} ${JSON.stringify(body)}`)
  return { ...body, browser }
}

export function refresh(
  issuer: string,
  refreshToken: string,
  more: Record<string, string> = {},
): Promise<TokenAnswer> {
  return requestToken(issuer, {
    grant_type: 'refresh_token',
    refresh_token: refreshToken,
    ...more,
  })
}

/** Header and claims of a JWT, unverified. */
export function decodeJwt(token: string): {
  header: Record<string, unknown>
  claims: Record<string, unknown>
} {
  const [header = '', claims = ''] = token.split('.')
  return { header: decodePart(header), claims: decodePart(claims) }
}

function decodePart(part: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as Record<string, unknown>
}

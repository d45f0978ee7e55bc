import { STATUS_CODES } from 'node:http'
import type { Context } from 'koa'
import { concealUrl } from '../conceal.ts'
import { concealFields, describeExchange, type SentRequest } from '../exchange.ts'
import type { Fields } from '../report.ts'
import { showValue } from '../value.ts'
import { describeToken } from './token-words.ts'
import type { Arrow, Party } from './trace.ts'

/** What was said, as arrows of the diagram. */

const LONGEST_VALUE = 400
const MOST_FIELDS = 40
const LONGEST_NAME = 80
const LONGEST_PATH = 100

const PLAIN = {
  isUnseen: false,
  isAnswer: false,
  isRefusal: false,
  meaning: '',
  fields: [],
  tokens: [],
} as const

function showFields(fields: Fields): Arrow['fields'] {
  return Object.entries(fields)
    .slice(0, MOST_FIELDS)
    .map(([name, value]) => ({
      name: cut(name, LONGEST_NAME),
      value: cut(showValue(value), LONGEST_VALUE),
    }))
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}…` : text
}

/** A request of the browser to this application. */
export function drawVisit(ctx: Context): Arrow {
  const form = (ctx.request.body ?? {}) as Readonly<Record<string, unknown>>
  const cookie = ctx.get('cookie') === '' ? {} : { cookie: '(hidden)' }
  return {
    ...PLAIN,
    from: 'browser',
    to: 'client',
    title: `${ctx.method} ${cut(concealUrl(ctx.path), LONGEST_PATH)}`,
    meaning: VISITS[`${ctx.method} ${ctx.path}`] ?? '',
    fields: showFields({ ...cookie, ...concealFields({ ...ctx.query, ...form }) }),
  }
}

const VISITS: Readonly<Record<string, string>> = {
  'POST /sign-in': 'The person wants to sign in.',
  'GET /callback':
    'The browser brings the answer of the authorization server: a code, or an error.',
  'POST /sign-out': 'The person wants to sign out.',
  'POST /refresh': 'The person wants a new access token now.',
}

/** What the browser was answered, and where it goes from there if that is the authorization server. */
export function drawAnswer(ctx: Context, issuer: string): readonly Arrow[] {
  const { status } = ctx
  const location = ctx.response.get('location')
  const answer: Arrow = {
    ...PLAIN,
    from: 'client',
    to: 'browser',
    isAnswer: true,
    isRefusal: status >= 400,
    title: `${status} ${STATUS_CODES[status] ?? ''}`.trim(),
    meaning: location === '' ? 'A page, and no token in it.' : '',
    fields: showFields(concealFields(location === '' ? {} : { location })),
  }
  const target = URL.parse(location)
  if (target?.origin !== new URL(issuer).origin) return [answer]
  return [answer, drawDeparture(target)]
}

/** The browser leaves for the authorization server, with what this application gave it to take along. */
function drawDeparture(target: URL): Arrow {
  const isSignOut = target.pathname.includes('/session/end')
  return {
    ...PLAIN,
    from: 'browser',
    to: 'server',
    isUnseen: true,
    title: `GET ${concealUrl(target.pathname)}`,
    meaning: isSignOut
      ? 'There the person confirms. This application has sent the browser there, and sees no more.'
      : 'There the person signs in and agrees. This application has sent the browser there, and sees ' +
        'neither the password nor the pages.',
    fields: showFields(concealFields(Object.fromEntries(target.searchParams))),
  }
}

/** How the browser came to bring this: the authorization server has sent it back. */
export function drawReturn(ctx: Context): readonly Arrow[] {
  const isReturn = ctx.path === '/callback' || (ctx.path === '/' && 'state' in ctx.query)
  if (!isReturn || ctx.method !== 'GET') return []
  return [
    {
      ...PLAIN,
      from: 'server',
      to: 'browser',
      isUnseen: true,
      isAnswer: true,
      isRefusal: 'error' in ctx.query,
      title: '303 See Other',
      meaning: 'The server sends the browser back here: so this application concludes.',
      fields: showFields(concealFields({ ...ctx.query })),
    },
  ]
}

/** A request of this application, and what it was answered. */
export function drawExchange(
  to: Party,
  url: string,
  sent: SentRequest,
  response: Response,
  text: string,
): readonly Arrow[] {
  const exchange = describeExchange(to, url, sent, response, text)
  const { status } = response
  const { pathname } = new URL(url)
  return [
    {
      ...PLAIN,
      from: 'client',
      to,
      title: `${exchange.method} ${cut(concealUrl(pathname), LONGEST_PATH)}`,
      meaning: REQUESTS[pathname] ?? '',
      fields: showFields({ URL: exchange.url, ...exchange.sent }),
      tokens: decodeAll({ 'the access token in it': readBearer(sent) }),
    },
    {
      ...PLAIN,
      from: to,
      to: 'client',
      isAnswer: true,
      isRefusal: status >= 400,
      title: `${status} ${STATUS_CODES[status] ?? ''}`.trim(),
      fields: showFields(exchange.received),
      tokens: pathname === '/token' ? decodeAll(readTokens(text)) : [],
    },
  ]
}

const REQUESTS: Readonly<Record<string, string>> = {
  '/.well-known/openid-configuration': 'The application asks the server where everything is.',
  '/token':
    'From this application to the server directly, with the secret that both know: no browser is between.',
  '/jwks': 'The public keys with which the ID token is checked.',
  '/userinfo': 'Who is it?',
}

/** The authorization server has ended the session, and this application obeys. */
export const SIGNED_OUT_BY_SERVER: readonly Arrow[] = [
  {
    ...PLAIN,
    from: 'server',
    to: 'client',
    title: 'POST /backchannel-logout',
    meaning:
      'Signed out by the server: it says that the sign-in is over, in a token that it has signed, and ' +
      'no browser is between.',
  },
  {
    ...PLAIN,
    from: 'client',
    to: 'server',
    isAnswer: true,
    title: '200 OK',
    meaning: 'The session is over here too, and its tokens are gone.',
  },
]

function readBearer({ headers = {} }: SentRequest): string | undefined {
  const authorization = new Headers({ ...headers }).get('authorization') ?? ''
  return /^bearer (.+)$/i.exec(authorization)?.[1]
}

function readTokens(text: string): Readonly<Record<string, string | undefined>> {
  try {
    const { access_token, id_token } = JSON.parse(text) as Readonly<Record<string, string>>
    return { access_token, id_token }
  } catch {
    return {}
  }
}

function decodeAll(tokens: Readonly<Record<string, string | undefined>>): Arrow['tokens'] {
  return Object.entries(tokens).flatMap(([name, token]) => {
    const words = typeof token === 'string' ? describeToken(token) : undefined
    return words ? [{ name, words }] : []
  })
}

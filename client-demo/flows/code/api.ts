import { decodeJwt, encodePart, explainMembers } from '../../claims.ts'
import type { Step, StepNotes } from '../../flow.ts'
import type { CodeStage, Note } from './stage.ts'

type CodeStep = Step<CodeStage>

export interface ApiCall {
  readonly method?: 'GET' | 'POST'
  readonly path?: string
  readonly token?: string
  readonly body?: Readonly<Record<string, string>>
}

export interface ApiAnswer {
  readonly status: number
  readonly challenge: string
  readonly body: Partial<Note> & { readonly notes?: readonly Note[]; readonly error?: string }
}

export async function callApi(
  { world }: CodeStage,
  { method = 'GET', path = '/notes', token, body }: ApiCall,
): Promise<ApiAnswer> {
  const response = await world.wire.fetch(`${world.api}${path}`, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return {
    status: response.status,
    challenge: response.headers.get('www-authenticate') ?? '',
    body: text === '' ? {} : (JSON.parse(text) as ApiAnswer['body']),
  }
}

/** Both places of a refusal: the challenge is for libraries, the body for people. */
export function checkRefusal(
  { check }: StepNotes,
  { status, challenge, body }: ApiAnswer,
  expected: { readonly status: number; readonly error: string },
  what = '',
): void {
  check(`${what}status`, expected.status, status)
  check(`${what}error in WWW-Authenticate`, expected.error, readParameter(challenge, 'error'))
  check(`${what}error in the body`, expected.error, body.error)
}

/** A parameter of a challenge (RFC 9110 §11.6.1), as an API of ours writes it. */
export function readParameter(challenge: string, name: string): string | undefined {
  return new RegExp(`\\b${name}="([^"]*)"`).exec(challenge)?.[1]
}

export const INVALID_TOKEN: { readonly status: number; readonly error: string } = {
  status: 401,
  error: 'invalid_token',
}

export const readToken: CodeStep = {
  title: 'What the access token says',
  why:
    'It is signed, not encrypted: whoever holds it can read it, so it holds nothing secret. ' +
    'The API needs no one else to check it, only the server’s public keys.',
  async run({ world, tokens }, { check, fact }) {
    const { header, claims } = decodeJwt(tokens.alice.get().access)
    for (const { name, value, meaning } of [header, claims].flatMap(explainMembers)) {
      fact(name, value, meaning)
    }
    check('typ', 'at+jwt', header['typ'])
    check('alg', 'ES256', header['alg'])
    check('iss', world.issuer, claims['iss'])
    check('sub is that of the ID token', tokens.alice.get().claims.sub, claims['sub'])
    check('roles', ['editor'], claims['roles'])
    check('lives for', 600, Number(claims['exp']) - Number(claims['iat']))
  },
}

export const writeNote: CodeStep = {
  title: 'The client writes a note for Alice, and lists hers',
  why: 'The API checks signature, issuer, audience, expiry and scope, and serves what is hers.',
  async run(stage, { check }) {
    const { access: token, claims } = stage.tokens.alice.get()
    const text = 'Oil the hinges of the north gate'
    const made = await callApi(stage, { method: 'POST', token, body: { text } })
    check('writing: status', 201, made.status)
    check('its text', text, made.body.text)
    check('its owner is Alice', claims.sub, made.body.owner)
    const { status, body } = await callApi(stage, { token })
    check('listing: status', 200, status)
    check(
      'her notes',
      [made.body.id],
      body.notes?.map(({ id }) => id),
    )
    stage.note.set(made.body as Note)
  },
}

export const sendNoToken: CodeStep = {
  title: 'Without a token, the API says what it wants',
  why: 'Nothing was wrong with the token: there was none. So the challenge names no error.',
  async run(stage, { check }) {
    const answer = await callApi(stage, {})
    check('status', 401, answer.status)
    check('the scheme', 'Bearer', answer.challenge.split(/[ ,]/)[0])
    check('error in WWW-Authenticate', false, answer.challenge.includes('error='))
  },
}

export const tamper: CodeStep = {
  title: 'Alice’s token with “admin” written into it is refused',
  why:
    'The signature is that of the old text. Nor does it help to take it off and say “alg: none”. ' +
    'The answer does not say which check failed: that would help only the forger.',
  async run(stage, notes) {
    const [header = '', , signature = ''] = stage.tokens.alice.get().access.split('.')
    const { claims } = decodeJwt(stage.tokens.alice.get().access)
    const forged = encodePart({ ...claims, roles: ['admin'] })
    const token = `${header}.${forged}.${signature}`
    checkRefusal(notes, await callApi(stage, { token }), INVALID_TOKEN, 'forged: ')
    const unsigned = `${encodePart({ alg: 'none', typ: 'at+jwt' })}.${forged}.`
    checkRefusal(notes, await callApi(stage, { token: unsigned }), INVALID_TOKEN, 'unsigned: ')
  },
}

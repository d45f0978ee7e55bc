import { callApi, checkRefusal, INVALID_TOKEN } from '../call-api.ts'
import { decodeJwt, explainMembers } from '../claims.ts'
import type { Flow, Step, StepNotes } from '../flow.ts'
import {
  call,
  checkAnswer,
  JSON_TYPE,
  leaveUnsigned,
  readMembers,
  signWithSecret,
  writeForm,
  type PlainAnswer,
} from '../plain-call.ts'
import { createSlot, type Slot } from '../slot.ts'
import { HEALTHCHECK, HELLO_ISSUER } from '../small-systems.ts'
import type { World } from '../world.ts'

interface PasswordStage {
  readonly world: World
  readonly token: Slot<string>
}

type PasswordStep = Step<PasswordStage>

export const passwordFlow: Flow<PasswordStage> = {
  name: 'password',
  summary: 'a program that knows no OAuth sends a password, and gets a JWT for one API',
  needs: ['hello', 'notes'],
  createStage: (world) => ({ world, token: createSlot('token') }),
  listSteps: () => [
    logIn,
    read,
    useToken,
    showNothing,
    forge,
    comeLate,
    useElsewhere,
    mistype,
    sendJson,
    guess,
  ],
}

const logIn: PasswordStep = {
  title: 'A program sends the user’s name and password, and gets a token',
  why:
    'The form of old, on a listener of its own that is off unless it is configured. In the flow ' +
    '“code” no client ever sees a password; move there where you can.',
  async run({ world, token }, { check }) {
    const answer = await sendPassword(world, 'naren', world.secrets.NAREN_PASSWORD)
    check('status', 200, answer.status)
    const { token: given, status } = readMembers(answer)
    check('its member status', 'success', status)
    token.set(String(given))
  },
}

function sendPassword(world: World, username: string, password: string): Promise<PlainAnswer> {
  return call(world, getTokenUrl(world), writeForm({ username, password }))
}

function getTokenUrl(world: World): string {
  return `${world.locateDirectAccess().secrets}/getToken`
}

const read: PasswordStep = {
  title: 'What the token says',
  why:
    'It is signed with a secret that the API has as well (HS256), so the API could make such tokens ' +
    'itself. Hence an issuer and a secret of its own: it is good there, and nowhere else.',
  async run({ world, token }, { check, fact }) {
    const { header, claims } = decodeJwt(token.get())
    for (const { name, value, meaning } of [header, claims].flatMap(explainMembers)) {
      fact(name, value, meaning)
    }
    check('alg', 'HS256', header['alg'])
    check('iss', HELLO_ISSUER, claims['iss'])
    check('iss is not the server’s own', true, claims['iss'] !== world.issuer)
    check('aud', HEALTHCHECK, claims['aud'])
    check('username', 'naren', claims['username'])
    for (const claim of ['password', 'roles', 'scope']) check(claim, false, claim in claims)
  },
}

const useToken: PasswordStep = {
  title: 'The API reads the user from it',
  why: 'The token comes in the header that these clients know. One middleware checks it for all routes.',
  async run({ world, token }, { check }) {
    const answer = await ask(world, token.get())
    check('status', 200, answer.status)
    check('user', 'naren', readMembers(answer)['user'])
  },
}

function ask(world: World, token: string | undefined): Promise<PlainAnswer> {
  const headers = token === undefined ? {} : { access_token: token }
  return call(world, `${world.locate('hello')}/healthcheck`, { headers })
}

const DENIED = { status: 403, text: 'Access Denied; Please check the access token' }

async function checkDenied(
  notes: StepNotes,
  world: World,
  tokens: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  for (const [what, token] of Object.entries(tokens)) {
    world.wire.announce(what)
    checkAnswer(notes, await ask(world, token), DENIED, `${what}: `)
  }
}

const showNothing: PasswordStep = {
  title: 'Without a token, access is denied',
  why: 'These clients know this sentence and the status 403. The API’s log has the reason.',
  async run({ world }, notes) {
    checkAnswer(notes, await ask(world, undefined), DENIED)
  },
}

const forge: PasswordStep = {
  title: 'So it is with tokens that somebody else has made',
  why:
    'The algorithm is checked before the key is used: alg none is no signature, and HS512 is not ' +
    'what this API takes, even with its secret.',
  async run({ world, token }, notes) {
    const { claims } = decodeJwt(token.get())
    const [header = '', , signature = ''] = token.get().split('.')
    const admin = Buffer.from(JSON.stringify({ ...claims, username: 'admin' })).toString(
      'base64url',
    )
    await checkDenied(notes, world, {
      'alg none': leaveUnsigned(claims),
      'HS512 in place of HS256': signWithSecret(world.secrets.SESSION_SECRET, claims, 'HS512'),
      'another secret': signWithSecret('session_secret', claims),
      '“admin” written into it': `${header}.${admin}.${signature}`,
    })
  },
}

const comeLate: PasswordStep = {
  title: 'And with those that have ended, or are not for this API',
  why: 'These are signed with the right secret: all that is wrong is what they say.',
  async run({ world, token }, notes) {
    const { claims } = decodeJwt(token.get())
    const { SESSION_SECRET } = world.secrets
    const ended = {
      ...claims,
      iat: Number(claims['iat']) - 7200,
      exp: Number(claims['iat']) - 3600,
    }
    await checkDenied(notes, world, {
      'ended an hour ago': signWithSecret(SESSION_SECRET, ended),
      'for another API': signWithSecret(SESSION_SECRET, {
        ...claims,
        aud: 'https://else.example/',
      }),
      'from another issuer': signWithSecret(SESSION_SECRET, { ...claims, iss: world.issuer }),
    })
  },
}

const useElsewhere: PasswordStep = {
  title: 'An API that checks with the server’s keys takes no such token',
  why: 'Whoever has the secret of one small API cannot enter another with it.',
  async run({ world, token }, notes) {
    checkRefusal(notes, await callApi(world, { token: token.get() }), INVALID_TOKEN)
  },
}

const mistype: PasswordStep = {
  title: 'A wrong password, and a user that does not exist',
  why:
    'The second answer tells strangers who exists: the system of old did, so this demonstration has ' +
    'turned it on. Otherwise it is 401 for both, after the same time.',
  async run({ world }, notes) {
    const wrong = await sendPassword(world, 'naren', 'a guess')
    checkAnswer(notes, wrong, { status: 401, text: 'Invalid Credentials' }, 'wrong: ')
    const unknown = await sendPassword(world, 'nobody', 'a guess')
    checkAnswer(notes, unknown, { status: 404, text: 'User is not found' }, 'unknown: ')
  },
}

const sendJson: PasswordStep = {
  title: 'What is no form is not looked at',
  why: 'A program that sends JSON is told what to send.',
  async run({ world }, notes) {
    const password = world.secrets.NAREN_PASSWORD
    const body = JSON.stringify({ username: 'naren', password })
    const request = { method: 'POST', headers: JSON_TYPE, body }
    const text = 'Please pass the data as URL form encoded'
    checkAnswer(notes, await call(world, getTokenUrl(world), request), { status: 400, text })
  },
}

const guess: PasswordStep = {
  title: 'Who guesses too often has to wait, even with the right password',
  why:
    'The same count as on the sign-in page, so that nobody guesses here instead: ten wrong ones at ' +
    'one account in a quarter of an hour. Dora is there for this alone.',
  async run({ world }, notes) {
    const guesses = await Promise.all(
      Array.from({ length: MOST_GUESSES }, () => sendPassword(world, 'dora', 'a guess')),
    )
    // Ten times the same is shown once.
    world.wire.take()
    const statuses = [...new Set(guesses.map(({ status }) => status))]
    notes.check(`${MOST_GUESSES} guesses: status`, '401', statuses.join(', '))
    const right = await sendPassword(world, 'dora', world.secrets.DORA_PASSWORD)
    checkAnswer(notes, right, { status: 429, text: 'Too many attempts' }, 'the right one: ')
  },
}

const MOST_GUESSES = 10

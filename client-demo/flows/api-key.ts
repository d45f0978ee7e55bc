import {
  ClientSecretBasic,
  genericGrantRequest,
  ResponseBodyError,
  type Configuration,
} from 'openid-client'
import { createBrowser, hasForm, readAll, type Browser } from '../browser.ts'
import { callApi, checkNoWriting } from '../call-api.ts'
import { decodeJwt, explainMembers } from '../claims.ts'
import { conceal } from '../conceal.ts'
import { NOTES } from '../configuration.ts'
import type { Flow, Step } from '../flow.ts'
import { findNotesDoor, noteMoments } from '../moment.ts'
import { checkTokenRefused, discoverServer } from '../oauth.ts'
import { signIn } from '../people.ts'
import {
  call,
  checkAnswer,
  JSON_TYPE,
  leaveUnsigned,
  readMembers,
  signWithSecret,
  writeJson,
  type PlainAnswer,
} from '../plain-call.ts'
import { createSlot, type Slot } from '../slot.ts'
import { API_V3, BACKUP_CLIENT } from '../small-systems.ts'
import type { World } from '../world.ts'

interface ApiKeyStage {
  readonly world: World
  readonly stopped: AbortSignal
  readonly browser: Browser
  /** A program that acts for Alice. */
  readonly client: Slot<Configuration>
  readonly key: Slot<string>
  readonly token: Slot<string>
  /** For the API of old. */
  readonly oldToken: Slot<string>
}

type ApiKeyStep = Step<ApiKeyStage>

export const apiKeyFlow: Flow<ApiKeyStage> = {
  name: 'api-key',
  summary: 'a program redeems an API key for a JWT of a few minutes, and shows the API that alone',
  needs: ['notes', 'hello'],
  createStage: (world, stopped) => ({
    world,
    stopped,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    key: createSlot('API key'),
    token: createSlot('access token'),
    oldToken: createSlot('token of old'),
  }),
  listSteps: () => [
    make,
    redeem,
    useToken,
    write,
    askForMore,
    mistype,
    revoke,
    redeemOldKey,
    useOldToken,
    sendWrongKeys,
    showBadTokens,
  ],
}

const GRANT = 'urn:portreeve:params:oauth:grant-type:api-key'

const make: ApiKeyStep = {
  title: 'Alice makes an API key at her account page',
  why: 'For one API, and to read there only. It is shown to her once; the server keeps its hash.',
  async run({ world, browser, key }, { check, fact }) {
    const start = await browser.get(`${world.issuer}/account`)
    await signIn(world, browser, start, 'alice')
    const form = await browser.get(
      `${world.issuer}/account/api-keys/new?resource=${encodeURIComponent(NOTES)}`,
    )
    const typed = { name: 'Backup of my notes', 'scope notes:read': 'yes', expires: '7' }
    const page = await browser.submit(form, '/account/api-keys', typed)
    const [made = ''] = readAll(page, '#key')
    fact('the key', conceal('key', made), '')
    fact('it may', readAll(page, '.scopes li').join(' · '), '')
    check('status', 200, page.status)
    check('it begins with', 'prk_', made.slice(0, 4))
    check('characters', 53, made.length)
    key.set(made)
  },
}

const redeem: ApiKeyStep = {
  title: 'A program redeems it at the token endpoint',
  why:
    'A grant of its own (RFC 6749 §4.5). The program is a client with a secret, so a key that is ' +
    'found somewhere is worth nothing alone.',
  async run({ world, client, key, token }, { check, fact }) {
    client.set(
      await discoverServer(world, BACKUP_CLIENT, ClientSecretBasic(world.secrets.BACKUP_SECRET)),
    )
    const answer = await redeemKey(client.get(), key.get())
    const { claims } = decodeJwt(answer.access_token)
    for (const { name, value, meaning } of explainMembers(claims)) fact(name, value, meaning)
    check('scope', 'notes:read', answer.scope)
    check('refresh token', false, 'refresh_token' in answer)
    check('client_id', BACKUP_CLIENT, claims['client_id'])
    check('it is about a person', true, String(claims['sub']).startsWith('acc_'))
    token.set(answer.access_token)
  },
}

function redeemKey(
  client: Configuration,
  key: string,
  more: Readonly<Record<string, string>> = {},
) {
  return genericGrantRequest(client, GRANT, { api_key: key, ...more })
}

const useToken: ApiKeyStep = {
  title: 'It lists Alice’s notes with the token',
  why: 'The API never sees the key. It checks the token as any other, and serves what is Alice’s.',
  async run({ world, token }, { check }) {
    const { status, body } = await callApi(world, { token: token.get() })
    check('status', 200, status)
    check('there is a list of notes', true, Array.isArray(body.notes))
  },
}

const write: ApiKeyStep = {
  title: 'It cannot write',
  why: 'Alice may, her key may not.',
  async run({ world, token }, notes) {
    await checkNoWriting(notes, world, token.get())
  },
}

const askForMore: ApiKeyStep = {
  title: 'Nor does it get more by asking',
  why: 'A token has at most what key, client and owner have in common.',
  async run({ client, key }, notes) {
    const answer = await redeemKey(client.get(), key.get(), { scope: 'notes:read notes:write' })
    notes.check('granted scope', 'notes:read', answer.scope)
    const asked = redeemKey(client.get(), key.get(), { scope: 'notes:write' })
    await checkTokenRefused(notes, asked, { status: 400, error: 'invalid_scope' }, 'nothing else')
  },
}

const mistype: ApiKeyStep = {
  title: 'A mistyped key is told from a wrong one',
  why: 'The last six characters are a checksum. The second key fits its own, and nobody has made it.',
  async run({ client, key }, { check }) {
    const mistyped = await explainRefusal(redeemKey(client.get(), swapLast(key.get())))
    check('one character: it says', MISTYPED, mistyped)
    const wrong = await explainRefusal(redeemKey(client.get(), UNKNOWN_KEY))
    check('nobody’s: it says', 'there is no such API key', wrong)
    const none = await explainRefusal(redeemKey(client.get(), 'my cat'))
    check('something else: it says', 'this is no API key: one begins with prk_', none)
  },
}

const MISTYPED = 'the API key is mistyped or cut off: its checksum does not fit'
const UNKNOWN_KEY = `prk_${'0'.repeat(43)}2htIMu`

/** What stands beside `invalid_grant`. */
async function explainRefusal(asked: Promise<unknown>): Promise<string | undefined> {
  const refusal = await asked.catch((error: unknown) => error)
  if (!(refusal instanceof ResponseBodyError) || refusal.error !== 'invalid_grant') throw refusal
  return refusal.error_description
}

function swapLast(key: string): string {
  return `${key.slice(0, -1)}${key.endsWith('a') ? 'b' : 'a'}`
}

const revoke: ApiKeyStep = {
  title: 'Alice revokes it, and neither it nor what it has given is good any more',
  why:
    'A click at her account page, while the program asks the API all the time. Times are counted from ' +
    'the answer to it.',
  async run({ world, browser, client, key, token, stopped }, notes) {
    const page = await browser.get(`${world.issuer}/account`)
    const click = async () => {
      const after = await browser.submit(page, REVOKE)
      notes.check('key on her page', false, hasForm(after, REVOKE))
      return browser.answeredAt()
    }
    await noteMoments(notes, [findNotesDoor(world, token.get())], click, stopped)
    const refusal = await explainRefusal(redeemKey(client.get(), key.get()))
    notes.check('it says', 'the API key was revoked', refusal)
  },
}

const REVOKE = '/account/api-keys/revoke'

const redeemOldKey: ApiKeyStep = {
  title: 'A program that knows no OAuth sends its key as JSON',
  why:
    'The same for clients of old, on a listener of its own. This one’s key is five letters long, which ' +
    'the server takes in a demonstration on loopback only.',
  async run({ world, oldToken }, { check, fact }) {
    const answer = await sendKey(world, world.secrets.DEMONSTRATION_KEY)
    check('status', 200, answer.status)
    const { data } = readMembers(answer) as { data: Readonly<Record<string, unknown>> }
    const given = String(data['token'])
    const { header, claims } = decodeJwt(given)
    for (const { name, value, meaning } of [header, claims].flatMap(explainMembers)) {
      fact(name, value, meaning)
    }
    check('code', 200, data['code'])
    check('user', 'front-team', claims['user'])
    check('aud', API_V3, claims['aud'])
    check('lives for', 180, Number(claims['exp']) - Number(claims['iat']))
    check('role', false, 'role' in claims)
    oldToken.set(given)
  },
}

function sendKey(world: World, key: string): Promise<PlainAnswer> {
  return call(world, getAuthUrl(world), writeJson('POST', { 'api-key': key }))
}

function getAuthUrl(world: World): string {
  return `${world.locateDirectAccess().secrets}/api/v3/auth`
}

const useOldToken: ApiKeyStep = {
  title: 'The token tells the secret, and is no admin’s',
  why: 'Whatever it holds, anybody who has it can read. So nothing sensitive stands in it.',
  async run({ world, oldToken }, notes) {
    const home = await callV3(world, 'home')
    checkAnswer(notes, home, { status: 200, text: 'hello world' }, 'home: ')
    const secret = { status: 200, text: "Ops, it's sensitive data :(" }
    const token = oldToken.get()
    checkAnswer(notes, await callV3(world, 'secret', token), secret, 'secret: ')
    const admin = await callV3(world, 'admin', token)
    notes.check('admin: status', 403, admin.status)
  },
}

function callV3(world: World, route: string, token?: string): Promise<PlainAnswer> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  return call(world, `${world.locate('hello')}/api/v3/${route}`, { headers })
}

const sendWrongKeys: ApiKeyStep = {
  title: 'A wrong key, no key and no JSON give none',
  why: 'The answer is one for all keys: revoked, expired or never made.',
  async run({ world }, { check }) {
    const wrong = await sendKey(world, 'WRONG')
    check('wrong: status', 400, wrong.status)
    check('wrong: it says', { data: { code: 400, message: 'invalid api key' } }, readMembers(wrong))
    const empty = await call(world, getAuthUrl(world), writeJson('POST', {}))
    check('no key: status', 400, empty.status)
    const words = { method: 'POST', headers: JSON_TYPE, body: 'hello' }
    const noJson = await call(world, getAuthUrl(world), words)
    check('no JSON: status', 400, noJson.status)
  },
}

const showBadTokens: ApiKeyStep = {
  title: 'Without a token, and with bad ones, the secret stays one',
  why: 'Two answers: one to who brings nothing, and one to who brings what is no good.',
  async run({ world, oldToken }, notes) {
    const missing = { status: 401, text: '{"Alert!":"Token is missing!"}' }
    checkAnswer(notes, await callV3(world, 'secret'), missing, 'none: ')
    const { claims } = decodeJwt(oldToken.get())
    const { API_V3_SECRET, SESSION_SECRET, DEMONSTRATION_KEY } = world.secrets
    const issued = Number(claims['iat'])
    const ended = { ...claims, iat: issued - 7200, exp: issued - 3600 }
    const invalid = { status: 403, text: '{"Message":"Invalid token"}' }
    for (const [what, token] of Object.entries({
      'ended an hour ago': signWithSecret(API_V3_SECRET, ended),
      'alg none': leaveUnsigned(claims),
      'signed with the key': signWithSecret(DEMONSTRATION_KEY, claims),
      'signed with the secret of another API': signWithSecret(SESSION_SECRET, claims),
    })) {
      world.wire.announce(what)
      checkAnswer(notes, await callV3(world, 'secret', token), invalid, `${what}: `)
    }
  },
}

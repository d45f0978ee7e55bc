import { ClientSecretBasic, tokenIntrospection, type Configuration } from 'openid-client'
import { createBrowser, readAll, type Browser, type Page } from '../browser.ts'
import { callApi, type ApiAnswer } from '../call-api.ts'
import { decodeJwt } from '../claims.ts'
import { EXPORT_TYPE, PRINTER_CLIENT } from '../configuration.ts'
import type { Flow, Step, StepNotes } from '../flow.ts'
import { checkAnswerRefused, discoverServer, makeRequest } from '../oauth.ts'
import { obtainTokens, visit } from '../people.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface RarStage {
  readonly world: World
  readonly browser: Browser
  readonly client: Slot<Configuration>
  /** For what Alice has agreed to. */
  readonly token: Slot<string>
  /** With which her notes are written. */
  readonly writing: Slot<string>
}

type RarStep = Step<RarStage>

/** @see {@link https://www.rfc-editor.org/rfc/rfc9396.html RFC 9396} */
export const rarFlow: Flow<RarStage> = {
  name: 'rar',
  summary:
    'a client asks for one thing in detail, a person agrees to just that, and the API holds it to that',
  needs: ['notes'],
  createStage: (world) => ({
    world,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    token: createSlot('token'),
    writing: createSlot('token to write with'),
  }),
  listSteps: () => [
    discover,
    agree,
    readToken,
    introspect,
    doIt,
    goElsewhere,
    sendMore,
    goWithout,
    askAgain,
    askNonsense,
  ],
}

const PLACE = 'printer.example'
const MOST = 2
const DETAIL = { type: EXPORT_TYPE, to: PLACE, notes: MOST }
/** Alice writes the notes that are to be printed. */
const WRITE = 'openid notes:read notes:write'

function describeRequest(...details: readonly object[]): Record<string, string> {
  return { scope: 'openid notes:read', authorization_details: JSON.stringify(details) }
}

const TYPES = 'authorization_details_types_supported'

const discover: RarStep = {
  title: 'The print shop looks up which details the server understands',
  why:
    '“Read your notes” is all that a scope can say. The shop wants to send two of them to its ' +
    'printer, once, and no more: that takes words of its own, which the API has declared.',
  async run({ world, client }, { check }) {
    const secret = ClientSecretBasic(world.secrets.PRINTER_SECRET)
    const config = await discoverServer(world, PRINTER_CLIENT, secret, [TYPES])
    const types = config.serverMetadata()[TYPES]
    const isKnown = Array.isArray(types) && types.includes(EXPORT_TYPE)
    check(`the server knows “${EXPORT_TYPE}”`, true, isKnown)
    client.set(config)
  },
}

const agree: RarStep = {
  title: 'Alice is asked for just that, in words',
  why: 'What she reads is what is signed into the token. This is what the page says:',
  async run({ world, browser, client, token }, { check, fact }) {
    const { consent, tokens } = await obtainTokens(
      world,
      client.get(),
      browser,
      'alice',
      describeRequest(DETAIL),
    )
    const said = consent ? readDetails(consent) : []
    for (const [index, line] of said.entries()) fact(index === 0 ? 'the page' : '', line, '')
    check('it says what is asked for', true, said[0]?.includes('Send some of your notes elsewhere'))
    check('and each member of it', [`To: ${PLACE}`, `Notes at most: ${MOST}`], said.slice(1))
    token.set(tokens.access)
  },
}

/** As they stand there: what it is for, and each member by its name. */
function readDetails(page: Page): string[] {
  const values = readAll(page, '.details dd')
  const members = readAll(page, '.details dt').map((name, index) => `${name}: ${values[index]}`)
  return [...readAll(page, '.details h2'), ...members]
}

const readToken: RarStep = {
  title: 'The token says what she has agreed to',
  why: 'The API reads it there, and need not ask anybody.',
  run({ token }, { check }) {
    const { claims } = decodeJwt(token.get())
    check('authorization_details', [DETAIL], claims['authorization_details'])
    return Promise.resolve()
  },
}

const introspect: RarStep = {
  title: 'So does the server, where it is asked about the token',
  why: 'For those who do not read tokens themselves (RFC 7662).',
  async run({ client, token }, { check }) {
    const known = await tokenIntrospection(client.get(), token.get())
    check('active', true, known.active)
    check('authorization_details', [DETAIL], known.authorization_details)
  },
}

async function exportNotes(world: World, token: string, to: string): Promise<ApiAnswer> {
  return callApi(world, { method: 'POST', path: '/exports', token, body: { to } })
}

/** Alice begins with none: what other flows have left of hers would be sent as well. */
async function removeNotes(world: World, token: string): Promise<void> {
  const { body } = await callApi(world, { token })
  for (const { id } of body.notes ?? []) {
    await callApi(world, { method: 'DELETE', path: `/notes/${id}`, token })
  }
}

async function writeNote({ check }: StepNotes, world: World, token: string, text: string) {
  const { status } = await callApi(world, { method: 'POST', token, body: { text } })
  check(`writing “${text}”: status`, 201, status)
}

const doIt: RarStep = {
  title: 'The API does what was agreed to',
  why:
    `It compares the request with the token, member by member. Alice has ${MOST} notes by now, ` +
    'written with another token.',
  async run({ world, browser, client, token, writing }, notes) {
    const { tokens } = await obtainTokens(world, client.get(), browser, 'alice', { scope: WRITE })
    writing.set(tokens.access)
    await removeNotes(world, tokens.access)
    for (const text of ['One', 'Two']) await writeNote(notes, world, tokens.access, text)
    const { status, body } = await exportNotes(world, token.get(), PLACE)
    notes.check('sending: status', 201, status)
    notes.check('notes that were sent', MOST, body.notes)
  },
}

const NOT_AGREED = { status: 403, error: 'not_agreed' }

function checkNotAgreed({ check }: StepNotes, { status, body }: ApiAnswer, what = ''): void {
  check(`${what}status`, NOT_AGREED.status, status)
  check(`${what}error`, NOT_AGREED.error, body.error)
}

const goElsewhere: RarStep = {
  title: 'It sends nothing anywhere else',
  why: 'The token is good, and carries the scope. Alice has agreed to one printer.',
  async run({ world, token }, notes) {
    checkNotAgreed(notes, await exportNotes(world, token.get(), 'elsewhere.example'))
  },
}

const sendMore: RarStep = {
  title: 'Nor more than she has agreed to',
  why: `She writes a third note: ${MOST} was what the page said.`,
  async run({ world, token, writing }, notes) {
    await writeNote(notes, world, writing.get(), 'Three')
    checkNotAgreed(notes, await exportNotes(world, token.get(), PLACE), 'sending: ')
  },
}

const goWithout: RarStep = {
  title: 'A token with the scope alone is not enough',
  why: 'The scope lets the shop read. That it may send something is another matter.',
  async run({ world, browser, client }, notes) {
    const scope = 'openid notes:read'
    const { tokens } = await obtainTokens(world, client.get(), browser, 'alice', { scope })
    const { status } = await callApi(world, { token: tokens.access })
    notes.check('reading: status', 200, status)
    checkNotAgreed(notes, await exportNotes(world, tokens.access, PLACE), 'sending: ')
  },
}

const askAgain: RarStep = {
  title: 'The next time Alice is asked again',
  why: 'A scope is agreed to once. A detail is agreed to each time: the next one may be another.',
  async run({ world, browser, client }, { check }) {
    const request = await makeRequest(world, client.get(), describeRequest(DETAIL))
    const { asked } = await visit(world, browser, request.url, 'alice')
    check('what she is asked', ['consent'], asked)
  },
}

const askNonsense: RarStep = {
  title: 'What the API has not declared cannot be asked for',
  why: 'A person can only agree to what the page can put into words.',
  async run({ world, browser, client }, notes) {
    for (const [what, detail] of [
      ['another type', { type: 'notes_deletion' }],
      ['another member', { ...DETAIL, forever: true }],
      ['no number', { ...DETAIL, notes: 'all of them' }],
    ] as const) {
      notes.fact(what, JSON.stringify(detail), '')
      const request = await makeRequest(world, client.get(), describeRequest(detail))
      const { answer, asked } = await visit(world, browser, request.url, 'alice')
      notes.check(`${what}: what she is asked`, [], asked)
      const error = 'invalid_authorization_details'
      await checkAnswerRefused(notes, client.get(), request, answer, error)
    }
  },
}

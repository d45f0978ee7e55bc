import { None, type Configuration } from 'openid-client'
import { createBrowser, readAll, type Browser } from '../browser.ts'
import { callApi, checkRefusal, INSUFFICIENT_SCOPE } from '../call-api.ts'
import { NOTES } from '../configuration.ts'
import { checkErrorPage } from '../error-page.ts'
import type { Flow, Step } from '../flow.ts'
import {
  checkRefreshRefused,
  checkTokenRefused,
  createNeighbour,
  discoverServer,
  makeRequest,
  redeem,
  refresh,
  type Tokens,
} from '../oauth.ts'
import { visit } from '../people.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { Json } from '../value.ts'
import type { World } from '../world.ts'

interface CimdStage {
  readonly world: World
  readonly browser: Browser
  readonly client: Slot<Configuration>
  readonly tokens: Slot<Tokens>
}

type CimdStep = Step<CimdStage>

/** @see {@link https://datatracker.ietf.org/doc/draft-ietf-oauth-client-id-metadata-document/ OAuth Client ID Metadata Document} */
export const cimdFlow: Flow<CimdStage> = {
  name: 'cimd',
  summary: 'an app that nobody registers, at any server: its id is where it says what it is',
  needs: ['notes'],
  createStage: (world) => ({
    world,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    tokens: createSlot('tokens'),
  }),
  listSteps: () => [
    comeWithNothing,
    publish,
    pretend,
    signIn,
    useTokens,
    comeAgain,
    goOn,
    change,
    askAnew,
    removeApp,
  ],
}

const PATH = '/app.json'
const SCOPE = 'openid profile notes:read'
/** Nobody has said which API is meant where it does not. */
const REQUEST = { scope: SCOPE, resource: NOTES }
const NAME = 'Trail Journal'
const NEW_NAME = 'Trail Journal and Maps'

const idOf = ({ site }: World) => site.locate(PATH)

function describeApp(world: World, path = PATH): Record<string, Json> {
  return {
    client_id: world.site.locate(path),
    client_name: NAME,
    redirect_uris: [world.callback.redirectUri],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'none',
    scope: `${SCOPE} notes:write`,
  }
}

const comeWithNothing: CimdStep = {
  title: 'An app comes with the URL of a document that is not there',
  why:
    'No operator has set it up, and it registers nowhere: its id is the URL. The server says in its ' +
    'metadata that it takes that. What it finds there it tells nobody but its operator.',
  async run({ world, browser, client }, notes) {
    const config = await discoverServer(world, idOf(world), None(), [
      'client_id_metadata_document_supported',
    ])
    const { client_id_metadata_document_supported: isTaken } = config.serverMetadata()
    notes.check('client_id_metadata_document_supported', true, isTaken)
    const { url } = await makeRequest(world, config, REQUEST)
    checkErrorPage(notes, await browser.get(url.href), 'invalid_client')
    client.set(config)
  },
}

const publish: CimdStep = {
  title: 'It publishes what it is',
  why: 'Once, for every server in the world. That is all it ever does to be known.',
  async run({ world }, { fact, check }) {
    world.site.publish(PATH, describeApp(world))
    fact('at', idOf(world), 'this is its client_id')
    const read = await world.wire.fetch(idOf(world))
    check('anybody can read it: status', 200, read.status)
  },
}

const pretend: CimdStep = {
  title: 'Documents that say too much, or are those of somebody else, are refused',
  why:
    'There is nobody to share a secret with; a document that was copied elsewhere is not that app, ' +
    'and nobody is told what was found there; no app has the name of one that the operator knows.',
  async run({ world, browser, client }, notes) {
    const bad = [
      ['copied from elsewhere', '/copied.json', { client_id: idOf(world) }],
      ['with a secret', '/secret.json', { client_secret: 'hush' }],
      ['that wants a secret', '/basic.json', { token_endpoint_auth_method: 'client_secret_basic' }],
      ['that returns to a script', '/script.json', { redirect_uris: ['javascript:alert(1)'] }],
      ['by a known name', '/name.json', { client_name: 'THE NOTES-ARCHIVE' }],
    ] as const
    for (const [what, path, more] of bad) {
      world.site.publish(path, { ...describeApp(world, path), ...more })
      const other = createNeighbour(world, client.get(), world.site.locate(path))
      const { url } = await makeRequest(world, other, REQUEST)
      world.wire.announce(what)
      const page = await browser.get(url.href)
      checkErrorPage(notes, page, 'invalid_client', `${what}: `)
      notes.fact(what, readAll(page, 'dl dd')[1] ?? '', '')
    }
    const query = createNeighbour(world, client.get(), `${idOf(world)}?x=1`)
    const { url } = await makeRequest(world, query, REQUEST)
    world.wire.announce('at a URL with a query')
    checkErrorPage(notes, await browser.get(url.href), 'invalid_client', 'at a URL with a query: ')
    notes.check(
      'nothing was fetched for a URL with a query',
      0,
      world.site.countReads(`${PATH}?x=1`),
    )
  },
}

const signIn: CimdStep = {
  title: 'Alice is asked, and shown where the app is from',
  why:
    'Its name is its own word. The host of its document is what she can go by, and where she would ' +
    'return to another host the page warns her.',
  async run({ world, browser, client, tokens }, { check, fact }) {
    const request = await makeRequest(world, client.get(), REQUEST)
    const { answer, asked, consent } = await visit(world, browser, request.url, 'alice')
    check('what she is asked', ['sign-in', 'consent'], asked)
    if (!consent) throw new TypeError('there was no consent page')
    check('this app is from', [world.site.host], readAll(consent, '.publisher'))
    check('nobody has checked it', true, consent.text.includes('Nobody here has checked this app'))
    fact('the page says', readAll(consent, '.caution').at(-1) ?? '', '')
    tokens.set(await redeem(client.get(), request, answer))
  },
}

const useTokens: CimdStep = {
  title: 'The app reads her notes, and writes none',
  why: 'It may do less than it has asked for: the operator says what such apps may do at most.',
  async run({ world, tokens }, notes) {
    const { access } = tokens.get()
    notes.check('reading: status', 200, (await callApi(world, { token: access })).status)
    const body = { text: 'Nobody has asked me' }
    const written = await callApi(world, { method: 'POST', token: access, body })
    checkRefusal(notes, written, INSUFFICIENT_SCOPE, 'writing: ')
  },
}

const comeAgain: CimdStep = {
  title: 'The next time she is asked again, and the document is not read again',
  why: 'What was read is believed for as long as the answer may be cached: a minute to an hour.',
  async run({ world, browser, client }, { check }) {
    const before = world.site.countReads(PATH)
    const request = await makeRequest(world, client.get(), REQUEST)
    const { asked } = await visit(world, browser, request.url, 'alice')
    check('what she is asked', ['consent'], asked)
    check('reads of the document', 0, world.site.countReads(PATH) - before)
  },
}

const goOn: CimdStep = {
  title: 'The server is started anew, and reads it once more: nothing has changed',
  why: 'What people agreed to is kept. What a document says now it has to say again.',
  async run({ world, client, tokens }, { check }) {
    await world.restartAuthServer()
    const before = world.site.countReads(PATH)
    tokens.set(await refresh(client.get(), tokens.get()))
    check('reads of the document', 1, world.site.countReads(PATH) - before)
    const read = await callApi(world, { token: tokens.get().access })
    check('reading: status', 200, read.status)
  },
}

const change: CimdStep = {
  title: 'The app becomes another one, and what it was given ends',
  why:
    'Alice has agreed to what the document said. It has another name now, and could as well lead ' +
    'elsewhere. (The server is started anew so that nobody has to wait until it reads it again.)',
  async run({ world, client, tokens }, notes) {
    world.site.publish(PATH, { ...describeApp(world), client_name: NEW_NAME })
    await world.restartAuthServer()
    await checkRefreshRefused(notes, client.get(), tokens.get(), 'refreshing')
  },
}

const askAnew: CimdStep = {
  title: 'Alice is asked whether she agrees to that as well',
  why: 'What she agrees to now is good from now on.',
  async run({ world, browser, client, tokens }, { check }) {
    const request = await makeRequest(world, client.get(), REQUEST)
    const { answer, asked, consent } = await visit(world, browser, request.url, 'alice')
    check('what she is asked', ['consent'], asked)
    check('the page is about', [NEW_NAME], consent ? readAll(consent, 'h1 .app') : [])
    const got = await redeem(client.get(), request, answer)
    tokens.set(await refresh(client.get(), got))
    const read = await callApi(world, { token: tokens.get().access })
    check('reading: status', 200, read.status)
  },
}

const removeApp: CimdStep = {
  title: 'The operator sees the app, and ends what it was given',
  why: 'To an operator it is a client like others: npx portreeve clients list, and clients remove.',
  async run({ world, client, tokens }, notes) {
    const shown = await world.operate('clients', 'show', idOf(world))
    const seen = (shown['client'] ?? shown) as Readonly<Record<string, unknown>>
    notes.check('owner', 'document', seen['owner'])
    await world.operate('clients', 'remove', idOf(world))
    const refused = { status: 401, error: 'invalid_client' }
    await checkTokenRefused(notes, refresh(client.get(), tokens.get()), refused, 'refreshing')
  },
}

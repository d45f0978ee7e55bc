import {
  buildAuthorizationUrlWithJAR,
  Configuration,
  PrivateKeyJwt,
  useJwtResponseMode,
} from 'openid-client'
import { createBrowser, readAll, type Browser } from '../browser.ts'
import { callApi } from '../call-api.ts'
import { decodeJwt, encodePart } from '../claims.ts'
import { makeClientKey, type ClientKey } from '../client-keys.ts'
import { conceal } from '../conceal.ts'
import { LEDGER_CLIENT } from '../configuration.ts'
import { checkErrorPage, checkSignedRefusal } from '../error-page.ts'
import type { Flow, Step } from '../flow.ts'
import { discoverServer, makeParameters, redeem, type AuthorizationRequest } from '../oauth.ts'
import { visit } from '../people.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface JarStage {
  readonly world: World
  readonly browser: Browser
  readonly client: Slot<Configuration>
  readonly request: Slot<AuthorizationRequest>
  readonly answer: Slot<URL>
}

type JarStep = Step<JarStage>

/** @see {@link https://www.rfc-editor.org/rfc/rfc9101.html RFC 9101} */
export const jarFlow: Flow<JarStage> = {
  name: 'jar',
  summary:
    'a client signs its request, the server signs its answer, and nobody in between changes either',
  needs: ['notes'],
  createStage: (world) => ({
    world,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    request: createSlot('authorization request'),
    answer: createSlot('answer'),
  }),
  listSteps: () => [
    discover,
    signRequest,
    tamperBeside,
    readAnswer,
    redeemCode,
    tamperInside,
    signAsSomebody,
    signNothing,
    sendAgain,
    sendUnsigned,
    tamperAnswer,
  ],
}

const SCOPE = 'openid profile notes:read'
const ELSEWHERE = 'https://elsewhere.example/'

const discover: JarStep = {
  title: 'The client has a key, and the server knows its public half',
  why:
    'There is no secret that both of them know: the server could not speak in the name of the ' +
    'client, and has nothing to lose. The registration says that requests and answers are signed.',
  async run({ world, client }, { check }) {
    const { signing } = world.keys.ledger
    const config = await discoverServer(world, LEDGER_CLIENT, PrivateKeyJwt(signing), [
      'request_parameter_supported',
      'request_object_signing_alg_values_supported',
      'response_modes_supported',
    ])
    useJwtResponseMode(config)
    const metadata = config.serverMetadata()
    check('the server takes signed requests', true, metadata.request_parameter_supported)
    const algorithms = metadata.request_object_signing_alg_values_supported ?? []
    check('it takes them by ES256', true, algorithms.includes('ES256'))
    const modes = metadata.response_modes_supported ?? []
    check('it signs its answers', true, modes.includes('jwt'))
    client.set(config)
  },
}

/** The library signs. */
async function sign(
  world: World,
  client: Configuration,
  { signing }: ClientKey,
): Promise<AuthorizationRequest> {
  const { parameters, secrets } = await makeParameters(world, { scope: SCOPE })
  return { url: await buildAuthorizationUrlWithJAR(client, parameters, signing), ...secrets }
}

const MEANINGS: Readonly<Record<string, string>> = {
  iss: 'who asks',
  aud: 'whom: another server cannot be asked with it',
  scope: 'for what',
  redirect_uri: 'where Alice is to come back to',
  response_mode: 'how: as a signed answer',
  exp: 'until when it is good, in seconds',
  jti: 'its own number: it is good once',
}

const signRequest: JarStep = {
  title: 'It signs its request',
  why: 'The browser carries it, and whoever has the browser can read it. This is what stands in it:',
  async run({ world, client, request }, { check, fact }) {
    const signed = await sign(world, client.get(), world.keys.ledger)
    const parameters = [...signed.url.searchParams.keys()].toSorted()
    check('the browser carries', 'client_id, request', parameters.join(', '))
    const { claims } = decodeJwt(signed.url.searchParams.get('request') ?? '')
    for (const [name, meaning] of Object.entries(MEANINGS)) {
      fact(name, conceal(name, claims[name]), meaning)
    }
    request.set(signed)
  },
}

const tamperBeside: JarStep = {
  title: 'Somebody adds parameters on the way, and they count for nothing',
  why: 'The server goes by what is signed. Alice is not asked for more, and is not sent elsewhere.',
  async run({ world, browser, request, answer: answered }, { check, fact }) {
    const url = new URL(request.get().url)
    url.searchParams.set('scope', `${SCOPE} notes:write`)
    url.searchParams.set('redirect_uri', ELSEWHERE)
    const { answer, consent } = await visit(world, browser, url, 'alice')
    const asked = consent ? readAll(consent, '.scopes li') : []
    fact('the page asks', asked.join(' · '), '')
    const isAsked = (what: string) => asked.some((scope) => scope.startsWith(what))
    check('question about reading', true, isAsked('Read'))
    check('question about writing', false, isAsked('Write'))
    check('she is back at', world.callback.redirectUri, `${answer.origin}${answer.pathname}`)
    answered.set(answer)
  },
}

const readAnswer: JarStep = {
  title: 'What she brings back is signed as well',
  why: 'A code of somebody else, or one of another server, cannot be slipped in.',
  run({ world, answer }, { check, fact }) {
    const { searchParams } = answer.get()
    check('the browser carries', 'response', [...searchParams.keys()].join(', '))
    const { claims } = decodeJwt(searchParams.get('response') ?? '')
    check('iss', world.issuer, claims['iss'])
    check('aud', LEDGER_CLIENT, claims['aud'])
    fact('code', conceal('code', claims['code']), '')
    return Promise.resolve()
  },
}

const redeemCode: JarStep = {
  title: 'The client checks it, gets tokens, and an API takes them',
  why: 'At the token endpoint it signs once more: an assertion takes the place of a secret.',
  async run({ world, client, request, answer }, { check }) {
    const tokens = await redeem(client.get(), request.get(), answer.get())
    check('granted scope', SCOPE, tokens.scope)
    const { status } = await callApi(world, { token: tokens.access })
    check('reading: status', 200, status)
  },
}

const tamperInside: JarStep = {
  title: 'Whoever changes what is signed breaks the signature',
  why: 'One word is enough. The server has nobody to send Alice back to: it tells her.',
  async run({ world, browser, client }, notes) {
    const { url } = await sign(world, client.get(), world.keys.ledger)
    const [header, payload, signature] = (url.searchParams.get('request') ?? '').split('.')
    const { claims } = decodeJwt([header, payload, signature].join('.'))
    const changed = encodePart({ ...claims, scope: `${SCOPE} notes:write` })
    url.searchParams.set('request', [header, changed, signature].join('.'))
    checkErrorPage(notes, await browser.get(url.href), INVALID)
  },
}

const INVALID = 'invalid_request_object'

const signAsSomebody: JarStep = {
  title: 'Nor does another key do, whatever it is called',
  why: 'Here somebody says that their key is the one of the client.',
  async run({ world, browser, client }, notes) {
    const own = await makeClientKey()
    const { kid } = world.keys.ledger
    const forged = { ...own, kid, signing: { key: own.signing.key, kid } }
    const { url } = await sign(world, client.get(), forged)
    checkErrorPage(notes, await browser.get(url.href), INVALID)
  },
}

const signNothing: JarStep = {
  title: 'Nor does a request that says it needs no signature',
  why: 'alg is what the sender says. The server has its own list, and “none” is not on it.',
  async run({ world, browser, client }, notes) {
    const { url } = await sign(world, client.get(), world.keys.ledger)
    const { claims } = decodeJwt(url.searchParams.get('request') ?? '')
    const unsigned = `${encodePart({ alg: 'none', typ: 'oauth-authz-req+jwt' })}.${encodePart(claims)}.`
    url.searchParams.set('request', unsigned)
    checkErrorPage(notes, await browser.get(url.href), INVALID)
  },
}

const sendAgain: JarStep = {
  title: 'A request is good once',
  why: 'Whoever finds it in a history, or in a log, has nothing.',
  async run({ world, browser, request }, notes) {
    await checkSignedRefusal(world, browser, notes, request.get().url, INVALID)
  },
}

const sendUnsigned: JarStep = {
  title: 'This client cannot go without',
  why: 'A request in plain words, as other clients send it, could be anybody’s.',
  async run({ world, browser, client }, notes) {
    const { parameters } = await makeParameters(world, { scope: SCOPE })
    const url = new URL(client.get().serverMetadata().authorization_endpoint ?? '')
    const plain = { client_id: LEDGER_CLIENT, response_type: 'code', ...parameters }
    url.search = new URLSearchParams({ ...plain, response_mode: 'jwt' }).toString()
    await checkSignedRefusal(world, browser, notes, url, 'invalid_request')
  },
}

const tamperAnswer: JarStep = {
  title: 'And an answer that was changed on the way is taken by no client that looks',
  why: 'The library checks it with the keys of the server, before it reads the code.',
  async run({ world, browser, client }, { check }) {
    const request = await sign(world, client.get(), world.keys.ledger)
    const { answer } = await visit(world, browser, request.url, 'alice')
    const [header, payload, signature] = (answer.searchParams.get('response') ?? '').split('.')
    const { claims } = decodeJwt([header, payload, signature].join('.'))
    const changed = encodePart({ ...claims, code: 'somebody else’s' })
    answer.searchParams.set('response', [header, changed, signature].join('.'))
    const refused = await redeem(client.get(), request, answer).then(
      () => 'taken',
      () => 'refused',
    )
    check('by the library', 'refused', refused)
  },
}

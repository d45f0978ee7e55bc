import {
  type Configuration,
  type DPoPHandle,
  fetchProtectedResource,
  getDPoPHandle,
  modifyAssertion,
  None,
  randomDPoPKeyPair,
} from 'openid-client'
import { createBrowser, type Browser } from '../browser.ts'
import { callApi, checkRefusal, INVALID_TOKEN, type ApiCall } from '../call-api.ts'
import { decodeJwt } from '../claims.ts'
import { conceal } from '../conceal.ts'
import { POCKET_CLIENT } from '../configuration.ts'
import type { Flow, Step } from '../flow.ts'
import {
  checkTokenRefused,
  discoverServer,
  INVALID_GRANT,
  makeRequest,
  redeem,
  refresh,
  type AuthorizationRequest,
  type Tokens,
} from '../oauth.ts'
import { visit } from '../people.ts'
import { makeProof, type KeyPair, type ProofClaims } from '../proof.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface DpopStage {
  readonly world: World
  readonly browser: Browser
  readonly client: Slot<Configuration>
  readonly key: Slot<ClientKey>
  readonly tokens: Slot<Tokens>
  readonly nonce: Slot<string>
}

interface ClientKey {
  readonly pair: KeyPair
  readonly thumbprint: string
  /** The library’s, which makes a proof for each request. */
  readonly handle: DPoPHandle
  /** What stood in the last proof that it made. */
  readonly lastProof: Slot<Readonly<Record<string, unknown>>>
}

type DpopStep = Step<DpopStage>

/** @see {@link https://www.rfc-editor.org/rfc/rfc9449.html RFC 9449} */
export const dpopFlow: Flow<DpopStage> = {
  name: 'dpop',
  summary: 'tokens are bound to a key of the client, and whoever steals one can do nothing with it',
  needs: ['notes'],
  createStage: (world) => ({
    world,
    browser: createBrowser(world.wire),
    client: createSlot('client'),
    key: createSlot('key'),
    tokens: createSlot('tokens'),
    nonce: createSlot('nonce'),
  }),
  listSteps: () => [
    makeKey,
    obtain,
    useToken,
    refreshWithKey,
    sendAlone,
    sendWithoutNonce,
    replay,
    sendOtherProofs,
    stealCode,
    stealRefreshToken,
  ],
}

const SCOPE = 'openid profile notes:read notes:write'

const makeKey: DpopStep = {
  title: 'The client makes a key',
  why:
    'It keeps the private half where nothing takes it out: a phone has a chip for that. The server ' +
    'and the API only ever learn the public one, and know it by its hash.',
  async run({ world, client, key }, { check, fact }) {
    client.set(
      await discoverServer(world, POCKET_CLIENT, None(), ['dpop_signing_alg_values_supported']),
    )
    const algorithms = client.get().serverMetadata().dpop_signing_alg_values_supported ?? []
    const made = await createKey(client.get())
    fact('its thumbprint', conceal('jkt', made.thumbprint), '')
    check('the server takes proofs by ES256', true, algorithms.includes('ES256'))
    key.set(made)
  },
}

async function createKey(client: Configuration): Promise<ClientKey> {
  const pair = await randomDPoPKeyPair('ES256')
  const lastProof: ClientKey['lastProof'] = createSlot('proof')
  const handle = getDPoPHandle(client, pair, {
    [modifyAssertion]: (_header, payload) => lastProof.set({ ...payload }),
  })
  return { pair, thumbprint: await handle.calculateThumbprint(), handle, lastProof }
}

const obtain: DpopStep = {
  title: 'Alice signs in, and the client gets tokens that are bound to its key',
  why:
    'With each request the client sends a proof: a few words about that request, signed with its ' +
    'key. This server wants a nonce of its own in it, so it sends the client back once.',
  async run(stage, { check }) {
    const { client, key, tokens } = stage
    const { request, answer } = await askAlice(stage)
    const { handle: DPoP, thumbprint } = key.get()
    const obtained = await redeem(client.get(), request, answer, { DPoP })
    const { cnf } = decodeJwt(obtained.access).claims
    check('cnf of the access token', { jkt: thumbprint }, cnf)
    tokens.set(obtained)
  },
}

async function askAlice({
  world,
  browser,
  client,
  key,
}: DpopStage): Promise<{ readonly request: AuthorizationRequest; readonly answer: URL }> {
  const parameters = { scope: SCOPE, dpop_jkt: key.get().thumbprint }
  const request = await makeRequest(world, client.get(), parameters)
  const { answer } = await visit(world, browser, request.url, 'alice')
  return { request, answer }
}

const MEANINGS: Readonly<Record<string, string>> = {
  htm: 'the method that it is for',
  htu: 'the address that it is for',
  ath: 'the hash of the token that it goes with',
  nonce: 'what this API said a moment ago',
  iat: 'when it was made, in seconds',
  jti: 'its own number: it is good once',
}

const useToken: DpopStep = {
  title: 'The API takes the token, with a proof',
  why:
    'The token names the key, and the proof shows that the sender has it. The API has a nonce of its ' +
    'own, too. This is what stands in the proof:',
  async run({ world, client, key, tokens }, { check, fact }) {
    const { handle: DPoP, lastProof } = key.get()
    const url = new URL(`${world.api}/notes`)
    const { access } = tokens.get()
    const answer = await fetchProtectedResource(client.get(), access, url, 'GET', null, undefined, {
      DPoP,
    })
    const proof = lastProof.get()
    for (const [name, meaning] of Object.entries(MEANINGS)) {
      fact(name, conceal(name, proof[name]), meaning)
    }
    check('status', 200, answer.status)
  },
}

const refreshWithKey: DpopStep = {
  title: 'The client refreshes, and shows its key again',
  why: 'It has no secret. That the refresh token is bound as well is what keeps it from others.',
  async run({ client, key, tokens }, { check }) {
    const { handle: DPoP, thumbprint } = key.get()
    const renewed = await refresh(client.get(), tokens.get(), { DPoP })
    check(
      'cnf of the new access token',
      { jkt: thumbprint },
      decodeJwt(renewed.access).claims['cnf'],
    )
    tokens.set(renewed)
  },
}

const sendAlone: DpopStep = {
  title: 'Somebody has stolen the token: by itself it is worth nothing',
  why:
    'From a log, say. A token that is bound to a key is never taken without a proof, whatever it is ' +
    'called.',
  async run({ world, tokens }, notes) {
    const token = tokens.get().access
    checkRefusal(notes, await callApi(world, { token }), INVALID_TOKEN, 'as Bearer: ')
    const bare = await callApi(world, { token, scheme: 'DPoP' })
    checkRefusal(notes, bare, INVALID_PROOF, 'without a proof: ')
  },
}

const INVALID_PROOF = { status: 401, error: 'invalid_dpop_proof' }

const USE_NONCE = { status: 401, error: 'use_dpop_nonce' }

const sendWithoutNonce: DpopStep = {
  title: 'A proof that was made before this moment is sent back',
  why:
    'Whoever had the key in hand for a minute could sign proofs for next week. The API wants to see ' +
    'what it said a moment ago.',
  async run({ world, key, tokens, nonce }, notes) {
    const call = { token: tokens.get().access }
    const { pair } = key.get()
    const answer = await callProving(world, pair, call)
    checkRefusal(notes, answer, USE_NONCE, 'without a nonce: ')
    const guess = await callProving(world, pair, call, { nonce: 'a guess' })
    checkRefusal(notes, guess, USE_NONCE, 'with a guess: ')
    nonce.set(answer.nonce ?? '')
  },
}

async function callProving(
  world: World,
  key: KeyPair,
  call: ApiCall & { readonly token: string },
  change: Partial<ProofClaims> = {},
) {
  const claims = { htm: call.method ?? 'GET', htu: `${world.api}/notes`, ...change }
  return callApi(world, { ...call, proof: await makeProof(key, call.token, claims) })
}

const replay: DpopStep = {
  title: 'A proof that somebody has overheard is good once, and that was',
  why: 'Each has a number, and the API remembers those that it has seen for as long as they are fresh.',
  async run({ world, key, tokens, nonce }, notes) {
    const token = tokens.get().access
    const claims = { htm: 'GET', htu: `${world.api}/notes`, nonce: nonce.get() }
    const proof = await makeProof(key.get().pair, token, claims)
    const { status } = await callApi(world, { token, proof })
    notes.check('the first time: status', 200, status)
    checkRefusal(notes, await callApi(world, { token, proof }), INVALID_PROOF, 'again: ')
  },
}

const sendOtherProofs: DpopStep = {
  title: 'Nor does any other proof fit',
  why:
    'The thief has a key, but not the one that the token names. And what the client signs for one ' +
    'request is no good for another.',
  async run({ world, client, key, tokens, nonce }, notes) {
    const { pair } = key.get()
    const { pair: thief } = await createKey(client.get())
    const attempts = [
      ['by another key', thief, {}],
      ['for another method', pair, { htm: 'POST' }],
      ['for another address', pair, { htu: `${world.api}/elsewhere` }],
    ] as const
    for (const [what, by, change] of attempts) {
      const claims = { htm: 'GET', htu: `${world.api}/notes`, nonce: nonce.get(), ...change }
      notes.fact(`a proof ${what}`, `${claims.htm} ${claims.htu}`, '')
      world.wire.announce(`a proof ${what}`)
      const answer = await callProving(world, by, { token: tokens.get().access }, claims)
      checkRefusal(notes, answer, INVALID_PROOF, `${what}: `)
    }
  },
}

const stealCode: DpopStep = {
  title: 'The code was for this key as well',
  why:
    'The client had said which key it would come with. Somebody else gets nothing for the code, even ' +
    'with the verifier, and does not use it up either.',
  async run(stage, notes) {
    const { client, key } = stage
    const { request, answer } = await askAlice(stage)
    const { handle: DPoP } = await createKey(client.get())
    const asked = redeem(client.get(), request, answer, { DPoP })
    await checkTokenRefused(notes, asked, INVALID_GRANT, 'with another key')
    const tokens = await redeem(client.get(), request, answer, { DPoP: key.get().handle })
    notes.check('with its own: granted scope', SCOPE, tokens.scope)
  },
}

const stealRefreshToken: DpopStep = {
  title: 'And so is the refresh token',
  why: 'Without the key, or with another one, nothing comes of it. To the client it is as good as before.',
  async run({ client, key, tokens }, notes) {
    const { handle: DPoP } = await createKey(client.get())
    const bare = refresh(client.get(), tokens.get())
    await checkTokenRefused(notes, bare, INVALID_GRANT, 'without a proof')
    const other = refresh(client.get(), tokens.get(), { DPoP })
    await checkTokenRefused(notes, other, INVALID_GRANT, 'with another key')
    const renewed = await refresh(client.get(), tokens.get(), { DPoP: key.get().handle })
    notes.check('with its own: granted scope', SCOPE, renewed.scope)
  },
}

import { createHash } from 'node:crypto'
import { clientCredentialsGrant, customFetch, TlsClientAuth, Configuration } from 'openid-client'
import { callApi, checkRefusal, INVALID_TOKEN } from '../call-api.ts'
import type { Certificate } from '../certificates.ts'
import { decodeJwt } from '../claims.ts'
import { conceal } from '../conceal.ts'
import { VAULT_CLIENT } from '../configuration.ts'
import type { Flow, Step } from '../flow.ts'
import { checkTokenRefused, discoverServer } from '../oauth.ts'
import { call, readMembers, writeForm } from '../plain-call.ts'
import { createSlot, type Slot } from '../slot.ts'
import type { World } from '../world.ts'

interface MtlsStage {
  readonly world: World
  readonly client: Slot<Configuration>
  /** Where the server takes certificates. */
  readonly tokenEndpoint: Slot<string>
  readonly token: Slot<string>
}

type MtlsStep = Step<MtlsStage>

/** @see {@link https://www.rfc-editor.org/rfc/rfc8705.html RFC 8705} */
export const mtlsFlow: Flow<MtlsStage> = {
  name: 'mtls',
  summary: 'a service proves who it is by a certificate, and its token is of no use without it',
  needs: ['notesOverTls'],
  createStage: (world) => ({
    world,
    client: createSlot('client'),
    tokenEndpoint: createSlot('token endpoint'),
    token: createSlot('token'),
  }),
  listSteps: () => [
    discover,
    obtain,
    readToken,
    useToken,
    sendAlone,
    showAnother,
    comeWithout,
    comeAsAnother,
    comeElsewhere,
  ],
}

const discover: MtlsStep = {
  title: 'The service has a certificate, and looks up where to show it',
  why:
    'The server asks for certificates at a place of its own, because browsers would ask people for ' +
    'one otherwise. It knows the service by the name that its authority has written into it.',
  async run({ world, client, tokenEndpoint }, { check, fact }) {
    const { client: own } = world.certificates()
    const found = await discoverServer(world, VAULT_CLIENT, TlsClientAuth(), [
      'mtls_endpoint_aliases',
      'tls_client_certificate_bound_access_tokens',
    ])
    const { mtls_endpoint_aliases: aliases, ...metadata } = found.serverMetadata()
    const place = aliases?.token_endpoint ?? ''
    world.wire.name(new URL(place).origin, 'authorization server, over TLS')
    fact('thumbprint of the certificate', conceal('x5t#S256', thumbprintOf(own)), '')
    const methods = metadata.token_endpoint_auth_methods_supported ?? []
    check('the server takes certificates of an authority', true, methods.includes(METHOD))
    check(
      'the server binds tokens to certificates',
      true,
      metadata.tls_client_certificate_bound_access_tokens,
    )
    const usesAliases = { use_mtls_endpoint_aliases: true }
    const server = found.serverMetadata()
    const config = new Configuration(server, VAULT_CLIENT, usesAliases, TlsClientAuth())
    config[customFetch] = (url, options) =>
      world.wire.fetch(url, { ...options, tls: showing(world, own) })
    client.set(config)
    tokenEndpoint.set(place)
  },
}

const METHOD = 'tls_client_auth'

function thumbprintOf({ der }: Certificate): string {
  return createHash('sha256').update(der).digest('base64url')
}

/** What a connection trusts, and shows. */
function showing(world: World, certificate: Certificate | undefined) {
  const { authority } = world.certificates()
  const shown = certificate ? { cert: certificate.pem, key: certificate.key } : {}
  return { ca: authority.pem, ...shown }
}

/** The notes API over TLS, with this certificate. */
function overTls(world: World, certificate: Certificate | undefined): World {
  const { wire } = world
  const tls = showing(world, certificate)
  const fetch: typeof wire.fetch = (url, init) => wire.fetch(url, { ...init, tls })
  return { ...world, api: world.locate('notesOverTls'), wire: { ...wire, fetch } }
}

const obtain: MtlsStep = {
  title: 'It connects with its certificate, and gets a token',
  why: 'There is no secret in the request: TLS has proven that the key of the certificate is there.',
  async run({ client, token }, { check }) {
    const answer = await clientCredentialsGrant(client.get(), { scope: 'notes:read' })
    check('granted scope', 'notes:read', answer.scope)
    check('token_type', 'bearer', answer.token_type)
    token.set(answer.access_token)
  },
}

const readToken: MtlsStep = {
  title: 'The token names the certificate',
  why: 'By its hash, in cnf: whoever takes the token can compare that with the connection.',
  async run({ world, token }, { check }) {
    const { cnf } = decodeJwt(token.get()).claims
    check('cnf', { 'x5t#S256': thumbprintOf(world.certificates().client) }, cnf)
  },
}

const useToken: MtlsStep = {
  title: 'The API takes the token from a connection with that certificate',
  why:
    'It does not care who has signed the certificate: the server has looked at that before it bound ' +
    'the token to it.',
  async run({ world, token }, { check }) {
    const { client: own } = world.certificates()
    const { status, body } = await callApi(overTls(world, own), { token: token.get() })
    check('status', 200, status)
    check('its notes', [], body.notes)
  },
}

const sendAlone: MtlsStep = {
  title: 'Somebody has stolen the token: without the certificate it is worth nothing',
  why: 'From a log, say. The key of the certificate never leaves the service.',
  async run({ world, token }, notes) {
    const answer = await callApi(overTls(world, undefined), { token: token.get() })
    checkRefusal(notes, answer, INVALID_TOKEN)
  },
}

const showAnother: MtlsStep = {
  title: 'Nor is it with another one, whatever it says',
  why:
    'One of the same authority is another certificate. One that says the same name, and that the ' +
    'thief has signed, is another one as well.',
  async run({ world, token }, notes) {
    const { other, forged } = world.certificates()
    const attempts = [
      ['of somebody else', other],
      ['by the same name', forged],
    ] as const
    for (const [what, certificate] of attempts) {
      world.wire.announce(`with a certificate ${what}`)
      const answer = await callApi(overTls(world, certificate), { token: token.get() })
      checkRefusal(notes, answer, INVALID_TOKEN, `${what}: `)
    }
  },
}

const INVALID_CLIENT = { status: 401, error: 'invalid_client' }

const comeWithout: MtlsStep = {
  title: 'Without a certificate nobody gets a token for the service',
  why: 'Its id is public.',
  async run({ world, tokenEndpoint }, { check }) {
    const answer = await askFor(world, tokenEndpoint.get(), undefined)
    check('status', INVALID_CLIENT.status, answer.status)
    check('error', INVALID_CLIENT.error, readMembers(answer)['error'])
  },
}

async function askFor(world: World, url: string, certificate: Certificate | undefined) {
  const form = writeForm({
    grant_type: 'client_credentials',
    client_id: VAULT_CLIENT,
    scope: 'notes:read',
  })
  return call(world, url, { ...form, tls: showing(world, certificate) })
}

const comeAsAnother: MtlsStep = {
  title: 'Nor with the certificate of somebody else, or one of its own making',
  why:
    'The name has to be right, and an authority that the server trusts has to have said so. Either ' +
    'alone is not enough.',
  async run({ world, tokenEndpoint }, { check }) {
    const { other, forged } = world.certificates()
    for (const [what, certificate] of [
      ['of somebody else', other],
      ['by the same name', forged],
    ] as const) {
      world.wire.announce(`with a certificate ${what}`)
      const answer = await askFor(world, tokenEndpoint.get(), certificate)
      check(`${what}: status`, INVALID_CLIENT.status, answer.status)
      check(`${what}: error`, INVALID_CLIENT.error, readMembers(answer)['error'])
    }
  },
}

const comeElsewhere: MtlsStep = {
  title: 'Where no certificate is asked for, there is nothing to be had either',
  why: 'The ordinary address goes on for everybody else, and takes no one’s word for a certificate.',
  async run({ world }, notes) {
    const plain = await discoverServer(world, VAULT_CLIENT, TlsClientAuth())
    const asked = clientCredentialsGrant(plain, { scope: 'notes:read' })
    await checkTokenRefused(notes, asked, INVALID_CLIENT, 'without TLS')
  },
}

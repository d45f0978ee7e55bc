import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { errors } from 'oidc-provider'
import type Provider from 'oidc-provider'
import {
  checkDpopReplay,
  checkDpopRequired,
  checkMtlsCert,
  validateDpop,
} from 'oidc-provider/lib/helpers/grants.js'
import type {
  AccessToken,
  Client as EngineClient,
  ClientCredentials,
  KoaContextWithOIDC,
} from 'oidc-provider'
import { readPresented } from '../certificates/presented.ts'
import type { ClientEncryptionAlgorithm } from '../config/built-in.ts'
import { PortreeveError } from '../errors.ts'
import type { FormPost } from './interaction.ts'
import { looksLikeJwt, type Binding } from './issued-token.ts'
import type { UserinfoToken } from './userinfo.ts'
import type { ClientSession } from './model-store.ts'

/**
 * Every reliance on what oidc-provider does not document. `internals.test.ts` holds each of them
 * against the installed version; a minor release may take any of them away.
 */
const SUPPORTED_VERSION = /^9\.13\./

/** Throws `misconfigured` where another engine than the tested one was installed. */
export function assertEngineVersion(): void {
  const manifest = createRequire(import.meta.url).resolve('oidc-provider/package.json')
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }
  if (SUPPORTED_VERSION.test(version)) return
  throw new PortreeveError(
    'misconfigured',
    `oidc-provider ${version} is installed, but this version of Portreeve was tested with 9.13. Install oidc-provider@~9.13.`,
    { cause: { expected: SUPPORTED_VERSION.source, actual: version } },
  )
}

/** Compares a client's secret with what is kept of it, instead of with the secret itself. */
export function replaceSecretComparison(
  provider: Provider,
  compare: (client: EngineClient, secret: string) => Promise<boolean>,
): void {
  Object.defineProperty(provider.Client.prototype, 'compareClientSecret', {
    configurable: true,
    value(this: EngineClient, secret: unknown) {
      return typeof secret === 'string' ? compare(this, secret) : Promise.resolve(false)
    },
  })
}

/**
 * Decides what was used already. The engine looks first and writes afterwards, and two at once would both
 * find nothing. It has the right error for an assertion of a client, which is the first thing that it asks
 * about in a request that has one, but calls a used proof of a key `invalid_grant`.
 */
export function replaceReplayCheck(
  provider: Provider,
  currentContext: () => KoaContextWithOIDC | undefined,
  takeOnce: (issuer: string, jti: string, expiresAt: number) => Promise<boolean>,
): void {
  const authenticated = new WeakSet<object>()
  const isOfAssertion = (ctx: KoaContextWithOIDC | undefined) => {
    if (ctx?.oidc.params?.['client_assertion'] === undefined || authenticated.has(ctx)) return false
    authenticated.add(ctx)
    return true
  }
  Object.defineProperty(provider.ReplayDetection, 'unique', {
    configurable: true,
    async value(issuer: string, jti: string, expiresAt: number) {
      const isAssertion = isOfAssertion(currentContext())
      const isTaken = await takeOnce(issuer, jti, expiresAt)
      if (isTaken || isAssertion) return isTaken
      throw new errors.InvalidDpopProof('the proof was used already')
    },
  })
}

type Jwk = Readonly<Record<string, unknown>>

interface ClientKeys extends Iterable<Jwk> {
  stale(): boolean
  clear(): void
  refresh(): Promise<void>
  selectForEncrypt(wanted: { readonly alg: string }): Jwk[]
}

function keysOf(client: EngineClient): ClientKeys {
  return (client as unknown as { asymmetricKeyStore: ClientKeys }).asymmetricKeyStore
}

/** Has something done to every client that the engine finds. */
function prepareClients(provider: Provider, prepare: (client: EngineClient) => void): void {
  const { Client } = provider
  const find = Client.find.bind(Client)
  Object.defineProperty(Client, 'find', {
    configurable: true,
    async value(id: string) {
      const client = await find(id)
      if (client) prepare(client)
      return client
    },
  })
}

/**
 * Has keys that a client publishes fetched again once they are old. The engine does so only where none of
 * those it has fits, so that a key which was withdrawn would be good for as long as nobody uses another.
 */
export function forgetStaleKeys(provider: Provider): void {
  prepareClients(provider, (client) => {
    if (client.jwksUri === undefined) return
    const keys = keysOf(client)
    if (keys.stale()) keys.clear()
  })
}

/**
 * Decides which key of a client something is encrypted to. The engine takes any key of the family, an
 * Ed25519 key for ECDH among them, and fails where it is of no use or too short. `choose` throws where
 * none fits.
 */
export function replaceKeyChoice(
  provider: Provider,
  choose: (keys: readonly Jwk[], algorithm: ClientEncryptionAlgorithm) => Jwk,
): void {
  prepareClients(provider, (client) => {
    const keys = keysOf(client)
    keys.selectForEncrypt = ({ alg }) => [choose([...keys], alg as ClientEncryptionAlgorithm)]
  })
}

/** The keys that a client declares, or publishes now. Refuses the client where they cannot be had. */
export async function readClientKeys(client: EngineClient): Promise<readonly Jwk[]> {
  const keys = keysOf(client)
  await keys.refresh()
  return [...keys]
}

/**
 * Has clients told of decisions by us (`notify.ts`): the engine would call them before the decision is
 * kept, have the person wait for them, and fail where they do.
 */
export function leavePingsToUs(provider: Provider): void {
  Object.defineProperty(provider.Client.prototype, 'backchannelPing', {
    configurable: true,
    value: async () => {},
  })
}

/** Gives every client the `sid` of its session, in ID tokens and through them in access tokens. */
export function includeSessionIds(provider: Provider): void {
  Object.defineProperty(provider.Client.prototype, 'includeSid', {
    configurable: true,
    value: () => true,
  })
}

/** Derives a rotated refresh token from its predecessor, so that retries come to the same one. */
export function deriveSuccessors(
  provider: Provider,
  currentContext: () => KoaContextWithOIDC | undefined,
  successor: (refreshToken: string) => string,
): void {
  const prototype = provider.RefreshToken.prototype as unknown as { generateTokenId(): string }
  const generate = prototype.generateTokenId
  Object.defineProperty(prototype, 'generateTokenId', {
    configurable: true,
    value(this: object) {
      const entities = currentContext()?.oidc.entities as { RotatedRefreshToken?: { jti: string } }
      const predecessor = entities?.RotatedRefreshToken
      return predecessor ? successor(predecessor.jti) : generate.call(this)
    },
  })
}

/**
 * Lets userinfo take our JWTs: where the engine looks an opaque token up, a JWT is verified and given
 * to it as the opaque token it would have been, so that the engine's own checks all run.
 */
export function acceptJwtsAtUserinfo(
  provider: Provider,
  currentContext: () => KoaContextWithOIDC | undefined,
  read: (token: string) => Promise<UserinfoToken | undefined>,
): void {
  const { AccessToken } = provider
  const find = AccessToken.find.bind(AccessToken)
  Object.defineProperty(AccessToken, 'find', {
    configurable: true,
    async value(token: unknown, options: unknown) {
      if (currentContext()?.oidc.route !== 'userinfo' || !looksLikeJwt(token)) {
        return find(token as string, options as never)
      }
      const known = await read(token)
      return known && new AccessToken(known as never)
    },
  })
}

/**
 * Lets a public client send its id by Basic with an empty password, as some HTTP libraries insist on.
 * The engine wants `client_id` in the body: it is put there after the body was parsed.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6749.html#section-2.3.1 RFC 6749 §2.3.1}
 */
export function acceptEmptyBasicPasswords(provider: Provider): void {
  const bodies = new WeakMap<object, Record<string, unknown>>()
  Object.defineProperty(provider.OIDCContext.prototype, 'body', {
    configurable: true,
    get(this: { ctx: KoaContextWithOIDC }) {
      return bodies.get(this)
    },
    set(this: { ctx: KoaContextWithOIDC }, body: Record<string, unknown>) {
      const id = this.ctx.state['emptyBasicClientId'] as string | undefined
      bodies.set(this, id === undefined ? body : { client_id: id, ...body })
    },
  })
}

/** The secret that the form of this page sends back, as the engine's own form would. */
export function readFormSecret(ctx: KoaContextWithOIDC): string {
  const secret: unknown = ctx.oidc.session?.state?.['secret']
  if (typeof secret !== 'string') throw new TypeError('the engine made no secret for this form')
  return secret
}

const FORM =
  /^<!DOCTYPE html>[^]*<script>([^<]*)<\/script>[^]*<form method="post" action="([^"]*)">([^]*)<noscript>/

/**
 * What the engine's own page posts to the client, if this is that page. Its policy has the hash of the
 * page's script, which is only good for that script.
 */
export function readFormPost({ oidc, status, body }: KoaContextWithOIDC): FormPost | undefined {
  if (oidc?.route !== 'authorization' && oidc?.route !== 'resume') return undefined
  const mode: unknown = oidc.params?.['response_mode']
  if ((mode !== 'form_post' && mode !== 'form_post.jwt') || typeof body !== 'string')
    return undefined
  const [, script = '', action, fields = ''] = FORM.exec(body) ?? []
  if (action === undefined) return undefined
  const inputs = fields.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"\/>/g)
  return {
    action: readAttribute(action),
    inputs: Object.fromEntries(
      [...inputs].map(([, name = '', value = '']) => [name, readAttribute(value)]),
    ),
    script,
    isRefusal: status >= 400,
  }
}

const MARKS = { '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'", '&amp;': '&' } as const

function readAttribute(text: string): string {
  return text.replaceAll(/&(?:lt|gt|quot|#39|amp);/g, (mark) => MARKS[mark as keyof typeof MARKS])
}

const CODE_FAULTS = {
  NoCodeError: 'missing',
  NotFoundError: 'unknown',
  ExpiredError: 'expired',
  AlreadyUsedError: 'used',
} as const

/** Why the engine has not taken a device's code; `undefined` where an error is about something else. */
export function nameCodeFault({
  name,
}: Error): 'missing' | 'unknown' | 'expired' | 'used' | undefined {
  return Object.hasOwn(CODE_FAULTS, name)
    ? CODE_FAULTS[name as keyof typeof CODE_FAULTS]
    : undefined
}

/** Whether the person, or a policy (then as the `cause`), has refused what a device asks for. */
export function isDeviceRefused({ name }: Error): boolean {
  return name === 'AbortedError'
}

/** The session that this request has ended, if it has ended one, with what its clients know it by. */
export function readEndedSession(
  ctx: KoaContextWithOIDC,
): { uid: string; clients: ClientSession[] } | undefined {
  const session = ctx.oidc?.session
  if (!session || !('destroyed' in session) || session.destroyed !== true) return undefined
  const { uid, accountId, authorizations = {} } = session
  const clients = Object.entries(authorizations).flatMap(([clientId, { sid }]) =>
    sid === undefined ? [] : [{ clientId, sid, accountId }],
  )
  return { uid, clients }
}

/**
 * The client that the person has left, where this confirmation has ended no session. The engine takes it
 * out of the row that the browser holds; it may stand in others.
 */
export function readLeftClient(
  ctx: KoaContextWithOIDC,
): { uid: string; clientId: string } | undefined {
  const { session, client } = ctx.oidc ?? {}
  if (!session || !client || readEndedSession(ctx)) return undefined
  return { uid: session.uid, clientId: client.clientId }
}

/**
 * The id that the session had before a resumed request gave it another. At other routes the engine
 * changes ids to forget what the session had: there nothing goes on.
 */
export function readReplacedSession(ctx: KoaContextWithOIDC | undefined): string | undefined {
  if (ctx?.oidc.route !== 'resume' && ctx?.oidc.route !== 'device_resume') return undefined
  const { oldId } = (ctx.oidc.session ?? {}) as { oldId?: string }
  return oldId
}

/**
 * Binds a token of a custom grant to the key that this request proves (RFC 9449 §5), or to the certificate
 * that it shows (RFC 8705 §3), as the engine does for its own grants, and refuses a request without one of
 * a client that has to have it.
 */
export async function bindToProof(
  ctx: KoaContextWithOIDC,
  token: AccessToken | ClientCredentials,
): Promise<void> {
  const { provider, client } = ctx.oidc
  const proof = await validateDpop(provider, ctx)
  const certificate = checkMtlsCert(provider, ctx)
  if (certificate) token.setThumbprint('x5t', certificate)
  checkDpopRequired(provider, ctx, proof)
  if (!proof || !client) return
  await checkDpopReplay(provider, ctx, proof, client.clientId)
  token.setThumbprint('jkt', proof.thumbprint)
}

/** What this request proves that it has: the key of a DPoP proof, the one of a certificate, or both. */
export async function readProven(ctx: KoaContextWithOIDC): Promise<readonly Binding[]> {
  const proof = await validateDpop(ctx.oidc.provider, ctx)
  const certificate = readPresented(ctx.req)?.certificate
  const thumbprint = certificate && hash('sha256', certificate.raw, 'base64url')
  return [
    ...(proof ? [{ kind: 'jkt', thumbprint: proof.thumbprint } as const] : []),
    ...(thumbprint === undefined ? [] : [{ kind: 'x5t#S256', thumbprint } as const]),
  ]
}

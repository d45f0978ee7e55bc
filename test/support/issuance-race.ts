import { randomInt, randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import {
  createApiKeyId,
  generateApiKey,
  hashApiKey,
  MOST_API_KEYS,
} from '../../auth-server/api-keys/api-key.ts'
import { createAccountId } from '../../auth-server/admin/users.ts'
import { generateClientSecret } from '../../auth-server/clients/secret.ts'
import { systemClock } from '../../auth-server/clock.ts'
import { GRANT_TYPES, type GrantType } from '../../auth-server/config/built-in.ts'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import type { Stores } from '../../auth-server/storage/stores.ts'
import { createRevocationStore } from '../../resource-server/revocation-store.ts'
import { createRandom, type Random } from '../fault/random.ts'
import { account, client as describeClient } from '../storage/records.ts'
import { readLog, untilAnswered } from '../storage/world.ts'
import type { Browser } from './browser.ts'
import { authorize, basic, decodeJwt, requestToken, type TokenAnswer } from './flow.ts'
import { NOTES, REDIRECT } from './server.ts'

/** Tokens that are asked for while what they would hang on is taken away, for good. */
interface Race {
  /** Whoever has a refresh token has it once. */
  readonly once?: true
  readonly ask: (issuer: string) => Promise<TokenAnswer>
  readonly end: () => Promise<unknown>
}

interface Course {
  /** As an operator has them, beside the servers. */
  readonly stores: Stores
  /** Of the servers, which may listen elsewhere than the issuer. */
  readonly urls: readonly string[]
  /** What people are asked for by. */
  readonly client: MadeClient
}

interface MadeClient {
  readonly id: string
  readonly headers: Record<string, string>
}

type Kind = (course: Course) => Promise<Race>

const SCOPE = 'notes:read'
const IDP = 'https://idp.example/'
const idp = await makeKey()

async function makeKey() {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid: 'idp', alg: 'ES256' } }
}

/** What the races need of a server. */
export function withCourse(config: ConfigInput): ConfigInput {
  const idpOfPeople: NonNullable<ConfigInput['trustedIssuers']>[number] = {
    issuer: IDP,
    jwks: { keys: [{ ...idp.jwk }] },
    scopes: [SCOPE],
    accountClaim: 'preferred_username',
    profile: 'plain',
  }
  // Whoever is asked for after the end is wrong, from one address, thousands of times.
  const limit = { attempts: 1_000_000, windowSeconds: 900 }
  const signIn = { ...config.signIn, perAccount: limit, perAddress: limit, overall: limit }
  return { ...config, signIn, trustedIssuers: [idpOfPeople] }
}

async function addClient(
  { stores }: Pick<Course, 'stores'>,
  ...grants: readonly GrantType[]
): Promise<MadeClient> {
  const { secret, hash: secretHash } = generateClientSecret()
  const id = `client-${randomUUID()}`
  const scopes = ['openid', SCOPE]
  const assertionIssuers = [IDP]
  const made = { id, secretHash, grants, scopes, assertionIssuers, redirectUris: [REDIRECT] }
  await stores.clients.insert(describeClient({ ...made, defaultResource: NOTES, firstParty: true }))
  return { id, headers: { authorization: basic(id, secret) } }
}

async function addAccount({ stores }: Course) {
  const id = createAccountId()
  const username = `user-${randomUUID()}`
  await stores.accounts.insert(account({ id, username, roles: ['reader'] }))
  return { id, username }
}

async function addKey(course: Course) {
  const { id: accountId } = await addAccount(course)
  const text = generateApiKey()
  const id = createApiKeyId()
  const times = { expiresAt: undefined, lastUsedAt: undefined, revokedAt: undefined }
  const createdAt = systemClock.now()
  const of = { id, accountId, name: 'A race', resource: NOTES, scopes: [SCOPE] }
  const key = { ...of, hash: hashApiKey(text), createdAt, ...times }
  await course.stores.apiKeys.insert(key, MOST_API_KEYS)
  return { accountId, keyId: id, text }
}

async function withdrawClient(course: Course): Promise<Race> {
  const { id, headers } = await addClient(course, 'client_credentials')
  return {
    ask: (url) => requestToken(url, { grant_type: 'client_credentials', scope: SCOPE }, headers),
    end: () => course.stores.clients.remove(id),
  }
}

/** By another issuer's word: such a token hangs on no grant. */
async function disableUser(course: Course): Promise<Race> {
  const { id, username } = await addAccount(course)
  const { client } = course
  const assert = (issuer: string) =>
    new SignJWT({ client_id: client.id, preferred_username: username })
      .setProtectedHeader({ alg: 'ES256', kid: 'idp', typ: 'JWT' })
      .setIssuer(IDP)
      .setSubject(username)
      .setAudience(issuer)
      .setJti(randomUUID())
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(idp.privateKey)
  return {
    async ask(url) {
      const form = { grant_type: GRANT_TYPES.jwt_bearer, assertion: await assert(url) }
      return requestToken(url, form, client.headers)
    },
    end: () => course.stores.accounts.updateAndEndAccess({ id, disabled: true }),
  }
}

async function redeemKey(
  course: Course,
  end: (key: Awaited<ReturnType<typeof addKey>>) => Promise<unknown>,
): Promise<Race> {
  const key = await addKey(course)
  const { headers } = course.client
  const form = { grant_type: GRANT_TYPES.api_key, api_key: key.text }
  return { ask: (url) => requestToken(url, form, headers), end: () => end(key) }
}

const revokeKey: Kind = (course) =>
  redeemKey(course, ({ keyId }) => course.stores.apiKeys.revoke(keyId))

const disableOwner: Kind = (course) =>
  redeemKey(course, ({ accountId: id }) =>
    course.stores.accounts.updateAndEndAccess({ id, disabled: true }),
  )

/** A refresh token that hangs on the session; `end` gets what names both. */
async function refreshTokenOf(
  course: Course,
  end: (claims: Record<string, unknown>, browser: Browser) => Promise<unknown>,
): Promise<Race> {
  const [issuer = ''] = course.urls
  const { id, headers } = await addClient(course, 'authorization_code', 'refresh_token')
  const { code, verifier, browser } = await authorize(issuer, { client_id: id, scope: SCOPE })
  const form = { code, code_verifier: verifier, redirect_uri: REDIRECT }
  const { status, body } = await requestToken(
    issuer,
    { grant_type: 'authorization_code', ...form },
    headers,
  )
  if (status !== 200) throw new Error(`no token to race with: ${status} ${JSON.stringify(body)}`)
  const { claims } = decodeJwt(body.access_token)
  const refresh = { grant_type: 'refresh_token', refresh_token: body.refresh_token }
  const ask = (url: string) => requestToken(url, refresh, headers)
  return { once: true, ask, end: () => end(claims, browser) }
}

const withdrawConsent: Kind = (course) =>
  refreshTokenOf(course, ({ grant_id: grantId }) =>
    course.stores.access.end('grant', String(grantId)),
  )

const signOut: Kind = (course) =>
  refreshTokenOf(course, async (_claims, browser) => {
    const page = await browser.get(`${course.urls[0]}/session/end`)
    await browser.submit(page, '/session/end/confirm', { logout: 'yes' })
  })

export async function prepareCourse(
  stores: Stores,
  ...servers: readonly { readonly url: string }[]
): Promise<Course> {
  const client = await addClient({ stores }, 'api_key', 'jwt_bearer')
  return { stores, client, urls: servers.map(({ url }) => url) }
}

const KINDS = { withdrawClient, disableUser, revokeKey, disableOwner, withdrawConsent, signOut }
export type RaceKind = keyof typeof KINDS

export interface Outcome {
  /** How many tokens were given, and how often there was none. */
  readonly given: number
  /** Of those that were not given, by their errors. */
  readonly refused: Readonly<Record<string, number>>
  /** Claims of tokens that an API which has the whole log would take. */
  readonly outlived: readonly Record<string, unknown>[]
  /** Refresh tokens that are good still. */
  readonly alive: number
}

export function countRaces({ given, refused }: Outcome): number {
  return Object.values(refused).reduce((sum, count) => sum + count, given)
}

export function addOutcomes(one: Outcome, two: Outcome): Outcome {
  const errors = new Set([...Object.keys(one.refused), ...Object.keys(two.refused)])
  return {
    given: one.given + two.given,
    refused: Object.fromEntries(
      [...errors].map((name) => [name, (one.refused[name] ?? 0) + (two.refused[name] ?? 0)]),
    ),
    outlived: [...one.outlived, ...two.outlived],
    alive: one.alive + two.alive,
  }
}

/**
 * What is asked for in one second may be signed in the next, when an entry that says the former is no news
 * about it: the ends come in the last moments of a second, and so does most of what they race with.
 */
const ASK_WITHIN_MS = 200
const END_AFTER_MS = 90
const END_WITHIN_MS = 50
/** So many are asked for at each end. */
const TOKENS = 10

/**
 * Runs so many races of each kind, all at once around the end of a second, half of them at each server,
 * and looks what is left when all have ended.
 */
export async function raceIssuance(
  course: Course,
  counts: Partial<Record<RaceKind, number>>,
  random: Random = createRandom(randomInt(2 ** 31)),
): Promise<Outcome> {
  const races: Race[] = []
  for (const [name, count] of Object.entries(counts)) {
    for (let made = 0; made < count; made += 1) races.push(await KINDS[name as RaceKind](course))
  }
  await wait((2000 - ASK_WITHIN_MS + 40 - (systemClock.now() % 1000)) % 1000)
  const answers = await Promise.all(
    races.map(async ({ ask, once, end }) => {
      const asking = Array.from({ length: once ? 1 : TOKENS }, async (_, index) => {
        await wait(random.below(ASK_WITHIN_MS))
        return ask(course.urls[index % course.urls.length] ?? '')
      })
      const ending = wait(END_AFTER_MS + random.below(END_WITHIN_MS)).then(() => untilAnswered(end))
      const [answered] = await Promise.all([Promise.all(asking), ending])
      return answered.map((answer) => ({ answer }))
    }),
  ).then((groups) => groups.flat())
  const given = answers.filter(({ answer }) => answer.status === 200)
  const unexpected = answers.filter(
    ({ answer: { status } }) => ![200, 400, 401, 503].includes(status),
  )
  if (unexpected.length > 0) throw new Error(JSON.stringify(unexpected[0]?.answer))
  const isRevoked = await readAsApi(course.stores)
  const claims = given.map(({ answer }) => decodeJwt(answer.body.access_token).claims)
  const again = await Promise.all(races.map(({ ask }) => ask(course.urls[0] ?? '')))
  return {
    given: given.length,
    refused: countErrors(answers.map(({ answer }) => answer)),
    outlived: claims.filter((one) => !isRevoked(one)),
    alive: again.filter(({ status }) => status === 200).length,
  }
}

function countErrors(answers: readonly TokenAnswer[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { status, body } of answers) {
    if (status === 200) continue
    counts[body.error] = (counts[body.error] ?? 0) + 1
  }
  return counts
}

const MOST_ENTRIES = 1_000_000

/** What an API refuses that has applied the log to its end. */
async function readAsApi(stores: Stores): Promise<(claims: Record<string, unknown>) => boolean> {
  const view = createRevocationStore(MOST_ENTRIES)
  for (const { kind, subject, revokedAt, expiresAt } of await readLog(stores)) {
    const [from, until] = [revokedAt, expiresAt].map((time) => Math.floor(time / 1000)) as [
      number,
      number,
    ]
    view.add({ kind, subject, revokedAt: from, until }, 0)
  }
  return ({ jti, grant_id, sid, sub, client_id, iat }) =>
    view.isRevoked('token', String(jti)) ||
    view.isRevoked('grant', String(grant_id)) ||
    view.isRevoked('session', String(sid)) ||
    view.isRevoked('user', String(sub), Number(iat)) ||
    view.isRevoked('client', String(client_id), Number(iat)) ||
    view.isRevoked('all', '', Number(iat))
}

import type { Account } from '../../auth-server/accounts/account.ts'
import type { StoredApiKey } from '../../auth-server/api-keys/api-key.ts'
import type { LogoutDelivery } from '../../auth-server/backchannel/logout-queue.ts'
import type { Client } from '../../auth-server/clients/client.ts'
import type { Invite } from '../../auth-server/clients/registration.ts'
import type { LastUse } from '../../auth-server/provider/own-access-store.ts'
import type { StoredModel } from '../../auth-server/provider/model-store.ts'
import type { Receiver, UnusablePlaces } from '../../auth-server/revocation/receiver.ts'
import type { Revocation } from '../../auth-server/revocation/revocation.ts'

/** What the signing key in the data is sealed under, and the audit log is chained with. */
export const ROOT_KEY: Buffer = Buffer.alloc(32, 7)
export const KID = 'U-wxIjUsKPC_nnEa6G6f_cmTt8-ApEIrpF6zU4F7ha8'
export const ANNS_PASSWORD = 'ann has a password'
export const WEB_SECRET = 'the-secret-of-the-web-client'
export const ROBOT_SECRET = 'the-secret-of-the-robot-that-was-generated-'

const ANN = 'acc_AAAAAAAAAAAAAAAAAAAAAA'
const BEN = 'acc_BBBBBBBBBBBBBBBBBBBBBA'
/** When the data was made. */
const THEN = 1_750_000_000_000
const KEPT = 2 * 86_400_000

export const ACCOUNTS: readonly Account[] = [
  {
    id: ANN,
    username: 'ann',
    passwordHash:
      '$argon2id$v=19$m=19456,t=2,p=1$dha0i7ajqBNFXuwEaetKFw$chQX8AWw/FBiQpeIx6H2o57hD7vzjgAglXCnAm0t+0Y',
    roles: ['editor', 'reader'],
    groups: ['staff', 'crew of "one"'],
    profile: {
      name: "Ann O'Hara",
      givenName: 'Ann',
      familyName: "O'Hara",
      preferredUsername: 'annie',
      email: 'ann@example.org',
      emailVerified: true,
      picture: 'https://example.org/ann.png',
      locale: 'en-GB',
    },
    disabled: false,
    accessEndedAt: THEN + 1,
    owner: 'operator',
    createdAt: 1_749_000_000_000,
    updatedAt: THEN + 2,
  },
  {
    id: BEN,
    username: 'bén',
    passwordHash: undefined,
    roles: [],
    groups: [],
    profile: {},
    disabled: true,
    accessEndedAt: undefined,
    owner: 'file',
    createdAt: 1_749_000_000_003,
    updatedAt: THEN + 4,
  },
]

const PLAIN = {
  applicationType: 'web',
  postLogoutRedirectUris: [],
  defaultScopes: [],
  firstParty: false,
  pkce: 'required',
  claimsInIdToken: false,
  origins: [],
  // Not in the data: settings that came later.
  dpop: 'allowed',
  par: 'allowed',
  introspects: [],
  exchange: [],
  assertionIssuers: [],
  disabled: false,
  owner: 'operator',
} as const

/** Ordered by id. What a client does not have is no member at all. */
export const CLIENTS: readonly Partial<Client>[] = [
  {
    ...PLAIN,
    id: 'robot',
    name: 'robot',
    grants: ['client_credentials'],
    authMethod: 'client_secret_post',
    secretHash: 'sha256:UWESoihWr7YgZXsoPJvBqjxxg8Gb49jMXHbIaMVtxPQ',
    redirectUris: [],
    scopes: ['notes:read'],
    disabled: true,
    createdAt: 1_749_000_000_013,
    updatedAt: THEN + 13,
  },
  {
    ...PLAIN,
    id: 'spa',
    name: 'Die Äpp',
    grants: ['authorization_code', 'refresh_token'],
    authMethod: 'none',
    redirectUris: ['https://spa.example/'],
    scopes: ['openid', 'notes:read'],
    origins: ['https://spa.example'],
    createdAt: 1_749_000_000_011,
    updatedAt: THEN + 11,
  },
  {
    ...PLAIN,
    id: 'tool',
    name: 'tool',
    applicationType: 'native',
    grants: ['authorization_code'],
    authMethod: 'none',
    redirectUris: ['http://127.0.0.1/callback', 'com.example.tool:/callback'],
    scopes: ['openid'],
    createdAt: 1_749_000_000_012,
    updatedAt: THEN + 12,
  },
  {
    ...PLAIN,
    id: 'web',
    name: 'The Web App',
    grants: ['authorization_code', 'refresh_token'],
    authMethod: 'client_secret_basic',
    secretHash:
      '$argon2id$v=19$m=19456,t=2,p=1$RuI0oXBtT93PUl+Vz1NvEw$fk0PvNkKLwi75zTiqrin7QTL8CjxtqbNfp7AkPUPAKA',
    redirectUris: ['https://app.example/callback?a=1&b=2'],
    postLogoutRedirectUris: ['https://app.example/bye'],
    scopes: ['openid', 'offline_access', 'notes:read'],
    defaultScopes: ['openid'],
    defaultResource: 'https://notes.example/',
    firstParty: true,
    pkce: 'exempt',
    claimsInIdToken: true,
    origins: ['https://app.example'],
    owner: 'file',
    createdAt: 1_749_000_000_010,
    updatedAt: THEN + 10,
  },
]

interface ExpectedModel extends Omit<StoredModel, 'payload' | 'consumedAt'> {
  readonly model: string
  readonly consumedAt?: number
  /** Some members of it. */
  readonly payload: Record<string, unknown>
}

const MINUTE = THEN + 60_000
const TEN_MINUTES = THEN + 600_000
const HOUR = THEN + 3_600_000
const FORTNIGHT = THEN + 14 * 86_400_000

export const SESSION_OF_ANN: ExpectedModel = {
  model: 'Session',
  key: 'session-of-ann',
  expiresAt: FORTNIGHT,
  payload: {
    accountId: ANN,
    uid: 'uid-of-ann',
    authorizations: { web: { sid: 'sid-of-web', grantId: 'grant-of-web' } },
  },
}

/** Since 0002-session-handover. */
export const NEXT_SESSION_OF_ANN: ExpectedModel = {
  model: 'Session',
  key: 'next-session-of-ann',
  expiresAt: FORTNIGHT,
  replaces: 'session-of-ann',
  payload: { accountId: ANN, uid: 'uid-of-ann' },
}

export const DEVICE_CODE: ExpectedModel = {
  model: 'DeviceCode',
  key: 'device-code-of-tool',
  expiresAt: TEN_MINUTES,
  payload: { clientId: 'tool' },
}

export const MODELS: readonly ExpectedModel[] = [
  SESSION_OF_ANN,
  DEVICE_CODE,
  {
    model: 'Session',
    key: 'session-of-nobody',
    expiresAt: FORTNIGHT,
    payload: { uid: 'uid-of-nobody' },
  },
  {
    model: 'Grant',
    key: 'grant-of-web',
    expiresAt: FORTNIGHT,
    payload: { clientId: 'web', resources: { 'https://notes.example/': 'notes:read' } },
  },
  {
    model: 'AuthorizationCode',
    key: 'code-of-web',
    consumedAt: THEN + 500,
    expiresAt: MINUTE,
    payload: { redirectUri: 'https://app.example/callback?a=1&b=2' },
  },
  {
    model: 'RefreshToken',
    key: 'refresh-token-that-was-used',
    consumedAt: THEN + 600,
    expiresAt: FORTNIGHT,
    payload: { rotations: 0 },
  },
  {
    model: 'RefreshToken',
    key: 'refresh-token-that-is-next',
    expiresAt: FORTNIGHT,
    payload: { rotations: 1 },
  },
  {
    model: 'AccessToken',
    key: 'token-of-web',
    expiresAt: TEN_MINUTES,
    payload: { scope: 'openid' },
  },
  {
    model: 'ClientCredentials',
    key: 'token-of-robot',
    expiresAt: TEN_MINUTES,
    payload: { clientId: 'robot' },
  },
  {
    model: 'Interaction',
    key: 'interaction-of-spa',
    expiresAt: HOUR,
    payload: { params: { client_id: 'spa', state: "a 'state'; -- ü" } },
  },
  {
    model: 'PushedAuthorizationRequest',
    key: 'request-of-web',
    expiresAt: MINUTE,
    payload: { request: 'a.b.c' },
  },
  {
    model: 'ReplayDetection',
    key: 'assertion-of-robot',
    expiresAt: undefined,
    payload: { iss: 'robot' },
  },
]

/** Before 0003-revocation there were tombstones in its place: why and when is not known of them. */
export const OLD_REVOCATIONS: readonly Revocation[] = [
  {
    sequence: 1,
    kind: 'session',
    subject: 'sid-that-ended',
    reason: 'signed_out',
    revokedAt: THEN + 2,
    expiresAt: THEN + KEPT + 2,
  },
  {
    sequence: 2,
    kind: 'grant',
    subject: 'grant-that-was-revoked',
    reason: 'grant_revoked',
    revokedAt: THEN + 3,
    expiresAt: THEN + KEPT + 3,
  },
]

const ENTRIES = [
  ['token', 'jti-of-a-token', 'grant_revoked'],
  ['session', 'sid-that-ended', 'signed_out'],
  ['grant', 'grant-that-was-revoked', 'credential_reused'],
  ['user', BEN, 'user_changed'],
  ['user', BEN, 'user_changed'],
  ['client', 'an-app-that-is-gone', 'client_removed'],
  ['key', 'a-key-that-is-gone', 'key_withdrawn'],
] as const

/** The first three entries had been purged. */
export const REVOCATIONS: readonly Revocation[] = ENTRIES.map(([kind, subject, reason], index) => ({
  sequence: 4 + index,
  kind,
  subject,
  reason,
  revokedAt: THEN + index,
  expiresAt: THEN + KEPT + index,
}))

/** Since 0005-api-keys. */
export const API_KEYS: readonly StoredApiKey[] = [
  {
    id: 'key_AAAAAAAAAAAAAAAAAAAAAA',
    accountId: ANN,
    name: 'Bäckup of "the notes"',
    hash: 'BlhDiyTWNMRa-xZQ1YRT_eMr-tWFvL2AgHLVoTlhbMg',
    resource: 'https://notes.example/',
    scopes: ['notes:read', 'notes:write'],
    createdAt: THEN + 300,
    expiresAt: undefined,
    lastUsedAt: THEN + 400,
    revokedAt: undefined,
  },
  {
    id: 'key_BBBBBBBBBBBBBBBBBBBBBA',
    accountId: BEN,
    name: 'revoked',
    hash: 'ULQ9LJnTnUKJS6VN0PjRS_ASh0Wg3dV_kyVIzcVKk1Y',
    resource: 'https://notes.example/',
    scopes: ['notes:read'],
    createdAt: THEN + 301,
    expiresAt: THEN + 301 + 90 * 86_400_000,
    lastUsedAt: undefined,
    revokedAt: THEN + 500,
  },
]

/** Since 0006-logout-delivery. Another one, of the client spa, is not due. */
export const DUE_LOGOUT: LogoutDelivery = {
  id: 'logout-that-was-tried',
  clientId: 'web',
  accountId: ANN,
  sid: 'sid-that-ended',
  queuedAt: THEN + 2,
  attempts: 3,
}

export const INVITE: Invite = {
  id: 'inv_AAAAAAAAAAAAAAAAAAAAAA',
  label: 'The "crew"',
  usesLeft: 3,
  createdAt: THEN + 600,
  expiresAt: 1_760_000_000_000,
}

/** Since 0008-revocation-feed. */
export const FEED_ID = 'AAAAAAAAAAAAAAAAAAAAAA'
export const RECEIVER: Receiver = {
  clientId: 'robot',
  receiver: 'replica.1',
  place: 2,
  unusable: [],
  reportedAt: THEN + 700,
  seenAt: THEN + 701,
}

/** Since 0009-last-use. */
export const USE_OF_SESSION: LastUse = {
  at: THEN + 800,
  from: '2001:db8::7',
  with: 'Firefox on Linux',
}
export const USE_OF_GRANT: LastUse = { at: THEN + 801, from: '192.0.2.7', with: undefined }
export const USE_OF_KEYS: ReadonlyMap<string, Pick<StoredApiKey, 'lastUsedFrom'>> = new Map([
  ['key_AAAAAAAAAAAAAAAAAAAAAA', { lastUsedFrom: '192.0.2.8' }],
])

/** Since 0010-unusable-revocations. */
export const UNUSABLE: readonly UnusablePlaces[] = [
  { from: 1, through: 2, expiresAt: THEN + 172_800_900 },
]

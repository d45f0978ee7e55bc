import type { Account } from '../../auth-server/accounts/account.ts'
import type { StoredApiKey } from '../../auth-server/api-keys/api-key.ts'
import type { Client } from '../../auth-server/clients/client.ts'
import type { SigningAlgorithm } from '../../auth-server/config/schema.ts'
import type { StoredKey } from '../../auth-server/keys/keyset.ts'

export function account(more: Partial<Account> = {}): Account {
  return {
    id: 'alice',
    username: 'alice',
    passwordHash: undefined,
    roles: [],
    groups: [],
    profile: {},
    disabled: false,
    accessEndedAt: undefined,
    owner: 'operator',
    createdAt: 1,
    updatedAt: 2,
    ...more,
  }
}

export function client(more: Partial<Client> = {}): Client {
  return {
    id: 'web',
    name: 'Web',
    applicationType: 'web',
    grants: ['authorization_code', 'refresh_token'],
    authMethod: 'client_secret_basic',
    secretHash: 'sha256:of-a-secret',
    redirectUris: ['https://app.example/callback'],
    postLogoutRedirectUris: [],
    scopes: ['openid'],
    defaultScopes: [],
    defaultResource: undefined,
    firstParty: false,
    pkce: 'required',
    dpop: 'allowed',
    par: 'allowed',
    introspects: [],
    exchange: [],
    assertionIssuers: [],
    claimsInIdToken: false,
    origins: [],
    disabled: false,
    owner: 'operator',
    createdAt: 1,
    updatedAt: 2,
    ...more,
  }
}

export function apiKey(more: Partial<StoredApiKey> = {}): StoredApiKey {
  return {
    id: 'key_1',
    accountId: 'alice',
    name: 'Backup',
    hash: 'a hash',
    resource: 'https://notes.example/',
    scopes: ['notes:read'],
    createdAt: 3,
    expiresAt: undefined,
    lastUsedAt: undefined,
    revokedAt: undefined,
    ...more,
  }
}

export function key(kid: string, algorithm: SigningAlgorithm, activeAt = 1): StoredKey {
  return {
    kid,
    algorithm,
    publicJwk: { kty: 'EC', kid, alg: algorithm, use: 'sig', x: 'x' },
    sealedPrivateJwk: 'sealed',
    announcedAt: 0,
    activeAt,
    retiredAt: undefined,
    purgedAt: undefined,
  }
}

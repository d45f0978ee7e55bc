import type { Middleware } from 'koa'
import type { Account, AccountStore } from '../accounts/account.ts'
import type { SignIn } from '../accounts/sign-in.ts'
import type { ApiKeyStore } from '../api-keys/api-key.ts'
import { createApiKeyVerifier } from '../api-keys/verify.ts'
import type { ClientStore } from '../clients/client.ts'
import type { Clock } from '../clock.ts'
import type { DirectAccessConfig } from '../config/schema.ts'
import type { DeclaredSecrets } from '../config/secrets.ts'
import type { Events } from '../events.ts'
import type { PrivateJwk } from '../keys/keyset.ts'
import type { BeginIssuance } from '../revocation/issuance.ts'
import type { Catalogue, Resource } from '../scopes/catalogue.ts'
import type { GuessThrottle } from '../throttle.ts'
import { readDemonstrationKeys } from './demonstration-keys.ts'
import { createDirectIssuer } from './issue.ts'
import { createSecretRoutes, createUnauthenticatedRoute } from './routes.ts'

export interface DirectAccessParts {
  readonly catalogue: Catalogue
  readonly accounts: AccountStore
  readonly clients: Pick<ClientStore, 'findById'>
  readonly apiKeys: Pick<ApiKeyStore, 'findByHash' | 'recordUse'>
  /** The one that the sign-in page uses, so that guesses at both are counted together. */
  readonly signIn: SignIn
  readonly apiKeyThrottle: GuessThrottle
  /** Those that sign now, one for each algorithm. */
  readonly signingKeys: () => readonly PrivateJwk[]
  readonly beginIssuance: BeginIssuance
  /** Milliseconds since the epoch, by the clock of the database. */
  readonly readTime: () => Promise<number>
  readonly events: Events
  readonly clock: Clock
}

export interface DirectAccessOptions {
  readonly issuer: string
  readonly demonstrationKeys: DeclaredSecrets['demonstrationKeys']
}

/** What answers at each of the two places; `undefined` where nothing is wanted there. */
export interface DirectAccess {
  readonly secrets: Middleware | undefined
  readonly unauthenticated: Middleware | undefined
}

/** Tokens without OAuth, for first-party programs that know nothing else. */
export async function createDirectAccess(
  parts: DirectAccessParts,
  config: DirectAccessConfig,
  { issuer, demonstrationKeys }: DirectAccessOptions,
): Promise<DirectAccess> {
  const { catalogue, accounts, clients, signIn, events, clock } = parts
  const findResource = (identifier: string): Resource => {
    const resource = catalogue.resources.get(identifier)
    if (!resource) throw new TypeError(`there is no resource ${identifier}`)
    return resource
  }
  const chosen = config.apiKey
    ? await readDemonstrationKeys(
        accounts,
        demonstrationKeys,
        findResource(config.apiKey.resource),
        parts.readTime,
      )
    : []
  const collaborators = {
    beginIssuance: parts.beginIssuance,
    issue: createDirectIssuer(parts, issuer),
    findResource,
    accounts,
    clients,
    signIn,
    verifyApiKey: createApiKeyVerifier<Account>(
      { apiKeys: parts.apiKeys, accounts, throttle: parts.apiKeyThrottle, events, clock },
      { chosen },
    ),
    events,
  }
  const { password, apiKey, unauthenticated } = config
  return {
    secrets: password || apiKey ? createSecretRoutes(collaborators, config) : undefined,
    unauthenticated: unauthenticated && createUnauthenticatedRoute(collaborators, unauthenticated),
  }
}

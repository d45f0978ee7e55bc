import { z } from 'zod'
import { dateAccess, type Account, type AccountStore } from '../accounts/account.ts'
import {
  createApiKeyId,
  generateApiKey,
  hashApiKey,
  judgeState,
  LONGEST_NAME,
  MOST_API_KEYS,
  type ApiKey,
  type ApiKeyState,
  type ApiKeyStore,
  type StoredApiKey,
} from '../api-keys/api-key.ts'
import { formatTime, type Clock } from '../clock.ts'
import { echo } from '../config/echo.ts'
import { NAME_RULE, namePattern } from '../config/name.ts'
import type { Path } from '../config/rules.ts'
import type { Config } from '../config/schema.ts'
import { normalizeUsername } from '../config/username.ts'
import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { RevocationStore } from '../revocation/revocation.ts'
import { createCatalogue, scopesOfRoles, type Catalogue } from '../scopes/catalogue.ts'
import { chooseResource, decideScopes } from '../scopes/policy.ts'
import { refuseInput } from './refusals.ts'

export const apiKeyName: z.ZodString = z
  .string()
  .regex(namePattern(LONGEST_NAME), `a text of 1 to ${LONGEST_NAME} characters, ${NAME_RULE}`)

export interface NewApiKey {
  /** Of the person that it acts for: a username or an id. */
  readonly user: string
  readonly name: string
  readonly scopes: readonly string[]
  /** The identifier; where absent, the resource that has these scopes. */
  readonly resource?: string | undefined
  /** Milliseconds since the epoch. `undefined` for one that does not expire. */
  readonly expiresAt: number | undefined
}

/** A key as it is shown: nothing of the key itself. */
export interface ApiKeyView {
  readonly id: string
  readonly accountId: string
  /** What the account is called now. */
  readonly username: string | undefined
  readonly name: string
  readonly resource: string
  readonly scopes: readonly string[]
  readonly state: ApiKeyState
  /** ISO 8601. */
  readonly createdAt: string
  readonly expiresAt: string | undefined
  readonly lastUsedAt: string | undefined
  readonly revokedAt: string | undefined
}

export interface ApiKeyWithSecret {
  readonly apiKey: ApiKeyView
  /** Shown this once: only its hash is kept. */
  readonly key: string
}

export interface ApiKeyOperations {
  /** Throws `not_found` for an unknown user, `invalid_input` for what they may not do, `conflict`. */
  add(key: NewApiKey): Promise<ApiKeyWithSecret>
  /** The oldest first; those of one user, or of everybody. Throws `not_found` for an unknown user. */
  list(user?: string): Promise<readonly ApiKeyView[]>
  /** And what was issued for it. One that was revoked stays so. Throws `not_found`. */
  revoke(id: string): Promise<ApiKeyView>
}

export interface ApiKeyAdminCollaborators {
  readonly apiKeys: ApiKeyStore
  readonly accounts: AccountStore
  readonly revocations: Pick<RevocationStore, 'mark'>
  readonly clock: Clock
  readonly events: Events
}

export function createApiKeyOperations(
  { apiKeys, accounts, revocations, clock, events }: ApiKeyAdminCollaborators,
  { config }: { readonly config: Config },
): ApiKeyOperations {
  const catalogue = createCatalogue(config)
  const findOwner = async (name: string): Promise<Account> => {
    const account =
      (await accounts.findByUsername(normalizeUsername(name))) ?? (await accounts.findById(name))
    if (account) return account
    throw new PortreeveError('not_found', `There is no user ${echo(name)}.`)
  }
  return {
    async add({ user, name, scopes, resource, expiresAt }) {
      const { now } = await revocations.mark()
      const owner = await findOwner(user)
      const createdAt = dateAccess(owner, now)
      refuseMistakes(listMistakes({ name, scopes, expiresAt }, createdAt))
      const bounds = boundKey(catalogue, owner, scopes, resource)
      const key = generateApiKey()
      const stored: StoredApiKey = {
        id: createApiKeyId(),
        accountId: owner.id,
        name,
        ...bounds,
        hash: hashApiKey(key),
        createdAt,
        expiresAt,
        lastUsedAt: undefined,
        revokedAt: undefined,
      }
      const outcome = await apiKeys.insert(stored, MOST_API_KEYS)
      if (outcome !== 'added') throw describeOutcome(outcome, owner)
      events.apiKeyMade({ keyId: stored.id, accountId: owner.id, ...bounds, by: 'operator' })
      return { apiKey: viewKey(stored, owner, createdAt), key }
    },
    async list(user) {
      const now = clock.now()
      if (user !== undefined) {
        const owner = await findOwner(user)
        const own = await apiKeys.listByAccount(owner.id)
        return own.map((key) => viewKey(key, owner, now))
      }
      const owners = new Map((await accounts.list()).map((account) => [account.id, account]))
      const all = await apiKeys.list()
      return all.map((key) => viewKey(key, owners.get(key.accountId), now))
    },
    async revoke(id) {
      const found = await apiKeys.findById(id)
      if (!found) throw new PortreeveError('not_found', `There is no API key ${echo(id)}.`)
      const { accountId } = found
      if (await apiKeys.revoke(id)) {
        events.apiKeyRevoked({ keyId: id, accountId, by: 'operator' })
      }
      const owner = await accounts.findById(accountId)
      return viewKey((await apiKeys.findById(id)) ?? found, owner, clock.now())
    },
  }
}

interface Mistake {
  readonly path: Path
  readonly message: string
}

function refuseMistakes(mistakes: readonly Mistake[]): void {
  if (mistakes.length > 0) throw refuseInput(mistakes)
}

function listMistakes(
  { name, scopes, expiresAt }: Pick<NewApiKey, 'name' | 'scopes' | 'expiresAt'>,
  now: number,
): Mistake[] {
  const mistakes: Mistake[] = []
  const parsed = apiKeyName.safeParse(name)
  if (!parsed.success) {
    const message = `expected ${parsed.error.issues[0]?.message ?? ''}, got ${echo(name)}`
    mistakes.push({ path: ['name'], message })
  }
  if (scopes.length === 0) {
    mistakes.push({ path: ['scopes'], message: 'expected at least one scope of a resource' })
  }
  if (expiresAt !== undefined && expiresAt <= now) {
    const message = `expected a time to come, got ${formatTime(expiresAt)}`
    mistakes.push({ path: ['expiresAt'], message })
  }
  return mistakes
}

/** The resource and the scopes of a key: what its owner may do now. Throws `invalid_input`. */
function boundKey(
  catalogue: Catalogue,
  owner: Account,
  scopes: readonly string[],
  named: string | undefined,
): { readonly resource: string; readonly scopes: readonly string[] } {
  const choice = chooseResource({
    requestedScopes: scopes,
    resources: catalogue.resources,
    defaultResource: named,
  })
  const identifier = named ?? (choice.ok ? choice.value : undefined)
  const resource = catalogue.resources.get(identifier ?? '')
  if (!resource) throw refuseInput([{ path: ['resource'], message: explainChoice(named, choice) }])
  const known = new Set(resource.scopes.keys())
  const { granted, refused } = decideScopes({
    requested: scopes,
    resourceScopes: known,
    clientScopes: known,
    subject: { kind: 'person', roleScopes: scopesOfRoles(catalogue, owner.roles) },
  })
  refuseMistakes(
    refused.map(({ scope, reason }) => ({
      path: ['scopes', scopes.indexOf(scope)],
      message:
        reason === 'role'
          ? `the roles of ${owner.username} do not allow ${echo(scope)}`
          : `${echo(scope)} is no scope of ${resource.identifier}`,
    })),
  )
  return { resource: resource.identifier, scopes: granted }
}

function explainChoice(named: string | undefined, choice: ReturnType<typeof chooseResource>) {
  if (named !== undefined) return `${echo(named)} is the identifier of no resource`
  if (choice.ok) return 'no resource has these scopes'
  return choice.reason.kind === 'several'
    ? 'the scopes belong to more than one resource: a key is for one'
    : `more than one resource has these scopes: name one of ${choice.reason.candidates.join(', ')}`
}

function describeOutcome(
  outcome: 'no_owner' | 'too_many' | 'taken',
  { username, disabled }: Account,
): PortreeveError {
  switch (outcome) {
    case 'no_owner':
      return disabled
        ? new PortreeveError('invalid_input', `The user ${username} is disabled.`)
        : new PortreeveError('conflict', `The user ${username} has just been changed: try again.`)
    case 'too_many': {
      const message = `The user ${username} has ${MOST_API_KEYS} API keys already. Revoke one that is not needed.`
      return new PortreeveError('conflict', message)
    }
    case 'taken':
      return new PortreeveError('conflict', 'There is such a key already.')
  }
}

function formatOptional(time: number | undefined): string | undefined {
  return time === undefined ? undefined : formatTime(time)
}

function viewKey(key: ApiKey, owner: Account | undefined, now: number): ApiKeyView {
  return {
    id: key.id,
    accountId: key.accountId,
    username: owner?.username,
    name: key.name,
    resource: key.resource,
    scopes: key.scopes,
    state: judgeState(key, now),
    createdAt: formatTime(key.createdAt),
    expiresAt: formatOptional(key.expiresAt),
    lastUsedAt: formatOptional(key.lastUsedAt),
    revokedAt: formatOptional(key.revokedAt),
  }
}

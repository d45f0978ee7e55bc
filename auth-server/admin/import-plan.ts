import { isDeepStrictEqual } from 'node:util'
import type { Account } from '../accounts/account.ts'
import type { StoredApiKey } from '../api-keys/api-key.ts'
import type { Client } from '../clients/client.ts'
import { parseTime } from '../clock.ts'
import { echo } from '../config/echo.ts'
import type { LoadedConfig } from '../config/load.ts'
import { normalizeUsername } from '../config/username.ts'
import type { Mistake } from '../config/validate.ts'
import type { ExportedApiKey, ExportedClient, ExportedUser, ParsedDocument } from './document.ts'
import { refuseInput } from './refusals.ts'
import { createAccountId } from './users.ts'

/** What operators have made, at one moment. */
export interface Present {
  readonly accounts: readonly Account[]
  readonly clients: readonly Client[]
  readonly apiKeys: readonly StoredApiKey[]
}

export interface Changes {
  readonly newAccounts: readonly Account[]
  readonly accounts: readonly { readonly account: Account; readonly endsAccess: boolean }[]
  readonly newClients: readonly Client[]
  readonly clients: readonly Client[]
  readonly newApiKeys: readonly StoredApiKey[]
}

export interface ChangesView {
  readonly added: readonly string[]
  readonly updated: readonly { readonly name: string; readonly changed: readonly string[] }[]
  readonly left: readonly string[]
}

/** What an export says of a user, beside the id and the name. */
export const USER_MEMBERS = ['passwordHash', 'roles', 'groups', 'profile', 'disabled'] as const

/** The same of a client. */
export const CLIENT_MEMBERS = [
  'name',
  'applicationType',
  'grants',
  'authMethod',
  'secretHash',
  'jwks',
  'jwksUri',
  'redirectUris',
  'postLogoutRedirectUris',
  'links',
  'backchannelLogoutUri',
  'frontchannelLogoutUri',
  'scopes',
  'defaultScopes',
  'defaultResource',
  'firstParty',
  'pkce',
  'dpop',
  'par',
  'profile',
  'signedRequests',
  'signedResponses',
  'authorizationDetails',
  'algorithms',
  'encryption',
  'introspects',
  'exchange',
  'assertionIssuers',
  'ciba',
  'subjectType',
  'sectorIdentifierUri',
  'defaultMaxAgeSeconds',
  'defaultAcrValues',
  'authTimeInIdToken',
  'claimsInIdToken',
  'origins',
  'disabled',
] as const

export interface Plan extends Changes {
  readonly view: {
    readonly users: ChangesView
    readonly clients: ChangesView
    readonly apiKeys: ChangesView
  }
}

/** What becomes of one entry of the document. */
interface Step<T> {
  readonly name: string
  readonly value: T
  readonly known: T | undefined
  /** The members that differ from what is there. */
  readonly changed: readonly string[]
}

interface Collision extends Mistake {
  readonly code: 'read_only' | 'conflict'
}

type Target = Pick<LoadedConfig, 'config' | 'file'>

/** Decides without doing anything. Throws for what the configuration file owns, and for what is others'. */
export function planImport(
  document: ParsedDocument,
  present: Present,
  target: Target,
  now: number,
): Plan {
  const accounts = new Map(present.accounts.map((account) => [account.username, account]))
  const clients = new Map(present.clients.map((client) => [client.id, client]))
  const collisions = [
    ...listUserCollisions(document.users, present, accounts, target),
    ...listClientCollisions(document.clients, clients, target),
    ...listApiKeyCollisions(document, present, accounts),
  ]
  if (collisions.length > 0) {
    const isReadOnly = collisions.every(({ code }) => code === 'read_only')
    throw refuseInput(collisions, isReadOnly ? 'read_only' : 'conflict')
  }
  const userSteps = document.users.map((user) => planUser(user, accounts, now))
  const clientSteps = document.clients.map((client) => planClient(client, clients, now))
  const owners = new Map([
    ...accounts,
    ...userSteps.map(({ name, value }) => [name, value] as const),
  ])
  const knownKeys = new Map(present.apiKeys.map((key) => [key.id, key]))
  const keySteps = document.apiKeys.map((key) => planApiKey(key, knownKeys, owners))
  return {
    newAccounts: listNew(userSteps),
    accounts: userSteps.filter(isUpdate).map(({ value, known, changed }) => ({
      account: value,
      endsAccess: changed.includes('passwordHash') || (value.disabled && !known?.disabled),
    })),
    newClients: listNew(clientSteps),
    clients: clientSteps.filter(isUpdate).map(({ value }) => value),
    newApiKeys: listNew(keySteps),
    view: {
      users: viewSteps(userSteps),
      clients: viewSteps(clientSteps),
      apiKeys: viewSteps(keySteps),
    },
  }
}

function listUserCollisions(
  users: readonly ExportedUser[],
  { accounts: all }: Present,
  accounts: ReadonlyMap<string, Account>,
  { config, file }: Target,
): Collision[] {
  const declared = new Set(config.users.map(({ username }) => normalizeUsername(username)))
  const byId = new Map(all.map((account) => [account.id, account]))
  return users.flatMap((user, index): Collision[] => {
    const username = normalizeUsername(user.username)
    const known = accounts.get(username)
    const owned = describeOwned('user', username, declared.has(username), known, file)
    if (owned !== undefined) {
      return [{ code: 'read_only', path: ['users', index, 'username'], message: owned }]
    }
    if (user.id === undefined || user.id === known?.id) return []
    const other = known ?? byId.get(user.id)
    if (!other) return []
    const message = known
      ? `the user ${echo(username)} is another one here: remove it first (npx portreeve users remove ${username}), or leave this one out`
      : `it is the id of the user ${echo(other.username)} here`
    return [{ code: 'conflict', path: ['users', index, 'id'], message }]
  })
}

function listClientCollisions(
  clients: readonly ExportedClient[],
  known: ReadonlyMap<string, Client>,
  { config, file }: Target,
): Collision[] {
  const declared = new Set(config.clients.map(({ id }) => id))
  return clients.flatMap(({ id }, index): Collision[] => {
    const owned = describeOwned('client', id, declared.has(id), known.get(id), file)
    if (owned === undefined) return []
    return [{ code: 'read_only', path: ['clients', index, 'id'], message: owned }]
  })
}

/** A key is never another one's, nor anybody's who is not there or may not act. */
function listApiKeyCollisions(
  { apiKeys, users }: ParsedDocument,
  present: Present,
  accounts: ReadonlyMap<string, Account>,
): Collision[] {
  const disabled = new Map([...accounts].map(([name, account]) => [name, account.disabled]))
  for (const user of users) disabled.set(normalizeUsername(user.username), user.disabled)
  const byId = new Map(present.apiKeys.map((key) => [key.id, key]))
  const byHash = new Map(present.apiKeys.map((key) => [key.hash, key]))
  return apiKeys.flatMap((key, index): Collision[] => {
    const refuse = (member: string, message: string) => [
      { code: 'conflict', path: ['apiKeys', index, member], message } as const,
    ]
    const isDisabled = disabled.get(normalizeUsername(key.user))
    if (isDisabled === undefined) return refuse('user', `there is no user ${echo(key.user)}`)
    const known = byId.get(key.id)
    // One that is known ends with whatever disables its owner.
    if (isDisabled && !known) return refuse('user', `the user ${echo(key.user)} is disabled`)
    if (known && known.hash !== key.hash) return refuse('id', 'it is the id of another key here')
    if (!known && byHash.has(key.hash)) {
      return refuse('hash', `it is that of the key ${byHash.get(key.hash)?.id} here`)
    }
    return []
  })
}

/** Why it is not to be touched, or `undefined`. */
function describeOwned(
  kind: 'user' | 'client',
  name: string,
  isDeclared: boolean,
  known: Account | Client | undefined,
  file: string | undefined,
): string | undefined {
  if (isDeclared) {
    return `the ${kind} ${echo(name)} is declared in ${file ?? 'a configuration file'}: change it there`
  }
  if (known?.owner === 'dynamic') {
    return `the ${kind} ${echo(name)} has registered itself: remove it first (npx portreeve clients remove ${name})`
  }
  if (known?.owner !== 'file') return undefined
  return `the ${kind} ${echo(name)} was declared in a configuration file once: remove it first (npx portreeve ${kind}s remove ${name})`
}

/** The server makes ids. One that a document brings counts only for whoever signs in from now on. */
function planUser(
  user: ExportedUser,
  accounts: ReadonlyMap<string, Account>,
  now: number,
): Step<Account> {
  const username = normalizeUsername(user.username)
  const known = accounts.get(username)
  const value: Account = {
    ...user,
    id: known?.id ?? user.id ?? createAccountId(),
    username,
    passwordHash: user.passwordHash,
    accessEndedAt: known || user.id === undefined ? known?.accessEndedAt : now,
    owner: 'operator',
    createdAt: known?.createdAt ?? now,
    updatedAt: now,
  }
  return { name: username, value, known, changed: known ? differ(known, value, USER_MEMBERS) : [] }
}

function planClient(
  client: ExportedClient,
  clients: ReadonlyMap<string, Client>,
  now: number,
): Step<Client> {
  const known = clients.get(client.id)
  const value: Client = {
    ...client,
    name: client.name ?? client.id,
    secretHash: client.secretHash,
    defaultResource: client.defaultResource,
    owner: 'operator',
    createdAt: known?.createdAt ?? now,
    updatedAt: now,
  }
  const changed = known ? differ(known, value, CLIENT_MEMBERS) : []
  return { name: client.id, value, known, changed }
}

/** One that is known stays as it is here: if it was revoked, revoked. */
function planApiKey(
  key: ExportedApiKey,
  keys: ReadonlyMap<string, StoredApiKey>,
  owners: ReadonlyMap<string, Account>,
): Step<StoredApiKey> {
  const known = keys.get(key.id)
  const value: StoredApiKey = known ?? {
    id: key.id,
    accountId: owners.get(normalizeUsername(key.user))?.id ?? '',
    name: key.name,
    resource: key.resource,
    scopes: key.scopes,
    hash: key.hash,
    createdAt: parseTime(key.createdAt) ?? 0,
    expiresAt: key.expiresAt === undefined ? undefined : parseTime(key.expiresAt),
    lastUsedAt: undefined,
    revokedAt: undefined,
  }
  return { name: key.id, value, known, changed: [] }
}

/** As the database keeps them: a member that is `undefined` and one that is missing are the same. */
export function differ<T>(one: T, two: T, members: readonly (keyof T & string)[]): string[] {
  return members.filter((member) => !isDeepStrictEqual(plain(one[member]), plain(two[member])))
}

function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null))
}

function isUpdate({ known, changed }: Step<unknown>): boolean {
  return known !== undefined && changed.length > 0
}

function listNew<T>(steps: readonly Step<T>[]): T[] {
  return steps.filter(({ known }) => known === undefined).map(({ value }) => value)
}

function viewSteps(steps: readonly Step<unknown>[]): ChangesView {
  return {
    added: steps.filter(({ known }) => known === undefined).map(({ name }) => name),
    updated: steps.filter(isUpdate).map(({ name, changed }) => ({ name, changed })),
    left: steps
      .filter((step) => step.known !== undefined && !isUpdate(step))
      .map(({ name }) => name),
  }
}

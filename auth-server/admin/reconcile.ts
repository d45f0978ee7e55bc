import { isDeepStrictEqual } from 'node:util'
import type { Account, AccountStore } from '../accounts/account.ts'
import type { PasswordHasher } from '../accounts/password.ts'
import { dateChange, type Client, type ClientStore } from '../clients/client.ts'
import { hashChosenSecret, verifyClientSecret } from '../clients/secret.ts'
import type { Clock } from '../clock.ts'
import { misconfigured, type LoadedConfig } from '../config/load.ts'
import type { ClientConfig, Config, UserConfig } from '../config/schema.ts'
import { readDeclaredSecrets, type DeclaredSecrets } from '../config/secrets.ts'
import { normalizeUsername } from '../config/username.ts'
import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import { createAccountId } from './users.ts'

export interface ReconcileCollaborators {
  readonly accounts: AccountStore
  readonly clients: ClientStore
  readonly hasher: PasswordHasher
  readonly clock: Clock
  readonly events: Events
}

/**
 * Brings the users and clients of the database in line with the configuration: what is declared is
 * there and as declared, what was declared once is disabled. What operators made stays as it is. Two
 * servers may do this at once; a second time changes nothing.
 *
 * Throws `misconfigured` for secrets that cannot be had, and `conflict`, before anything is changed,
 * where an operator has made what is declared.
 */
export async function reconcile(
  loaded: LoadedConfig,
  collaborators: ReconcileCollaborators,
): Promise<void> {
  const { config, file, readSecret } = loaded
  const secrets = await readDeclaredSecrets(config, readSecret)
  if (!secrets.ok) throw misconfigured(secrets.reason, file)
  await refuseConflicts(config, file, collaborators)
  for (const user of config.users) await bringUser(user, secrets.value, collaborators)
  for (const client of config.clients) await bringClient(client, secrets.value, collaborators)
  await disableTheRest(config, collaborators)
}

async function refuseConflicts(
  config: Config,
  file: string | undefined,
  stores: ReconcileCollaborators,
): Promise<void> {
  const clashes = [
    ...(await listUserClashes(config, stores.accounts)),
    ...(await listClientClashes(config, stores.clients)),
  ]
  if (clashes.length === 0) return
  const message = [
    `${file ?? 'The configuration'} declares what an operator has made already:`,
    ...clashes.map((clash) => `  ${clash}`),
    'Remove the one or the other. Nothing was changed.',
  ].join('\n')
  throw new PortreeveError('conflict', message)
}

async function listUserClashes({ users }: Config, accounts: AccountStore): Promise<string[]> {
  const clashes: string[] = []
  for (const [index, user] of users.entries()) {
    const account = await accounts.findByUsername(normalizeUsername(user.username))
    if (account?.owner !== 'operator') continue
    const { username } = account
    clashes.push(`users[${index}]: the user ${username} (portreeve users remove ${username})`)
  }
  return clashes
}

/** An operator's client that has the name of a resource is one, too: its tokens would be mistaken. */
async function listClientClashes(
  { clients, resources }: Config,
  store: ClientStore,
): Promise<string[]> {
  const made = (await store.list()).filter(({ owner }) => owner !== 'file')
  return made.flatMap(({ id }) => {
    const client = clients.findIndex((declared) => declared.id === id)
    const resource = resources.findIndex(
      ({ identifier, audience }) => identifier === id || audience === id,
    )
    const remedy = `the client ${id} (portreeve clients remove ${id})`
    return [
      ...(client === -1 ? [] : [`clients[${client}]: ${remedy}`]),
      ...(resource === -1 ? [] : [`resources[${resource}]: ${remedy}`]),
    ]
  })
}

async function bringUser(
  user: UserConfig,
  secrets: DeclaredSecrets,
  { accounts, hasher, clock, events }: ReconcileCollaborators,
): Promise<void> {
  const password = secrets.users.get(user.username)
  const username = normalizeUsername(user.username)
  const { roles, groups, profile } = user
  const declared = { roles, groups, profile, disabled: false }
  const known = await accounts.findByUsername(username)
  const passwordHash = await keepOrHash(hasher, known?.passwordHash, password)
  const now = clock.now()
  const account: Account = known
    ? { ...known, ...declared, passwordHash }
    : {
        ...declared,
        id: createAccountId(),
        username,
        passwordHash,
        accessEndedAt: undefined,
        owner: 'file',
        createdAt: now,
        updatedAt: now,
      }
  const { id } = account
  if (!known) {
    // Another server that starts at the same time may have been first with the same declaration.
    if (!(await accounts.insert(account))) return
    events.objectChanged({ kind: 'user', action: 'added', id, by: 'file' })
  } else if (!isSame(known, account)) {
    const isNewPassword = known.passwordHash !== passwordHash
    const update = isNewPassword ? accounts.updateAndEndAccess : accounts.update
    await update({ id, ...declared, passwordHash, updatedAt: now })
    events.objectChanged({ kind: 'user', action: 'changed', id, by: 'file' })
  }
}

async function bringClient(
  client: ClientConfig,
  secrets: DeclaredSecrets,
  { clients, hasher, clock, events }: ReconcileCollaborators,
): Promise<void> {
  const { secret: _source, id, ...settings } = client
  const known = await clients.findById(id)
  const secret = secrets.clients.get(id)
  const now = clock.now()
  const declared: Client = {
    ...settings,
    id,
    name: client.name ?? id,
    defaultResource: client.defaultResource,
    secretHash: await keepOrHashSecret(hasher, known?.secretHash, secret),
    disabled: false,
    owner: 'file',
    createdAt: known?.createdAt ?? now,
    updatedAt: known?.updatedAt ?? now,
  }
  if (!known) {
    if (!(await clients.insert(declared))) return
    events.objectChanged({ kind: 'client', action: 'added', id, by: 'file' })
  } else if (!isSame(known, declared)) {
    await clients.update({ ...declared, updatedAt: now })
    events.objectChanged({ kind: 'client', action: 'changed', id, by: 'file' })
  }
}

/** A hash has a salt: one that still fits is kept, so that a restart changes nothing. */
async function keepOrHash(
  hasher: PasswordHasher,
  known: string | undefined,
  password: string | undefined,
): Promise<string | undefined> {
  if (password === undefined) return undefined
  const fits = known !== undefined && (await hasher.verify(password, known))
  return fits ? known : hasher.hash(password)
}

async function keepOrHashSecret(
  hasher: PasswordHasher,
  known: string | undefined,
  secret: string | undefined,
): Promise<string | undefined> {
  if (secret === undefined) return undefined
  const fits = known !== undefined && (await verifyClientSecret(secret, known, hasher))
  return fits ? known : hashChosenSecret(secret, hasher)
}

async function disableTheRest(
  { users, clients }: Config,
  stores: ReconcileCollaborators,
): Promise<void> {
  const { clock, events } = stores
  const usernames = new Set(users.map(({ username }) => normalizeUsername(username)))
  for (const account of await stores.accounts.list()) {
    if (!isLeftOver(account, usernames.has(account.username))) continue
    const { id } = account
    await stores.accounts.updateAndEndAccess({ id, disabled: true, updatedAt: clock.now() })
    events.objectChanged({ kind: 'user', action: 'disabled', id, by: 'file' })
  }
  const ids = new Set(clients.map(({ id }) => id))
  for (const client of await stores.clients.list()) {
    if (!isLeftOver(client, ids.has(client.id))) continue
    const disabled = { ...client, disabled: true, updatedAt: dateChange(clock, client) }
    // Whoever has changed it meanwhile has declared it.
    if (!(await stores.clients.updateAndEndAccess(disabled, client.updatedAt))) continue
    events.objectChanged({ kind: 'client', action: 'disabled', id: client.id, by: 'file' })
  }
}

function isLeftOver({ owner, disabled }: Account | Client, isDeclared: boolean): boolean {
  return owner === 'file' && !disabled && !isDeclared
}

/** As the database keeps them: a member that is `undefined` and one that is missing are the same. */
function isSame<T extends Account | Client>(one: T, two: T): boolean {
  const plain = (value: T): unknown => JSON.parse(JSON.stringify(value))
  return isDeepStrictEqual(plain(one), plain(two))
}

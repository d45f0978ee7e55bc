import { randomBytes } from 'node:crypto'
import type { z } from 'zod'
import type { Account, AccountStore } from '../accounts/account.ts'
import type { PasswordHasher } from '../accounts/password.ts'
import { formatTime, type Clock } from '../clock.ts'
import { ACCOUNT_ID_PREFIX } from '../config/built-in.ts'
import { checkUser } from '../config/check.ts'
import { echo } from '../config/echo.ts'
import { userSchema, type Config } from '../config/schema.ts'
import { judgePassword } from '../config/secrets.ts'
import { normalizeUsername } from '../config/username.ts'
import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import { parseInput, refuseFindings, refuseInput, refuseReadOnly } from './refusals.ts'

const newUserSchema = userSchema.omit({ password: true })
export type NewUser = z.input<typeof newUserSchema>

/** A user as it is shown: everything but the password's hash. */
export interface UserView extends Omit<
  Account,
  'passwordHash' | 'accessEndedAt' | 'createdAt' | 'updatedAt'
> {
  readonly hasPassword: boolean
  /** ISO 8601. */
  readonly createdAt: string
  readonly updatedAt: string
}

/** Each names a user by username or by id, and throws `not_found` where there is none. */
export interface UserOperations {
  /**
   * Without a password the person cannot sign in by one; it is asked for when all else is right.
   * Throws `conflict`, `invalid_input`.
   */
  add(user: NewUser, askPassword: (() => Promise<string>) | undefined): Promise<UserView>
  list(): Promise<readonly UserView[]>
  show(name: string): Promise<UserView>
  /** Signs the user out everywhere, and ends what apps were granted. */
  setPassword(name: string, password: string): Promise<UserView>
  /** Replaces the roles. */
  setRoles(name: string, roles: readonly string[]): Promise<UserView>
  /** A disabled user cannot sign in, and gets no more tokens; what they had does not come back. */
  setDisabled(name: string, disabled: boolean): Promise<UserView>
  /** Removes the user, and ends what hangs on them. */
  remove(name: string): Promise<UserView>
}

export interface UserCollaborators {
  readonly accounts: AccountStore
  readonly hasher: PasswordHasher
  readonly clock: Clock
  readonly events: Events
}

export interface UserOptions {
  readonly config: Pick<Config, 'roles' | 'users'>
  /** The configuration file, for refusals. */
  readonly file: string | undefined
}

/** Made by the server, never chosen: 128 random bits. */
export function createAccountId(): string {
  return `${ACCOUNT_ID_PREFIX}${randomBytes(16).toString('base64url')}`
}

export function createUserOperations(
  { accounts, hasher, clock, events }: UserCollaborators,
  { config, file }: UserOptions,
): UserOperations {
  const declared = new Set(config.users.map(({ username }) => normalizeUsername(username)))

  const find = async (name: string): Promise<Account> => {
    const account =
      (await accounts.findByUsername(normalizeUsername(name))) ?? (await accounts.findById(name))
    if (account) return account
    throw new PortreeveError('not_found', `There is no user ${echo(name)}.`)
  }
  const findOwn = async (name: string): Promise<Account> => {
    const account = await find(name)
    if (account.owner === 'operator') return account
    throw refuseReadOnly(`The user ${account.username}`, file)
  }
  const change = async (
    { id, username }: Account,
    members: Partial<Account>,
    action: string,
    update: AccountStore['update'] = accounts.update,
  ) => {
    const isThere = await update({ id, ...members, updatedAt: clock.now() })
    const changed = isThere ? await accounts.findById(id) : undefined
    if (!changed) {
      throw new PortreeveError('not_found', `The user ${username} has just been removed.`)
    }
    events.objectChanged({ kind: 'user', action, id, by: 'operator' })
    return viewUser(changed)
  }
  const hash = async (password: string): Promise<string> => {
    const fault = judgePassword(password)
    if (fault !== undefined) throw refuseInput([{ path: ['password'], message: fault }])
    return hasher.hash(password)
  }

  return {
    async add(input, askPassword) {
      const user = parseInput(newUserSchema, input, ['users', 0])
      refuseFindings(checkUser(user, config.roles))
      const username = normalizeUsername(user.username)
      if (declared.has(username)) throw refuseReadOnly(`The user ${username}`, file)
      if (await accounts.findByUsername(username)) throw refuseTaken(username)
      const passwordHash = askPassword && (await hash(await askPassword()))
      const now = clock.now()
      const account: Account = {
        ...user,
        id: createAccountId(),
        username,
        passwordHash,
        disabled: false,
        accessEndedAt: undefined,
        owner: 'operator',
        createdAt: now,
        updatedAt: now,
      }
      if (!(await accounts.insert(account))) throw refuseTaken(username)
      events.objectChanged({ kind: 'user', action: 'added', id: account.id, by: 'operator' })
      return viewUser(account)
    },
    list: async () => (await accounts.list()).map(viewUser),
    show: async (name) => viewUser(await find(name)),
    async setPassword(name, password) {
      const account = await findOwn(name)
      const members = { passwordHash: await hash(password) }
      return change(account, members, 'password_set', accounts.updateAndEndAccess)
    },
    async setRoles(name, roles) {
      const account = await findOwn(name)
      const user = parseInput(newUserSchema.pick({ roles: true }), { roles }, ['users', 0])
      refuseFindings(checkUser({ ...user, profile: {} }, config.roles))
      return change(account, user, 'roles_set')
    },
    async setDisabled(name, disabled) {
      const account = await findOwn(name)
      if (account.disabled === disabled) return viewUser(account)
      return disabled
        ? change(account, { disabled }, 'disabled', accounts.updateAndEndAccess)
        : change(account, { disabled }, 'enabled')
    },
    async remove(name) {
      const account = await find(name)
      const isLeftOver = account.disabled && !declared.has(account.username)
      if (account.owner === 'file' && !isLeftOver) {
        throw refuseReadOnly(`The user ${account.username}`, file)
      }
      await accounts.remove(account.id)
      events.objectChanged({ kind: 'user', action: 'removed', id: account.id, by: 'operator' })
      return viewUser(account)
    },
  }
}

function refuseTaken(username: string): PortreeveError {
  return new PortreeveError('conflict', `There is a user ${username} already.`)
}

function viewUser({
  passwordHash,
  accessEndedAt: _accessEndedAt,
  createdAt,
  updatedAt,
  ...account
}: Account): UserView {
  return {
    ...account,
    hasPassword: passwordHash !== undefined,
    createdAt: formatTime(createdAt),
    updatedAt: formatTime(updatedAt),
  }
}

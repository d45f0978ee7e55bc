import { Option, type Command } from 'commander'
import type { UserOperations, UserView } from '../admin/users.ts'
import { collect, withCommonOptions, type Cli, type CommonOptions, type Work } from './command.ts'
import {
  askForPassword,
  readSecretFromStdin,
  refuseUsage,
  requirePipe,
  requireTerminal,
} from './input.ts'
import type { Report } from './report.ts'
import { formatFields, harmless, type Style } from './style.ts'
import { formatTable } from './table.ts'

interface PasswordOptions extends CommonOptions {
  readonly passwordStdin?: boolean
}

interface AddOptions extends PasswordOptions {
  /** `false` by --no-password. */
  readonly password: boolean
  readonly role?: readonly string[]
  readonly group?: readonly string[]
  readonly name?: string
  readonly givenName?: string
  readonly familyName?: string
  readonly preferredUsername?: string
  readonly email?: string
  readonly emailVerified?: boolean
  readonly picture?: string
  readonly locale?: string
}

const PASSWORD_STDIN = '--password-stdin'
const PASSWORD_STDIN_HELP = 'read the password from standard input instead of asking for it'

export function addUserCommands(program: Command, cli: Cli): void {
  const users = program.command('users').description('people who sign in')
  addAdd(users, cli)
  addList(users, cli)
  addSetPassword(users, cli)
  addSetRoles(users, cli)
  addSimple(users, cli)
}

function addAdd(users: Command, cli: Cli): void {
  const add = users
    .command('add <username>')
    .description('add a user')
    .option('--role <role>', 'what the user may do; may be repeated', collect)
    .option('--group <group>', 'for the claim groups; may be repeated', collect)
    .option('--name <name>', 'the full name')
    .option('--given-name <name>', 'the given name')
    .option('--family-name <name>', 'the family name')
    .option(
      '--preferred-username <name>',
      'what applications call the user (default: the username)',
    )
    .option('--email <address>', 'the e-mail address')
    .option('--email-verified', 'your word that the address is theirs')
    .option('--picture <url>', 'where a picture of the user is')
    .option('--locale <tag>', 'the language, such as en or pt-BR')
    .option(PASSWORD_STDIN, PASSWORD_STDIN_HELP)
    .addOption(
      new Option('--no-password', 'let the user be without one').conflicts('passwordStdin'),
    )
  withCommonOptions(add).action(async (username: string, options: AddOptions, command: Command) => {
    const readPassword = options.password ? choosePassword(cli, options, command) : undefined
    const user = {
      username,
      roles: [...(options.role ?? [])],
      groups: [...(options.group ?? [])],
      profile: readProfile(options),
    }
    const work: Work = async (operations) =>
      reportUser(
        'Added',
        await operations.users.add(user, readPassword && (() => readPassword(username))),
      )
    await cli.operate(options, work, 'may be made')
  })
}

function readProfile(options: AddOptions): Partial<UserView['profile']> {
  const { name, givenName, familyName, preferredUsername, email, emailVerified, picture, locale } =
    options
  const profile = {
    name,
    givenName,
    familyName,
    preferredUsername,
    email,
    emailVerified,
    picture,
    locale,
  }
  return Object.fromEntries(Object.entries(profile).filter(([, value]) => value !== undefined))
}

/** Wrong usage is refused at once; the password itself is read when everything else is right. */
function choosePassword(
  { world }: Cli,
  { passwordStdin }: PasswordOptions,
  command: Command,
): (username: string) => Promise<string> {
  if (passwordStdin) {
    requirePipe(world, command, PASSWORD_STDIN)
    return () => readSecretFromStdin(world, PASSWORD_STDIN)
  }
  const message = 'there is no terminal to ask for a password on: use --password-stdin'
  requireTerminal(world, command, message)
  return (username) => askForPassword(world, username)
}

function addList(users: Command, cli: Cli): void {
  withCommonOptions(users.command('list').description('list the users')).action(
    (options: CommonOptions) =>
      cli.operate(options, async (operations) => {
        const list = await operations.users.list()
        return {
          json: { users: list },
          text: (style) =>
            list.length === 0
              ? 'No users. Add one: npx portreeve users add NAME'
              : formatTable(
                  [
                    { title: 'USERNAME', gives: 'whole' },
                    { title: 'ROLES', gives: 'wrap' },
                    'STATE',
                    'OWNER',
                    { title: 'ID', gives: 'whole' },
                  ],
                  list.map((user) => [
                    user.username,
                    user.roles.join(', ') || 'none',
                    describeState(user),
                    user.owner,
                    user.id,
                  ]),
                  style,
                ),
        }
      }),
  )
}

function addSetPassword(users: Command, cli: Cli): void {
  const set = users
    .command('set-password <username>')
    .description('give a user another password, and sign them out everywhere')
    .option(PASSWORD_STDIN, PASSWORD_STDIN_HELP)
  withCommonOptions(set).action(
    async (name: string, options: PasswordOptions, command: Command) => {
      const readPassword = choosePassword(cli, options, command)
      await cli.operate(options, async (operations) => {
        const { username } = await operations.users.show(name)
        const user = await operations.users.setPassword(username, await readPassword(username))
        return {
          json: { user },
          text: (style) =>
            `${style.good('Set')} the password of ${harmless(username)}, who is signed out everywhere.`,
        }
      })
    },
  )
}

function addSetRoles(users: Command, cli: Cli): void {
  const set = users
    .command('set-roles <username> [roles...]')
    .description('replace the roles of a user')
    .option('--none', 'take every role away')
  withCommonOptions(set).action(
    async (
      username: string,
      roles: string[],
      options: CommonOptions & { readonly none?: boolean },
      command: Command,
    ) => {
      if ((roles.length === 0) !== (options.none === true)) {
        refuseUsage(command, 'name the roles that the user is to have, or give --none')
      }
      await cli.operate(options, async (operations) =>
        reportUser('Changed', await operations.users.setRoles(username, roles)),
      )
    },
  )
}

/** The commands that take a name and nothing else. */
function addSimple(users: Command, cli: Cli): void {
  const simple = (
    name: string,
    description: string,
    work: (users: UserOperations, name: string) => Promise<Report>,
  ) =>
    withCommonOptions(users.command(`${name} <username>`).description(description)).action(
      (username: string, options: CommonOptions) =>
        cli.operate(options, (operations) => work(operations.users, username)),
    )
  simple('show', 'show a user, by username or by id', async (operations, name) => {
    const user = await operations.show(name)
    return { json: { user }, text: (style) => formatUser(user, style) }
  })
  simple('disable', 'keep a user from signing in and from new tokens', async (operations, name) =>
    reportUser('Disabled', await operations.setDisabled(name, true)),
  )
  simple('enable', 'let a disabled user in again', async (operations, name) =>
    reportUser('Enabled', await operations.setDisabled(name, false)),
  )
  simple('remove', 'remove a user, with sessions and grants', async (operations, name) => {
    const user = await operations.remove(name)
    const { id, username } = user
    return {
      json: { removed: { id, username } },
      text: (style) => `${style.good('Removed')} the user ${harmless(username)}.`,
    }
  })
}

function reportUser(done: string, user: UserView): Report {
  return {
    json: { user },
    text: (style) =>
      `${style.good(done)} the user ${harmless(user.username)}.\n\n${formatUser(user, style)}`,
  }
}

function formatUser(user: UserView, style: Style): string {
  const { profile } = user
  const verified = profile.emailVerified ? ' (verified)' : ''
  const optional: readonly (readonly [string, string | undefined])[] = [
    ['name', profile.name],
    ['given name', profile.givenName],
    ['family name', profile.familyName],
    ['preferred username', profile.preferredUsername],
    ['email', profile.email === undefined ? undefined : `${profile.email}${verified}`],
    ['picture', profile.picture],
    ['locale', profile.locale],
  ]
  return formatFields(
    [
      ['username', user.username],
      ['id', user.id],
      ['state', describeState(user)],
      ['password', user.hasPassword ? 'set' : 'none'],
      ['roles', user.roles],
      ['groups', user.groups],
      ...optional.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])),
      ['owner', user.owner],
      ['created', user.createdAt],
      ['changed', user.updatedAt],
    ],
    style,
  )
}

function describeState({ disabled }: UserView): string {
  return disabled ? 'disabled' : 'active'
}

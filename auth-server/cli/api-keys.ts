import { InvalidArgumentError, type Command } from 'commander'
import type { ApiKeyView } from '../admin/api-keys.ts'
import { parseTime } from '../clock.ts'
import {
  collectWords,
  parseWhile,
  withCommonOptions,
  type Cli,
  type CommonOptions,
} from './command.ts'
import { formatFields, harmless, type Style } from './style.ts'
import { formatTable } from './table.ts'

interface AddOptions extends CommonOptions {
  readonly name: string
  readonly scope: readonly string[]
  readonly resource?: string
  readonly expires?: Expiry
}

interface ListOptions extends CommonOptions {
  readonly user?: string
}

/** The time by the clock of the command; `undefined` for never. */
type Expiry = (now: number) => number | undefined

const DAY_MS = 86_400_000
const DEFAULT_DAYS = 90

const EXAMPLES = `
Examples:
  npx portreeve api-keys add ann --name "Backup of the notes" --scope notes:read
  npx portreeve api-keys add ann --name CI --scope "notes:read notes:write" \\
    --resource https://notes.example/ --expires 30d`

export function addApiKeyCommands(program: Command, cli: Cli): void {
  const keys = program
    .command('api-keys')
    .description('keys with which programs act for a person, at one API')
  addAdd(keys, cli)
  addList(keys, cli)
  addRevoke(keys, cli)
}

function addAdd(keys: Command, cli: Cli): void {
  const add = keys
    .command('add <username>')
    .description('make a key that acts for a user')
    .requiredOption('--name <name>', 'what it is for')
    .requiredOption('--scope <scopes>', 'what it may do; may be repeated', collectWords)
    .option('--resource <uri>', 'the API that it is for, where the scopes do not tell')
    .option(
      '--expires <time>',
      `when it ends: a while (12h, 90d), a time (2027-03-01) or never (default: ${DEFAULT_DAYS}d)`,
      readExpiry,
    )
  withCommonOptions(add)
    .addHelpText('after', EXAMPLES)
    .action((user: string, { name, scope, resource, expires, ...options }: AddOptions) =>
      cli.operate(options, async (operations) => {
        const now = cli.world.clock.now()
        const expiresAt = expires ? expires(now) : now + DEFAULT_DAYS * DAY_MS
        const added = await operations.apiKeys.add({
          user,
          name,
          scopes: scope,
          resource,
          expiresAt,
        })
        const { apiKey, key } = added
        return {
          json: { apiKey, key },
          text: (style) =>
            [
              `${style.good('Made')} the API key ${apiKey.id}.`,
              formatKey(apiKey, style),
              `  ${style.quiet('key')}  ${style.secret(key)}`,
              'The key is shown this once: only its hash is kept. Give it to the program now.',
            ].join('\n\n'),
        }
      }),
    )
}

function addList(keys: Command, cli: Cli): void {
  const list = keys
    .command('list')
    .description('list the keys, and when each was last used')
    .option('--user <name>', 'those of this user, by name or by id')
  withCommonOptions(list).action((options: ListOptions) =>
    cli.operate(options, async (operations) => {
      const apiKeys = await operations.apiKeys.list(options.user)
      return {
        json: { apiKeys },
        text: (style) =>
          apiKeys.length === 0
            ? 'No API keys. Make one: npx portreeve api-keys add USER --name NAME --scope SCOPE'
            : formatTable(
                [
                  { title: 'ID', gives: 'whole' },
                  { title: 'USER', gives: 'whole' },
                  { title: 'NAME', gives: 'wrap' },
                  { title: 'SCOPES', gives: 'wrap' },
                  'STATE',
                  'EXPIRES',
                  'LAST USED',
                ],
                apiKeys.map((key) => [
                  key.id,
                  key.username ?? key.accountId,
                  key.name,
                  key.scopes.join(' '),
                  key.state,
                  key.expiresAt?.slice(0, 10) ?? 'never',
                  key.lastUsedAt?.slice(0, 16) ?? 'never',
                ]),
                style,
              ),
      }
    }),
  )
}

function addRevoke(keys: Command, cli: Cli): void {
  const description = 'end a key, and the tokens that were issued for it'
  withCommonOptions(keys.command('revoke <id>').description(description)).action(
    (id: string, options: CommonOptions) =>
      cli.operate(options, async (operations) => {
        const apiKey = await operations.apiKeys.revoke(id)
        return {
          json: { apiKey },
          text: (style) =>
            `${style.good('Revoked')} the API key ${apiKey.id} (${harmless(apiKey.name)}).`,
        }
      }),
  )
}

function formatKey(key: ApiKeyView, style: Style): string {
  return formatFields(
    [
      ['user', key.username ?? key.accountId],
      ['name', key.name],
      ['resource', key.resource],
      ['scopes', key.scopes.join(' ')],
      ['expires', key.expiresAt ?? 'never'],
    ],
    style,
  )
}

const EXPECTED =
  'a while such as 12h or 90d, a time such as 2027-03-01 or 2027-03-01T08:00Z, or never'

function readExpiry(value: string): Expiry {
  if (value === 'never') return () => undefined
  const milliseconds = parseWhile(value)
  if (milliseconds !== undefined) return (now) => now + milliseconds
  const time = parseTime(value)
  if (time !== undefined) return () => time
  throw new InvalidArgumentError(`It must be ${EXPECTED}.`)
}

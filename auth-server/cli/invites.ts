import { InvalidArgumentError, Option, type Command } from 'commander'
import {
  parseWhile,
  withCommonOptions,
  type Cli,
  type CommonOptions,
  type Work,
} from './command.ts'
import { formatFields, harmless, wrapMessage } from './style.ts'
import { formatTable } from './table.ts'

interface InviteOptions extends CommonOptions {
  readonly for: string
  readonly uses: number
  readonly expires: number
}

const DAY_MS = 86_400_000
const DEFAULT_DAYS = 7

/** Beneath `clients`: who may register some. */
export function addInviteCommands(clients: Command, cli: Cli): void {
  addInvite(clients, cli)
  addList(clients, cli)
  addWithdraw(clients, cli)
}

function addInvite(clients: Command, cli: Cli): void {
  const invite = clients
    .command('invite')
    .description('let somebody register clients (RFC 7591)')
    .requiredOption('--for <name>', 'whom it is for')
    .option('--uses <number>', 'how many clients', readNumber, 1)
    .addOption(
      new Option('--expires <while>', 'how long, such as 12h or 30d')
        .argParser(readWhile)
        .default(DEFAULT_DAYS * DAY_MS, `${DEFAULT_DAYS}d`),
    )
  withCommonOptions(invite).action(
    async ({ for: label, uses, expires, ...options }: InviteOptions) => {
      const work: Work = async (operations, { config }) => {
        const expiresAt = cli.world.clock.now() + expires
        const { invite: made, token } = await operations.invites.add({ label, uses, expiresAt })
        return {
          json: { invite: made, token },
          text: (style) =>
            [
              `${style.good('Invited')} ${harmless(made.label)} (${made.id}).`,
              formatFields(
                [
                  ['clients', String(made.usesLeft)],
                  ['expires', made.expiresAt],
                ],
                style,
              ),
              `  ${style.quiet('token')}  ${style.secret(token)}`,
              'The token is shown this once: only its hash is kept.',
              ...(config.registration
                ? [
                    wrapMessage(
                      `Give it to whoever registers: they send it as Authorization: Bearer to ${config.issuer}/register.`,
                      style.width,
                    ),
                  ]
                : ['Clients cannot register here yet: add registration to the configuration.']),
            ].join('\n\n'),
        }
      }
      await cli.operate(options, work, 'may be made')
    },
  )
}

function addList(clients: Command, cli: Cli): void {
  withCommonOptions(clients.command('invites').description('list who may register clients')).action(
    (options: CommonOptions) =>
      cli.operate(options, async (operations) => {
        const invites = await operations.invites.list()
        return {
          json: { invites },
          text: (style) =>
            invites.length === 0
              ? 'No invites. Make one: npx portreeve clients invite --for NAME'
              : formatTable(
                  [
                    { title: 'ID', gives: 'whole' },
                    { title: 'FOR', gives: 'wrap' },
                    'LEFT',
                    'STATE',
                    'EXPIRES',
                  ],
                  invites.map(({ id, label, usesLeft, state, expiresAt }) => [
                    id,
                    label,
                    String(usesLeft),
                    state,
                    expiresAt.slice(0, 16),
                  ]),
                  style,
                ),
        }
      }),
  )
}

function addWithdraw(clients: Command, cli: Cli): void {
  const description = 'take an invite back; clients that were registered with it stay'
  withCommonOptions(clients.command('withdraw <invite>').description(description)).action(
    (id: string, options: CommonOptions) =>
      cli.operate(options, async (operations) => {
        await operations.invites.remove(id)
        return {
          json: { withdrawn: { id } },
          text: (style) => `${style.good('Withdrew')} the invite ${harmless(id)}.`,
        }
      }),
  )
}

function readNumber(value: string): number {
  if (/^\d{1,6}$/.test(value)) return Number(value)
  throw new InvalidArgumentError('It must be a number.')
}

function readWhile(value: string): number {
  const milliseconds = parseWhile(value)
  if (milliseconds !== undefined) return milliseconds
  throw new InvalidArgumentError('It must be a while such as 12h or 30d.')
}

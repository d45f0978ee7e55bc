import { InvalidArgumentError, type Command } from 'commander'
import type { Confirmations, ReceiverOperations } from '../admin/receivers.ts'
import type {
  RevocationOperations,
  RevocationRequest,
  RevocationView,
  SessionPartView,
} from '../admin/revocations.ts'
import { echo } from '../config/echo.ts'
import { withCommonOptions, type Cli, type CommonOptions } from './command.ts'
import {
  askWhether,
  readSecretFromStdin,
  refuseUsage,
  requirePipe,
  requireTerminal,
} from './input.ts'
import { countConfirmed, formatConfirmations } from './receivers.ts'
import type { Warning } from './report.ts'
import { harmless, wrapMessage, type Style } from './style.ts'
import type { World } from './world.ts'

interface RevokeOptions extends CommonOptions {
  readonly user?: string
  readonly client?: string
  readonly session?: string
  readonly grant?: string
  readonly token?: string
  readonly tokenStdin?: boolean
  readonly all?: boolean
  readonly yes?: boolean
  readonly wait: number
}

/** What it says of itself, where that is a token. */
type Target = RevocationRequest & {
  readonly issuer?: string | undefined
  /** It goes on without the token. */
  readonly grant?: string | undefined
  readonly isApiKey?: boolean
}

const KINDS = ['user', 'client', 'session', 'grant', 'token'] as const
const TOKEN_STDIN = '--token-stdin'
const DEFAULT_SECONDS = 5
const MOST_SECONDS = 600

const HELP = `
Name one thing. A token says what it hangs on by its claims: jti, sid, grant_id,
client_id and sub. Whoever may sign in can do so again, and a session is one
client's part of a sign-in that goes on. For those who may not come back: users
disable, clients disable, clients rotate-secret, keys rotate --now.

It is revoked once it is written, whoever knows of it: this server refuses it
from then on, a resource server as soon as it hears of it. The command waits for
them, and names those that have not confirmed. The exit code is 0 all the same.

Examples:
  A laptop was stolen:
    npx portreeve revoke --user ann
  A token or an API key got into a log:
    npx portreeve revoke --token-stdin < token.txt
  An application was broken into:
    npx portreeve clients rotate-secret shop
    npx portreeve revoke --client shop
  Nobody knows what was stolen:
    npx portreeve revoke --all --yes --wait 30`

export function addRevokeCommand(program: Command, cli: Cli): void {
  const revoke = program
    .command('revoke')
    .description('end access at once, and say which resource servers know')
    .option('--user <name>', 'all that a user has, by username or by id')
    .option('--client <id>', 'all that a client was given')
    .option('--session <sid>', 'what one client has from a sign-in, which itself goes on')
    .option('--grant <id>', 'all that hangs on one consent, or on one API key')
    .option('--token <jti>', 'one access token, by its id')
    .option(TOKEN_STDIN, 'what ends a token or an API key that comes on standard input')
    .option('--all', 'everything that was issued until now, to everybody')
    .option('--yes', 'with --all: do not ask')
    .option(
      '--wait <seconds>',
      'how long to wait for the resource servers; 0: not at all',
      readSeconds,
      DEFAULT_SECONDS,
    )
  withCommonOptions(revoke)
    .addHelpText('after', HELP)
    .action((options: RevokeOptions, command: Command) => run(cli, options, command))
}

async function run(cli: Cli, options: RevokeOptions, command: Command): Promise<void> {
  const { world } = cli
  const readTarget = chooseTarget(world, options, command)
  await cli.operate(options, async (operations, { config }) => {
    const target = await readTarget(operations.revocations)
    const { kind, subject, issuer = config.issuer } = target
    const signal = listenForStop(world)
    const revoked = await operations.revocations.revoke({ kind, subject })
    const confirmations =
      options.wait === 0
        ? undefined
        : await awaitConfirmations(world, operations.receivers, revoked, { ...options, signal })
    return {
      json: { revoked, confirmations },
      // Whoever is in a hurry may have another configuration at hand than the server.
      warnings: issuer === config.issuer ? [] : [warnOfIssuer(issuer, config.issuer)],
      text: (style) =>
        [
          describeRevoked(target, revoked, style),
          confirmations === undefined
            ? wrapMessage(NOT_AWAITED, style.width)
            : formatConfirmations(confirmations, style),
        ].join('\n\n'),
    }
  })
}

/** Wrong usage is refused at once; whoever is asked, is asked when everything else is right. */
function chooseTarget(
  world: World,
  options: RevokeOptions,
  command: Command,
): (revocations: RevocationOperations) => Promise<Target> {
  const { tokenStdin, all, yes } = options
  const named = KINDS.flatMap((kind) => {
    const subject = options[kind]
    return subject === undefined ? [] : [{ kind, subject }]
  })
  const count = named.length + Number(tokenStdin === true) + Number(all === true)
  if (count !== 1) refuseUsage(command, describeChoice(count))
  if (yes === true && all !== true) refuseUsage(command, '--yes goes with --all')
  const [target] = named
  if (target !== undefined) {
    if (looksLikeToken(target.subject)) refuseUsage(command, NO_SECRETS)
    return async () => target
  }
  if (tokenStdin === true) {
    requirePipe(world, command, TOKEN_STDIN)
    return async ({ identify }) => identify((await readSecretFromStdin(world, TOKEN_STDIN)).trim())
  }
  if (yes !== true) requireTerminal(world, command, 'there is no terminal to ask on: use --yes')
  return async () => {
    if (yes !== true) await askWhether(world, ALL)
    return { kind: 'all', subject: '' }
  }
}

const NOT_AWAITED = 'See which resource servers know of it: npx portreeve receivers list'
const ALL = 'Everybody has to sign in again, and every API key ends. Revoke everything?'
const NO_SECRETS = `that is a whole token, and arguments can be read by every user of this machine: give its id (jti), or the token by ${TOKEN_STDIN}`

function describeChoice(count: number): string {
  const options = '--user, --client, --session, --grant, --token, --token-stdin and --all'
  return `name one of ${options}, not ${count === 0 ? 'none' : count}`
}

function looksLikeToken(text: string): boolean {
  return /^eyJ[\w-]*\.[\w-]*\./.test(text)
}

function warnOfIssuer(found: string, own: string): Warning {
  const message = `the token is one of ${echo(found)}, and this configuration is that of ${own}`
  return { path: ['iss'], message }
}

function readSeconds(text: string): number {
  const seconds = /^\d{1,3}(?:\.\d{1,3})?$/.test(text) ? Number(text) : NaN
  if (seconds <= MOST_SECONDS) return seconds
  throw new InvalidArgumentError(`It must be a number of seconds from 0 to ${MOST_SECONDS}.`)
}

/** Whoever stops the command from now on stops the waiting. */
function listenForStop({ waitForStop }: World): AbortSignal {
  const stop = new AbortController()
  const abort = async () => {
    await waitForStop()
    stop.abort()
  }
  void abort()
  return stop.signal
}

/** Shows on a terminal how many there are. */
async function awaitConfirmations(
  { stderr }: World,
  receivers: ReceiverOperations,
  { place, firstPlace, committedAt }: RevocationView,
  { wait, json, signal }: RevokeOptions & { readonly signal: AbortSignal },
): Promise<Confirmations> {
  const isShown = stderr.isTTY && json !== true
  const show = (confirmations: Confirmations) => {
    const text = `Revoked. So far ${countConfirmed(confirmations)} …`
    stderr.write(`\r${ERASE_LINE}${text.slice(0, stderr.columns - 1)}`)
  }
  const confirmations = await receivers.confirm({
    place,
    firstPlace,
    committedAt,
    waitMs: wait * 1000,
    signal,
    onLook: isShown ? show : undefined,
  })
  if (isShown) stderr.write(`\r${ERASE_LINE}`)
  return confirmations
}

const ERASE_LINE = '\u001B[K'

function describeRevoked(target: Target, revoked: RevocationView, style: Style): string {
  const { grant } = target
  const done = `Revoked ${nameTarget(target)}: place ${revoked.place} in the log.`
  const lines = [done, ...describeEnded(target, revoked)]
  if (grant !== undefined) {
    lines.push('Its grant goes on, and may give other tokens. To end it, too:')
    lines.push(`  npx portreeve revoke --grant ${harmless(grant)}`)
  }
  return wrapMessage(lines.join('\n'), style.width).replace('Revoked', style.good)
}

function nameTarget({ kind, subject, isApiKey }: Target): string {
  const name = harmless(subject)
  switch (kind) {
    case 'user':
      return `all that the user ${name} had`
    case 'client':
      return `all that the client ${name} was given`
    case 'session':
    case 'grant':
    case 'token':
      if (isApiKey) return `the API key ${name}`
      return `the ${kind} ${name}`
    case 'all':
      return 'everything that was issued until now'
  }
}

const NO_PART =
  'No sign-in of now has it: it has ended already, or was never ours. What was issued for it is refused.'

/** The browser has a cookie of ours, with which the client would be given another session. */
function describePart({ clientId, accountId, username }: SessionPartView): readonly string[] {
  const name = harmless(username ?? accountId ?? 'nobody')
  return [
    `Ended with it: what the client ${harmless(clientId)} has from a sign-in of ${name}.`,
    `The browser is still signed in here, and may give the client another session. To end that, too:`,
    `  npx portreeve revoke --user ${name}`,
  ]
}

/** Access tokens are kept nowhere, so that they cannot be counted. */
function describeEnded({ isApiKey }: Target, revoked: RevocationView): readonly string[] {
  const { kind, sessions, grants, apiKeys, parts } = revoked
  if (kind === 'token') return []
  if (isApiKey) return apiKeys > 0 ? [] : ['It had ended already.']
  if (parts !== undefined) return parts.length === 0 ? [NO_PART] : parts.flatMap(describePart)
  const counts = [
    [sessions, 'session'],
    [grants, 'grant'],
    [apiKeys, 'API key'],
  ] as const
  const ended = counts
    .filter(([count]) => count > 0)
    .map(([count, what]) => `${count} ${what}${count === 1 ? '' : 's'}`)
  return [
    ended.length === 0
      ? 'No session, grant or API key hung on it.'
      : `Ended with it: ${ended.join(', ')}.`,
  ]
}

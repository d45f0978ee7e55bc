import type { Command } from 'commander'
import type { Confirmations, PlacesView, ReceiverList, ReceiverView } from '../admin/receivers.ts'
import { withCommonOptions, type Cli, type CommonOptions } from './command.ts'
import type { Report } from './report.ts'
import { shortenTime, wrapMessage, type Style } from './style.ts'
import { formatTable, type Column } from './table.ts'

const HELP = `
A receiver is a resource server that follows what is revoked, or one of its
replicas. A running server hears of each that is there every 15 seconds. One
that has not been heard of for 40 seconds is silent: it was stopped, or is cut
off. After a day it is forgotten. One that polls may say of an event that it
cannot use it: it is not asked again, and is named here with the place of that
in the log until nothing hangs on it any more. The log of the server says why
(revocation_unusable).`

const NOBODY =
  'No resource server follows what is revoked: each takes a token until it expires. docs/revocation.md says how to follow.'

export function addReceiverCommands(program: Command, cli: Cli): void {
  const receivers = program
    .command('receivers')
    .description('resource servers that follow what is revoked')
  withCommonOptions(
    receivers
      .command('list')
      .description('list who follows what is revoked, and how far each has come'),
  )
    .addHelpText('after', HELP)
    .action((options: CommonOptions) =>
      cli.operate(options, async (operations) =>
        reportReceivers(await operations.receivers.list()),
      ),
    )
}

function reportReceivers({ head, receivers, more }: ReceiverList): Report {
  return {
    json: { head, receivers, more },
    text(style) {
      if (receivers.length === 0) return wrapMessage(NOBODY, style.width)
      const rows = receivers.map((one) => [...formatReceiver(one), one.state])
      const unusable = receivers.filter((one) => one.unusable.length > 0)
      const parts = [formatTable([...COLUMNS, 'STATE'], rows, style)]
      if (unusable.length > 0) parts.push(...listUnusable(unusable, style))
      if (more) parts.push(style.quiet(MORE))
      return parts.join('\n\n')
    },
  }
}

const COLUMNS: readonly Column[] = [
  { title: 'CLIENT', gives: 'whole' },
  { title: 'RECEIVER', gives: 'whole' },
  'BEHIND',
  'LAST HEARD OF',
]

function formatReceiver({ clientId, receiver, behind, seenAt }: ReceiverView): readonly string[] {
  return [clientId, receiver, String(behind), shortenTime(seenAt)]
}

/** How many have confirmed, after how long, and who has not. */
export function formatConfirmations(confirmations: Confirmations, style: Style): string {
  const { receivers, confirmed, expected } = confirmations
  const waiting = receivers.filter(({ state }) => state === 'behind')
  const unusable = receivers.filter((one) => one.unusable.length > 0)
  const silent = receivers.filter(
    (one) => one.state === 'silent' && one.behind > 0 && one.unusable.length === 0,
  )
  const write = (text: string) => wrapMessage(text, style.width)
  if (expected === 0 && silent.length === 0) return write(NOBODY)
  const count = write(countConfirmed(confirmations) + describeTime(confirmations))
  const parts = expected === 0 ? [] : [confirmed === expected ? count : style.secret(count)]
  if (unusable.length > 0) parts.push(...listUnusable(unusable, style))
  if (waiting.length > 0) parts.push('Not yet:', listSome(waiting, style))
  if (silent.length > 0) parts.push(write(SILENT), listSome(silent, style))
  if (waiting.length + silent.length > 0) parts.push(style.quiet(write(MEANING)))
  if (expected === 0) parts.push(style.secret(write(NO_SERVER)))
  if (confirmations.more) parts.push(style.quiet(MORE))
  return parts.join('\n\n')
}

/** `4 of 5 resource servers have confirmed` */
export function countConfirmed({ confirmed, expected }: Confirmations): string {
  const [what, have] = expected === 1 ? ['server', 'has'] : ['servers', 'have']
  return `${confirmed} of ${expected} resource ${what} ${have} confirmed`
}

function describeTime({ confirmed, lastAfterMs = 0 }: Confirmations): string {
  if (confirmed === 0) return '.'
  return `, ${confirmed === 1 ? '' : 'the last '}after ${lastAfterMs} ms.`
}

const MORE = 'There are more: only so many are looked at.'
const SILENT = 'Not heard of for 40 seconds or more. They were stopped, or are cut off:'
const MEANING =
  'Each learns of it as soon as it and a running server reach each other. Until then each of its routes does what it says for that (whenStale): by default only tokens younger than a minute get in. See: npx portreeve receivers list'
const NO_SERVER =
  'Is the server running? None of them has been heard of lately, and it would have noted that.'

const CANNOT =
  'By their own word these cannot use what is at these places of the log. Each takes the tokens that ended there until they expire:'
const WHY =
  'The log of the server says why (revocation_unusable). They are not given it again: docs/revocation.md says what to do once that is mended.'
const UNUSABLE_COLUMNS = [...COLUMNS.slice(0, 2), { title: 'PLACES', gives: 'wrap' } as const]

function listUnusable(receivers: readonly ReceiverView[], style: Style): readonly string[] {
  return [
    style.secret(wrapMessage(CANNOT, style.width)),
    listSome(receivers, style, UNUSABLE_COLUMNS, ({ clientId, receiver, unusable }) => [
      clientId,
      receiver,
      unusable.map(formatPlaces).join(', '),
    ]),
    style.quiet(wrapMessage(WHY, style.width)),
  ]
}

function formatPlaces({ from, through }: PlacesView): string {
  return from === through ? String(from) : `${from}-${through}`
}

const MOST_LISTED = 20

function listSome(
  receivers: readonly ReceiverView[],
  style: Style,
  columns = COLUMNS,
  format = formatReceiver,
): string {
  const table = formatTable(columns, receivers.slice(0, MOST_LISTED).map(format), style)
  const left = receivers.length - MOST_LISTED
  return left > 0 ? `${table}\n… and ${left} more` : table
}

import { InvalidArgumentError, type Command } from 'commander'
import type { AuditEntryView, AuditList, AuditQuery } from '../admin/audit.ts'
import type { AuditHead } from '../audit/audit.ts'
import { parseTime, type Clock } from '../clock.ts'
import { readAuditKey } from './audited.ts'
import { parseWhile, withCommonOptions, type Cli, type CommonOptions } from './command.ts'
import type { Report } from './report.ts'
import { shortenTime, type Style } from './style.ts'
import { formatTable } from './table.ts'

interface AuditOptions extends CommonOptions {
  readonly user?: string
  readonly client?: string
  readonly since?: Since
  readonly limit?: number
  /** `true` without a head. */
  readonly verify?: AuditHead | true
}

/** The time by the clock of the command. */
type Since = (now: number) => number

const DEFAULT_LIMIT = 100
const HIGHEST_LIMIT = 10_000

const HELP = `
--verify reads the whole log and says whether it is as it was written: whoever
can change the database but has not the root key cannot hide it. A log that was
cut at its end is whole, too: keep the head that --verify prints in another
place, and name it the next time. The server's own log tells it every minute
(audit_head).

Examples:
  npx portreeve audit --user ann --since 7d
  npx portreeve audit --client shop --since 2026-03-01T08:00Z --json
  npx portreeve audit --verify
  npx portreeve audit --verify 1207:Yb0aQz3k.2fQ…`

export function addAuditCommand(program: Command, cli: Cli): void {
  const command = program
    .command('audit')
    .description('who did what, or was allowed what')
    .option('--user <name>', 'about this user, by name or by id')
    .option('--client <id>', 'about this client')
    .option(
      '--since <time>',
      'from a time (2026-03-01T08:00Z) or for a while (30m, 12h, 7d)',
      readSince,
    )
    .option('--limit <count>', `the newest so many (default: ${DEFAULT_LIMIT})`, readLimit)
    .option('--verify [head]', 'whether the log is as it was written', readHead)
  withCommonOptions(command)
    .addHelpText('after', HELP)
    .action((options: AuditOptions) =>
      cli.operate(options, async (operations, loaded) => {
        const query = readQuery(options, cli.world.clock)
        const { verify } = options
        if (verify === undefined) return reportList(await operations.audit.list(query))
        const noted = verify === true ? undefined : verify
        const { entries, head } = await operations.audit.verify(await readAuditKey(loaded), noted)
        const verified = reportVerified(entries, head)
        if (!isNarrowed(options)) return verified
        return join(reportList(await operations.audit.list(query)), verified)
      }),
    )
}

function readQuery({ user, client, since, limit }: AuditOptions, clock: Clock): AuditQuery {
  return { user, client, since: since?.(clock.now()), limit: limit ?? DEFAULT_LIMIT }
}

function isNarrowed({ user, client, since, limit }: AuditOptions): boolean {
  return [user, client, since, limit].some((option) => option !== undefined)
}

function reportVerified(entries: number, head: AuditHead | undefined): Report {
  const name = head && `${head.sequence}:${head.hash}`
  return {
    json: { verified: { entries, head: name ?? null } },
    text: (style) =>
      name === undefined
        ? 'The audit log is empty.'
        : `${style.good('As it was written:')} ${entries === 1 ? '1 entry' : `${entries} entries`}.\n\nhead  ${name}`,
  }
}

function join(one: Report, two: Report): Report {
  return {
    json: { ...one.json, ...two.json },
    text: (style) => `${one.text(style)}\n\n${two.text(style)}`,
  }
}

function reportList({ entries, more }: AuditList): Report {
  return {
    json: { entries, more },
    text(style) {
      if (entries.length === 0) return 'No entries.'
      const hint = 'There are older ones: ask for more with --limit, or for fewer with --since.'
      return [formatEntries(entries, style), ...(more ? [style.quiet(hint)] : [])].join('\n')
    },
  }
}

function formatEntries(entries: readonly AuditEntryView[], style: Style): string {
  return formatTable(
    ['ENTRY', 'TIME', 'EVENT', { title: 'ABOUT', gives: 'wrap' }],
    entries.map((entry) => [
      String(entry.sequence),
      shortenTime(entry.at),
      entry.event,
      describeEntry(entry),
    ]),
    style,
  )
}

/** Whom it is about, with which client, what more there is, and who did it where that is somebody else. */
function describeEntry({ username, accountId, clientId, facts, by }: AuditEntryView): string {
  const who = username ?? accountId
  const other = who === undefined && clientId === undefined ? readId(facts) : undefined
  const isOther = by !== 'user' && by !== 'client' && by !== 'stranger'
  const parts = [who, clientId, listFacts(facts), other, isOther ? `by ${by}` : undefined]
  return parts.filter((part) => part !== undefined && part !== '').join(' · ')
}

/** What is neither a user nor a client, such as a key, is named by its id. */
function readId(facts: unknown): string | undefined {
  const { id } = (typeof facts === 'object' ? (facts ?? {}) : {}) as { readonly id?: unknown }
  return typeof id === 'string' ? id : undefined
}

function listFacts(facts: unknown): string {
  if (typeof facts !== 'object' || facts === null) return String(facts)
  return (
    Object.entries(facts)
      .filter(([name]) => name !== 'id' && name !== 'grantId')
      // A bare number after `token` would read as the number of a token.
      .map(([name, value]) => `${name === 'place' ? 'place ' : ''}${[value].flat().join(' ')}`)
      .join(' ')
  )
}

function readSince(text: string): Since {
  const milliseconds = parseWhile(text)
  if (milliseconds !== undefined) return (now) => now - milliseconds
  const time = parseTime(text)
  if (time !== undefined) return () => time
  const expected =
    'a time such as 2026-03-01 or 2026-03-01T08:00Z, or a while such as 30m, 12h or 7d'
  throw new InvalidArgumentError(`It must be ${expected}.`)
}

function readLimit(text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0
  if (limit >= 1 && limit <= HIGHEST_LIMIT) return limit
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${HIGHEST_LIMIT}.`)
}

function readHead(text: string): AuditHead {
  const [, sequence, hash] = /^(\d{1,15}):([\w-]{8}\.[\w-]{43})$/.exec(text) ?? []
  if (sequence !== undefined && hash !== undefined) return { sequence: Number(sequence), hash }
  throw new InvalidArgumentError('It must be a head as --verify prints it: 1207:Yb0aQz3k.2fQ…')
}

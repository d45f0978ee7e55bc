import { constants } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import type { ExportDocument } from '../admin/document.ts'
import type { ChangesView } from '../admin/import-plan.ts'
import type { ImportView } from '../admin/transfer.ts'
import type { Finding } from '../config/rules.ts'
import { PortreeveError } from '../errors.ts'
import { withCommonOptions, type Cli, type CommonOptions } from './command.ts'
import { requirePipe } from './input.ts'
import type { Report } from './report.ts'
import { formatFields, harmless, toJson, wrapMessage, type Style } from './style.ts'
import { formatTable, type Column } from './table.ts'
import type { World } from './world.ts'

interface ImportOptions extends CommonOptions {
  readonly dryRun?: boolean
}

const LARGEST_DOCUMENT = 64 * 1024 * 1024
const MOST_ROWS = 50

const EXPORT_HELP = `
It holds the users and clients that were made by command, with the hashes of
their passwords and secrets, the API keys that are good, as hashes, and the
configuration. It holds no secret, no key and no token; hashes can be guessed
at, so keep it to yourself.

Examples:
  npx portreeve export portreeve-export.json
  npx portreeve export | ssh other npx portreeve import --dry-run`

const IMPORT_HELP = `
Everything is checked first, and then all of it is done, or nothing. What is
there already and differs is changed to what the document says; nothing is
removed. The configuration is compared and left as it is: the member "config" of
the document is a configuration file as it stands.

Example:
  npx portreeve import portreeve-export.json --dry-run`

export function addTransferCommands(program: Command, cli: Cli): void {
  addExport(program, cli)
  addImport(program, cli)
}

function addExport(program: Command, cli: Cli): void {
  const command = program
    .command('export [file]')
    .description(
      'write users, clients, API keys and configuration as JSON (default: to standard output)',
    )
  withCommonOptions(command)
    .addHelpText('after', EXPORT_HELP)
    .action((file: string | undefined, options: CommonOptions) =>
      cli.operate(options, async (operations) => {
        const document = await operations.transfer.export()
        if (file === undefined) {
          return { json: { ...document }, text: () => toJson(document, 2) }
        }
        const target = path.resolve(file)
        await writeNew(target, `${toJson(document, 2)}\n`)
        return reportExport(target, document)
      }),
    )
}

/** For its owner alone. A file that is there is never replaced. */
async function writeNew(file: string, text: string): Promise<void> {
  await using handle = await open(file, 'wx', 0o600).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EEXIST') throw cause
    const message = `${file} is there already: choose another name.`
    throw new PortreeveError('conflict', message, { cause })
  })
  try {
    await handle.writeFile(text)
    await handle.sync()
  } catch (error) {
    await rm(file, { force: true })
    throw error
  }
}

function reportExport(file: string, { users, clients, apiKeys }: ExportDocument): Report {
  const exported = {
    file,
    users: users.length,
    clients: clients.length,
    apiKeys: apiKeys.length,
  }
  return {
    json: { exported },
    text: (style) =>
      [
        `${style.good('Exported')} what operators have made.`,
        formatFields(
          [
            ['file', file],
            ['users', String(exported.users)],
            ['clients', String(exported.clients)],
            ['API keys', String(exported.apiKeys)],
          ],
          style,
        ),
        'It holds the hashes of passwords and secrets: keep it to yourself.',
      ].join('\n\n'),
  }
}

function addImport(program: Command, cli: Cli): void {
  const command = program
    .command('import [file]')
    .description(
      'bring the users, clients and API keys of an export here (default: from standard input)',
    )
    .option('--dry-run', 'say what would be done, and change nothing')
  withCommonOptions(command)
    .addHelpText('after', IMPORT_HELP)
    .action(async (file: string | undefined, options: ImportOptions, called: Command) => {
      if (file === undefined) requirePipe(cli.world, called, 'import')
      const isDryRun = options.dryRun === true
      const text = await readDocument(cli.world, file)
      await cli.operate(
        options,
        async (operations) => {
          const { view, warnings } = await operations.transfer.import(text, { isDryRun })
          return reportImport(view, warnings)
        },
        isDryRun ? 'is imagined' : 'may be made',
      )
    })
}

async function readDocument({ stdin }: World, file: string | undefined): Promise<string> {
  if (file === undefined) return readText(stdin)
  // A named pipe would otherwise keep the command waiting for somebody to write.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK
  await using handle = await open(file, flags).catch((cause: NodeJS.ErrnoException) => {
    const reason = cause.code === 'ENOENT' ? 'does not exist' : `cannot be read (${cause.code})`
    throw new PortreeveError('not_found', `The file ${file} ${reason}.`, { cause })
  })
  if (!(await handle.stat()).isFile()) {
    throw new PortreeveError('invalid_input', `${file} is not a file.`)
  }
  return await readText(handle.createReadStream({ autoClose: false }))
}

async function readText(stream: AsyncIterable<Buffer | string>): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk)
    length += bytes.length
    if (length > LARGEST_DOCUMENT) {
      const message = `The document has more than ${LARGEST_DOCUMENT} bytes.`
      throw new PortreeveError('invalid_input', message)
    }
    chunks.push(bytes)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
  } catch (cause) {
    throw new PortreeveError('invalid_input', 'The document is not UTF-8.', { cause })
  }
}

function reportImport(view: ImportView, warnings: readonly Finding[]): Report {
  const { isDryRun, users, clients, apiKeys, otherSettings } = view
  return {
    json: { imported: view },
    warnings,
    text: (style) =>
      [
        isDryRun ? 'This would be done; nothing was changed.' : `${style.good('Imported')}.`,
        formatFields(
          [
            ['users', countChanges(users)],
            ['clients', countChanges(clients)],
            ['API keys', countChanges(apiKeys)],
          ],
          style,
        ),
        ...listChanges({ user: users, client: clients, 'API key': apiKeys }, style),
        ...describeSettings(otherSettings, style),
      ].join('\n\n'),
  }
}

function countChanges({ added, updated, left }: ChangesView): string {
  return `${added.length} added, ${updated.length} updated, ${left.length} left as they were`
}

const CHANGE_COLUMNS: readonly Column[] = [
  'KIND',
  { title: 'NAME', gives: 'whole' },
  { title: 'CHANGE', gives: 'wrap' },
]

function listChanges(views: Readonly<Record<string, ChangesView>>, style: Style): string[] {
  const rows = Object.entries(views).flatMap(([kind, { added, updated }]) => [
    ...added.map((name) => [kind, name, 'added']),
    ...updated.map(({ name, changed }) => [kind, name, `updated: ${changed.join(', ')}`]),
  ])
  if (rows.length === 0) return []
  const table = formatTable(CHANGE_COLUMNS, rows.slice(0, MOST_ROWS), style)
  const left = rows.length - MOST_ROWS
  return left > 0 ? [`${table}\n… and ${left} more: --json lists them`] : [table]
}

function describeSettings(settings: readonly string[], style: Style): string[] {
  if (settings.length === 0) return []
  const said = `The configuration here differs from that of the document, and was left as it is: ${settings.map(harmless).join(', ')}.`
  return [wrapMessage(said, style.width)]
}

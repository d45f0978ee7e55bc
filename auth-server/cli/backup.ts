import type { Command } from 'commander'
import {
  backUp,
  restore,
  type Backup,
  type KeyFit,
  type KeySources,
  type Restoration,
} from '../admin/backup.ts'
import { loadConfig } from '../config/load.ts'
import type { SecretSource } from '../config/schema.ts'
import { PortreeveError } from '../errors.ts'
import { withCommonOptions, type Cli, type CommonOptions } from './command.ts'
import { printReport, type Report } from './report.ts'
import { formatFields, harmless, wrapMessage, type Style } from './style.ts'
import type { World } from './world.ts'

interface CopyOptions extends CommonOptions {
  readonly force?: boolean
}

const BACKUP_HELP = `
The server may go on meanwhile. The copy holds everything that was answered for
when the command began, has been read through, and is readable by you alone.
It does not hold the root key: back that up as well, and in another place.
PostgreSQL is backed up with pg_dump: see docs/backup.md.

Example:
  npx portreeve backup /var/backups/portreeve-monday.sqlite`

const RESTORE_HELP = `
Stop the server first. The database that was there is kept beside the new one,
as NAME.before-restore-TIME. What was revoked or used up since the backup was
made is valid again: see docs/backup.md.

Example:
  npx portreeve restore /var/backups/portreeve-monday.sqlite --force`

export function addBackupCommands(program: Command, cli: Cli): void {
  addBackup(program, cli)
  addRestore(program, cli)
}

function addBackup(program: Command, { world }: Cli): void {
  const command = program
    .command('backup <file>')
    .description('copy the database into a file')
    .option('--force', 'replace an earlier backup of this name')
  withCommonOptions(command)
    .addHelpText('after', BACKUP_HELP)
    .action(async (file: string, options: CopyOptions) => {
      const loaded = await loadConfig({ file: options.config, environment: world.environment })
      const report = reportBackup(
        await backUp(world.files, world.clock, loaded, file, {
          replaces: options.force,
          signal: listenForStop(world),
        }),
      )
      printReport(world, report, options.json === true)
    })
}

function addRestore(program: Command, { world }: Cli): void {
  const command = program
    .command('restore <file>')
    .description('put a backup in the place of the database')
    .option('--force', 'replace the database that is there; it is kept beside the new one')
  withCommonOptions(command)
    .addHelpText('after', RESTORE_HELP)
    .action(async (file: string, options: CopyOptions) => {
      const loaded = await loadConfig({ file: options.config, environment: world.environment })
      const report = reportRestoration(
        await restore(world.files, world.clock, loaded, file, {
          replaces: options.force,
          signal: listenForStop(world),
        }),
      )
      printReport(world, report, options.json === true)
    })
}

/** Whoever stops it finds no half of a copy. */
function listenForStop({ waitForStop }: World): AbortSignal {
  const controller = new AbortController()
  const abort = async (): Promise<void> => {
    await waitForStop()
    controller.abort(new PortreeveError('invalid_input', 'Stopped: nothing was changed.'))
  }
  void abort()
  return controller.signal
}

function reportBackup({ keySources, ...backup }: Backup): Report {
  const { file, database, milliseconds } = backup
  return {
    json: { backup, ...keySources },
    text: (style) =>
      [
        `${style.good('Backed up')} ${harmless(database)}.`,
        formatFields(
          [
            ['file', file],
            ...describeCopy(backup),
            ['taken', backup.takenAt],
            ['took', `${milliseconds} ms`],
          ],
          style,
        ),
        wrapMessage(
          `The root key is not in it, and the backup is of no use without it. Keep ${nameKeys(keySources)} as well, in another place.`,
          style.width,
        ),
      ].join('\n\n'),
  }
}

function reportRestoration({ keySources, ...restored }: Restoration): Report {
  const { file, database, kept, keyFit } = restored
  return {
    json: { restored, ...keySources },
    text: (style) =>
      [
        `${style.good('Restored')} ${harmless(database)}.`,
        formatFields(
          [['from', file], ...describeCopy(restored), ['before', kept ?? 'there was no database']],
          style,
        ),
        ...describeKeyFit(keyFit, keySources, style),
      ].join('\n\n'),
  }
}

function describeCopy({
  bytes,
  pages,
  users,
  clients,
}: Pick<Backup, 'bytes' | 'pages' | 'users' | 'clients'>) {
  return [
    ['size', `${bytes} bytes (${pages} pages)`],
    ['users', String(users)],
    ['clients', String(clients)],
  ] as const
}

function describeKeyFit(
  keyFit: KeyFit,
  { rootKey, encryptionKey }: KeySources,
  style: Style,
): string[] {
  if (keyFit === 'opens') return []
  const name = nameKey(encryptionKey ?? rootKey)
  const what =
    keyFit === 'missing'
      ? `There is no usable key in ${name}.`
      : `The key in ${name} does not open the signing keys of this backup.`
  const next = 'The server does not start before it has the key that they were sealed with.'
  return [`${style.alert(wrapMessage(what, style.width))}\n${next}`]
}

function nameKeys({ rootKey, encryptionKey }: KeySources): string {
  return [rootKey, ...(encryptionKey ? [encryptionKey] : [])].map(nameKey).join(' and ')
}

function nameKey(source: SecretSource): string {
  return harmless('file' in source ? `the file ${source.file}` : `the variable ${source.env}`)
}

import { existsSync } from 'node:fs'
import { Command } from 'commander'
import { createPasswordHasher } from '../accounts/password.ts'
import { createOperations } from '../admin/operations.ts'
import { loadConfig, locateDatabase, type LoadedConfig } from '../config/load.ts'
import { PortreeveError } from '../errors.ts'
import { createEvents } from '../events.ts'
import { createLog } from '../log.ts'
import { addApiKeyCommands } from './api-keys.ts'
import { addAuditCommand } from './audit.ts'
import { createAuditedCommand } from './audited.ts'
import { addBackupCommands } from './backup.ts'
import { addClientCommands } from './clients.ts'
import type { Cli, DatabaseUse } from './command.ts'
import { addKeyCommands } from './keys.ts'
import { addReceiverCommands } from './receivers.ts'
import { DONE, formatError, printFailure, printReport } from './report.ts'
import { addRevokeCommand } from './revoke.ts'
import { addServeCommand } from './serve.ts'
import { harmless, tame, toJson, wrapMessage } from './style.ts'
import { addTransferCommands } from './transfer.ts'
import { addUserCommands } from './users.ts'
import { styleFor, wantsColours, type World } from './world.ts'

/** Runs one command line; `argv` is without the program. Answers the exit code: 0, 1 or 2. */
export async function runCli(argv: readonly string[], world: World): Promise<number> {
  const asJson = argv.includes('--json')
  const program = createProgram(world, asJson)
  const cli: Cli = {
    world,
    async operate(options, work, database = 'must exist') {
      const loaded = await loadConfig({ file: options.config, environment: world.environment })
      await using stores = await openDatabase(world, loaded, database, asJson)
      const { hashConcurrency: concurrency, hashQueue: queue } = loaded.config.signIn
      const hasher = createPasswordHasher({ concurrency, queue })
      const { clock } = world
      const log = createLog('silent')
      const audited = createAuditedCommand(loaded, stores, { clock, log })
      const collaborators = {
        access: audited.guard(stores.access),
        accounts: audited.guard(stores.accounts),
        clients: audited.guard(stores.clients),
        apiKeys: audited.guard(stores.apiKeys),
        keys: audited.guard(stores.keys),
        registrations: audited.guard(stores.registrations),
        transfer: audited.guard(stores.transfer),
        audit: stores.audit,
        receivers: stores.receivers,
        revocations: stores.revocations,
        hasher,
        events: createEvents(log, { audit: audited }),
        recorded: audited.finish,
        clock,
      }
      const operations = createOperations(collaborators, loaded)
      const report = await work(operations, loaded).finally(audited.finish)
      printReport(world, report, asJson)
    },
  }
  addServeCommand(program, cli)
  addUserCommands(program, cli)
  addClientCommands(program, cli)
  addApiKeyCommands(program, cli)
  addKeyCommands(program, cli)
  addRevokeCommand(program, cli)
  addReceiverCommands(program, cli)
  addAuditCommand(program, cli)
  addBackupCommands(program, cli)
  addTransferCommands(program, cli)
  try {
    await program.parseAsync(namesNothing(program, argv) ? withoutHelp(argv) : argv, {
      from: 'user',
    })
    return DONE
  } catch (error) {
    return printFailure(world, error, asJson)
  }
}

function createProgram(world: World, asJson: boolean): Command {
  const { stdout, stderr, environment, version } = world
  return new Command('portreeve')
    .description('An OAuth 2 / OpenID Connect authorization server that returns JWT access tokens.')
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      getOutHasColors: () => wantsColours(stdout, environment),
      getErrHasColors: () => wantsColours(stderr, environment),
      outputError(text, write) {
        const message = tame(text.trim().replace(/^error: /, ''))
        const inWords = formatError(message, styleFor(stderr, environment))
        write(`${asJson ? toJson({ error: { code: 'usage', message } }) : inWords}\n`)
      },
    })
    .configureHelp({
      showGlobalOptions: false,
      // Rather narrow columns than words that the terminal breaks.
      minWidthToWrap: 12,
    })
}

const HELP_FLAGS = ['-h', '--help']

/** Whether a command is asked for that is not there. */
function namesNothing(program: Command, argv: readonly string[]): boolean {
  let command = program
  for (const word of argv) {
    if (command.commands.length === 0 || word.startsWith('-') || word === 'help') return false
    const next = command.commands.find((known) => known.name() === word)
    if (!next) return true
    command = next
  }
  return false
}

/** For an unknown command commander would show the help of the known ones, as if that had been asked. */
function withoutHelp(argv: readonly string[]): string[] {
  return argv.filter((word) => !HELP_FLAGS.includes(word))
}

/** The file of a database that is yet to be made. */
function findMissingFile({ config }: LoadedConfig): string | undefined {
  const place = locateDatabase(config)
  return place.kind === 'file' && !existsSync(place.file) ? place.file : undefined
}

/** Reading from a wrong folder would otherwise make an empty database there, and find nothing. */
function refuseMissing(missing: string, { file }: LoadedConfig): never {
  const hint = file === undefined ? ', or name the configuration with --config' : ''
  const message = `There is no database at ${missing} yet. Start the server or add something first${hint}.`
  throw new PortreeveError('not_found', message)
}

/** Opens the database of the configuration, and says on standard error if that makes it. */
async function openDatabase(world: World, loaded: LoadedConfig, use: DatabaseUse, asJson: boolean) {
  const { openStores, clock, stderr, environment } = world
  if (locateDatabase(loaded.config).kind === 'memory') {
    const message =
      'The database is in the memory of the server, where no other program reaches it.'
    throw new PortreeveError('misconfigured', message)
  }
  const missing = findMissingFile(loaded)
  if (missing !== undefined && use === 'must exist') refuseMissing(missing, loaded)
  if (missing !== undefined && use === 'is imagined') return openStores('sqlite::memory:', clock)
  const stores = await openStores(loaded.config.database.url, clock)
  if (missing !== undefined && !asJson) {
    const notice = `Made a new database at ${harmless(missing)}.`
    stderr.write(`${wrapMessage(notice, styleFor(stderr, environment).width)}\n`)
  }
  return stores
}

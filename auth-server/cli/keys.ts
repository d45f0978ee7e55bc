import path from 'node:path'
import { Option, type Command } from 'commander'
import type { KeyView, ResealView, RotationView } from '../admin/keys.ts'
import type { SecretSource, SigningAlgorithm } from '../config/schema.ts'
import { withCommonOptions, type Cli, type CommonOptions } from './command.ts'
import { refuseUsage } from './input.ts'
import type { Report } from './report.ts'
import { harmless, shortenTime, wrapMessage, type Style } from './style.ts'
import { formatTable } from './table.ts'

const ALGORITHMS: readonly SigningAlgorithm[] = ['ES256', 'RS256', 'PS256', 'EdDSA']

interface RotateOptions extends CommonOptions {
  readonly algorithm?: SigningAlgorithm
  readonly now?: boolean
}

interface ResealOptions extends CommonOptions {
  readonly newKeyFile?: string
  readonly newKeyEnv?: string
}

export function addKeyCommands(program: Command, cli: Cli): void {
  const keys = program.command('keys').description('signing keys')
  addList(keys, cli)
  addRotate(keys, cli)
  addReseal(keys, cli)
}

function addList(keys: Command, cli: Cli): void {
  withCommonOptions(
    keys
      .command('list')
      .description('list the signing keys, the phase of each, and when it changes'),
  ).action((options: CommonOptions) =>
    cli.operate(options, async (operations) => {
      const list = await operations.keys.list()
      return {
        json: { keys: list },
        text: (style) =>
          list.length === 0
            ? 'No keys: the server makes them when it starts.'
            : formatTable(
                [{ title: 'KEY', gives: 'whole' }, 'ALGORITHM', 'PHASE', 'SINCE', 'UNTIL'],
                list.map(formatKey),
                style,
              ),
      }
    }),
  )
}

function formatKey(key: KeyView): readonly string[] {
  const times = listTimes(key).map((time) => (time === undefined ? '-' : shortenTime(time)))
  return [key.kid, key.algorithm, key.phase, ...times]
}

/** Of the phase that the key is in: since when, and until when if that is known. */
function listTimes(key: KeyView): readonly (string | undefined)[] {
  const { announcedAt, activeAt, retiredAt, purgedAt } = key
  switch (key.phase) {
    case 'announced':
      return [announcedAt, activeAt]
    case 'active':
      return [activeAt, retiredAt]
    case 'retired':
      return [retiredAt, purgedAt]
    case 'purged':
    case 'withdrawn':
      return [purgedAt, undefined]
  }
}

function addRotate(keys: Command, cli: Cli): void {
  const rotate = keys
    .command('rotate')
    .description(
      'announce a new key, which signs when every API knows it; the old one stays published until what it signed has expired',
    )
    .addOption(
      new Option('--algorithm <name>', 'rotate the keys of this algorithm alone').choices(
        ALGORITHMS,
      ),
    )
    .option(
      '--now',
      'for a stolen key: withdraw the published keys at once, and revoke what they signed',
    )
  withCommonOptions(rotate).action((options: RotateOptions) =>
    cli.operate(options, async (operations) => {
      const withdraws = options.now === true
      const rotations = await operations.keys.rotate({ algorithm: options.algorithm, withdraws })
      return reportRotations(rotations, withdraws)
    }),
  )
}

function reportRotations(rotations: readonly RotationView[], withdraws: boolean): Report {
  const describe = withdraws ? describeWithdrawal : describeAnnouncement
  const hint =
    'APIs that keep the key set refuse the old keys when they next fetch it: within five minutes, or with the first token of a new key. Those that follow what is revoked fetch it at once.'
  return {
    json: { rotations },
    text: (style) =>
      [
        ...rotations.map((rotation) => describe(rotation, style)),
        ...(withdraws ? ['', style.quiet(wrapMessage(hint, style.width))] : []),
      ].join('\n'),
  }
}

function describeAnnouncement({ algorithm, next, isNew }: RotationView, style: Style): string {
  const when = shortenTime(next.activeAt ?? next.announcedAt)
  const said = isNew
    ? `Announced a new ${algorithm} key, ${next.kid}. It signs from ${when}.`
    : `A new ${algorithm} key, ${next.kid}, is announced already. It signs from ${when}.`
  return wrapMessage(said, style.width).replace(/^Announced/, style.good)
}

function describeWithdrawal(rotation: RotationView, style: Style): string {
  const { algorithm, next, isNew, withdrawn } = rotation
  const what = `${withdrawn.join(', ')} (${algorithm})`
  const done = isNew
    ? `Withdrew ${what}, and revoked what was signed with it.`
    : `Somebody else has just withdrawn the ${algorithm} keys.`
  const said = `${done} ${next.kid} signs from now on.`
  return wrapMessage(said, style.width).replace(/^Withdrew/, style.good)
}

function addReseal(keys: Command, cli: Cli): void {
  const reseal = keys
    .command('reseal')
    .description('change the key that seals the signing keys in the database')
    .option('--new-key-file <file>', 'the file of the new key; one that does not exist is made')
    .option('--new-key-env <name>', 'the variable that holds the new key')
  withCommonOptions(reseal).action((options: ResealOptions, command: Command) => {
    const source = readSource(options, command)
    return cli.operate(options, async (operations) =>
      reportReseal(await operations.keys.reseal(source)),
    )
  })
}

function readSource({ newKeyFile, newKeyEnv }: ResealOptions, command: Command): SecretSource {
  if (newKeyFile !== undefined && newKeyEnv === undefined) return { file: path.resolve(newKeyFile) }
  if (newKeyEnv !== undefined && newKeyFile === undefined) return { env: newKeyEnv }
  return refuseUsage(command, 'name the new key, either by --new-key-file or by --new-key-env')
}

function reportReseal({ resealed, encryptionKey }: ResealView): Report {
  return {
    json: { resealed, encryptionKey },
    text: (style) => {
      const done =
        resealed.length === 0
          ? 'Every signing key is sealed with that key already.'
          : `${style.good('Sealed')} ${resealed.length} signing keys with the new key. Nobody is signed out.`
      return `${done}

Put this into the configuration, and start every server again. Until then a server goes on with the keys that it has, and cannot open new ones:

  keys: { encryptionKey: ${formatSource(encryptionKey)} },`
    },
  }
}

function formatSource(source: SecretSource): string {
  return 'file' in source
    ? `{ file: ${harmless(JSON.stringify(source.file))} }`
    : `{ env: ${harmless(JSON.stringify(source.env))} }`
}

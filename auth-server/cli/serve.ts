import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import {
  loadConfig,
  locateDatabase,
  type DatabasePlace,
  type LoadedConfig,
} from '../config/load.ts'
import { withCommonOptions, type Cli, type CommonOptions } from './command.ts'
import { printReport, type Report } from './report.ts'
import { formatFields, type Style } from './style.ts'
import type { RunningServer } from './world.ts'

export function addServeCommand(program: Command, { world }: Cli): void {
  withCommonOptions(
    program.command('serve').description('run the server until it is stopped'),
  ).action(async (options: CommonOptions) => {
    const { environment, stderr } = world
    const stopped = world.waitForStop()
    const loaded = await loadConfig({ file: options.config, environment, checkSecrets: true })
    const database = locateDatabase(loaded.config)
    const isFirst = database.kind === 'file' && !existsSync(database.file)
    const start = { isFirst, namedFile: options.config && loaded.file }
    await using server = await world.createAuthServer(loaded)
    printReport(world, reportServer(server, loaded, start), options.json === true)
    await stopped
    if (!options.json) {
      stderr.write('Stopping. What is under way is answered first; a second signal ends at once.\n')
    }
  })
}

interface Start {
  /** Whether somebody is at it for the first time: there was no database before. */
  readonly isFirst: boolean
  /** The file that was named with --config, if one was. */
  readonly namedFile: string | undefined
}

function reportServer(server: RunningServer, loaded: LoadedConfig, start: Start): Report {
  const { issuer, url, metricsUrl, directUrls } = server
  const { config, file, warnings } = loaded
  const database = locateDatabase(config)
  return {
    json: {
      issuer,
      url,
      database: nameDatabase(database) ?? null,
      config: file ?? null,
      ...(metricsUrl === undefined ? {} : { metrics: metricsUrl }),
      ...(server.mtlsOrigin === undefined ? {} : { certificates: server.mtlsOrigin }),
      ...(loaded.config.directAccess ? { direct: directUrls } : {}),
    },
    warnings: [...warnings, ...server.warnings.map((message) => ({ path: ['redis'], message }))],
    text: (style) =>
      [
        `${style.good('Portreeve listens')} on ${url}`,
        formatFields(
          [
            ['issuer', issuer],
            ['discovery', `${issuer}/.well-known/openid-configuration`],
            ['configuration', file ?? 'no file: the defaults'],
            ['database', nameDatabase(database) ?? 'in memory: it ends with the server'],
            ...(config.redis ? [['sessions', nameRedis(config.redis.url)] as const] : []),
            ...(metricsUrl === undefined ? [] : [['metrics', metricsUrl] as const]),
            ...listCertificates(server),
            ...listDirect(server),
          ],
          style,
        ),
        ...(start.isFirst ? listNextSteps(config, start, style) : []),
        'Stop it with Ctrl+C.',
      ].join('\n\n'),
  }
}

function listCertificates({ mtlsUrl, mtlsOrigin }: RunningServer): (readonly [string, string])[] {
  if (mtlsUrl === undefined || mtlsOrigin === undefined) return []
  const isSame = mtlsOrigin === mtlsUrl
  return [['certificates', isSame ? mtlsUrl : `${mtlsOrigin}, served on ${mtlsUrl}`]]
}

function listDirect({ directUrls }: RunningServer): (readonly [string, string])[] {
  const { secrets, unauthenticated } = directUrls
  return [
    ...(secrets === undefined ? [] : [['direct access', secrets] as const]),
    ...(unauthenticated === undefined ? [] : [['tokens for nothing', unauthenticated] as const]),
  ]
}

/** Without who may use it. */
function nameRedis(url: string): string {
  return `Redis at ${new URL(url).host}`
}

function nameDatabase(place: DatabasePlace): string | undefined {
  if (place.kind === 'memory') return undefined
  return place.kind === 'file' ? place.file : place.name
}

function listNextSteps(
  { users, clients }: LoadedConfig['config'],
  { namedFile }: Start,
  style: Style,
): string[] {
  const option = namedFile === undefined ? '' : ` --config ${namedFile}`
  const client =
    'npx portreeve clients add my-app --scope openid \\\n    --redirect-uri http://localhost:8080/callback'
  const steps = [
    ...(users.length > 0 ? [] : [`npx portreeve users add ann${option}`]),
    ...(clients.length > 0 ? [] : [`${client}${option}`]),
  ]
  if (steps.length === 0) return []
  const title = 'To have somebody sign in, and something to sign in to, from another terminal:'
  return [[style.title(title), ...steps.map((step) => `  ${step}`)].join('\n')]
}

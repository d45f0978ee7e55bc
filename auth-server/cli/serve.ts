import type { Command } from 'commander'
import { databaseFile, loadConfig, type LoadedConfig } from '../config/load.ts'
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
    await using server = await world.createAuthServer(loaded)
    printReport(world, reportServer(server, loaded), options.json === true)
    await stopped
    if (!options.json) {
      stderr.write('Stopping. What is under way is answered first; a second signal ends at once.\n')
    }
  })
}

function reportServer(server: RunningServer, { config, file, warnings }: LoadedConfig): Report {
  const { issuer, url } = server
  const database = databaseFile(config)
  return {
    json: { issuer, url, database: database ?? null, config: file ?? null },
    warnings,
    text: (style) =>
      [
        `${style.good('Portreeve listens')} on ${url}`,
        formatFields(
          [
            ['issuer', issuer],
            ['discovery', `${issuer}/.well-known/openid-configuration`],
            ['configuration', file ?? 'no file: the defaults'],
            ['database', database ?? 'in memory: it ends with the server'],
          ],
          style,
        ),
        listNextSteps(config, file, style),
      ].join('\n\n'),
  }
}

function listNextSteps(
  config: LoadedConfig['config'],
  file: string | undefined,
  style: Style,
): string {
  const stop = 'Stop it with Ctrl+C.'
  if (config.users.length > 0 && config.clients.length > 0) return stop
  const option = file === undefined ? '' : ` --config ${file}`
  const steps = [
    ...(config.users.length > 0 ? [] : [`portreeve users add ann${option}`]),
    ...(config.clients.length > 0
      ? []
      : [
          `portreeve clients add my-app --redirect-uri http://localhost:8080/callback --scope openid${option}`,
        ]),
  ]
  const title = 'To have somebody sign in, and something to sign in to, from another terminal:'
  return [style.title(title), ...steps.map((step) => `  ${step}`), '', stop].join('\n')
}

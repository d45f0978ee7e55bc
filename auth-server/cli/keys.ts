import type { Command } from 'commander'
import { withCommonOptions, type Cli, type CommonOptions } from './command.ts'
import { formatTable } from './style.ts'

export function addKeyCommands(program: Command, cli: Cli): void {
  const keys = program.command('keys').description('signing keys')
  withCommonOptions(keys.command('list').description('list the signing keys')).action(
    (options: CommonOptions) =>
      cli.operate(options, async (operations) => {
        const list = await operations.keys.list()
        return {
          json: { keys: list },
          text: (style) =>
            list.length === 0
              ? 'No keys: the server makes them when it starts.'
              : formatTable(
                  ['KEY', 'ALGORITHM', 'PHASE', 'SINCE'],
                  list.map(({ kid, algorithm, phase, ...since }) => [
                    kid,
                    algorithm,
                    phase,
                    phase === 'announced' ? since.announcedAt : (since.retiredAt ?? since.activeAt),
                  ]),
                  style,
                ),
        }
      }),
  )
}

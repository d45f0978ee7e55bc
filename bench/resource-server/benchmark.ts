import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { publish, readLoad, showTable, tabulateVerdicts, warnIfBusy } from '../page.ts'
import { judge, type Measurements } from './bars.ts'
import { drawChart } from './chart.ts'
import { separateCores, type Cores } from './cores.ts'
import { installDependencies } from './dependencies.ts'
import { chooseLoader } from './load.ts'
import type { Loops } from './loops.ts'
import type { Memory } from './memory.ts'
import { readOptions } from './options.ts'
import { LOADS, runRace, type Lap } from './race.ts'
import { describeMemory, tabulate, tabulateLoops, writePage } from './report.ts'
import { ALGORITHMS } from './setup.ts'
import { runSoak } from './soak.ts'

const NAME = 'resource-server'

/**
 * The resource server beside what others use, and beside no check at all. Answers whether every bar is
 * met. A run of all contenders is published under `docs/benchmarks/`, whatever it shows.
 */
export async function benchResourceServer(args: readonly string[]): Promise<boolean> {
  const options = readOptions(args)
  if (typeof options === 'string') {
    console.error(options)
    return false
  }
  installDependencies()
  const loadAtStart = readLoad()
  const cores = separateCores()
  const loader = chooseLoader()
  console.log(`Load by ${loader.name}; ${cores.description}.`)
  warnIfBusy(loadAtStart)
  const laps: Lap[] = []
  for (const algorithm of ALGORITHMS) {
    laps.push(...(await runRace(algorithm, options, loader, cores)))
    console.log(`${algorithm} is measured.`)
  }
  const measurements: Measurements = {
    laps,
    loops: runProgram('loops.ts', cores) as Loops,
    memory: runProgram('memory.ts', cores) as Memory,
    soak: options.soakMinutes > 0 ? await runSoak(options.soakMinutes, cores) : undefined,
  }
  const verdicts = judge(measurements)
  for (const load of LOADS) showTable(tabulate(laps, load))
  showTable(tabulateLoops(measurements))
  console.log(`\n${describeMemory(measurements).join('\n')}`)
  showTable(tabulateVerdicts(verdicts))
  if (options.isWhole) {
    const { rounds, seconds } = options
    const circumstances = {
      rounds,
      seconds,
      loader: loader.name,
      cores: cores.description,
      loadAtStart,
    }
    publish(NAME, writePage(measurements, verdicts, circumstances, `${NAME}.svg`), drawChart(laps))
  }
  return verdicts.every(({ isMet }) => isMet)
}

/** What a program of this folder prints, run alone on the core of the servers. */
function runProgram(file: string, { server }: Cores): unknown {
  const program = [process.execPath, path.join(import.meta.dirname, file)]
  const [command = '', ...args]: readonly string[] = [...server, ...program]
  return JSON.parse(execFileSync(command, args, { encoding: 'utf8' }))
}

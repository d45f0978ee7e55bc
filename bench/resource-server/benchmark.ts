import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { printTable } from '../table.ts'
import { judge, type Measurements } from './bars.ts'
import { drawChart } from './chart.ts'
import { separateCores, type Cores } from './cores.ts'
import { installDependencies } from './dependencies.ts'
import { chooseLoader } from './load.ts'
import type { Loops } from './loops.ts'
import type { Memory } from './memory.ts'
import { readOptions } from './options.ts'
import { LOADS, runRace, type Lap } from './race.ts'
import {
  describeMemory,
  readLoad,
  tabulate,
  tabulateLoops,
  tabulateVerdicts,
  writePage,
  type Table,
} from './report.ts'
import { ALGORITHMS } from './setup.ts'
import { runSoak } from './soak.ts'

const DOCS = path.join(import.meta.dirname, '../../docs/benchmarks')
const CHART = 'resource-server.svg'

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
  if (loadAtStart > 0.5) {
    console.log(
      `The machine is busy (load ${loadAtStart.toFixed(1)}): expect more noise than result.`,
    )
  }
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
  for (const load of LOADS) show(tabulate(laps, load))
  show(tabulateLoops(measurements))
  console.log(`\n${describeMemory(measurements).join('\n')}`)
  show(tabulateVerdicts(verdicts))
  if (options.isWhole) {
    const { rounds, seconds } = options
    const circumstances = {
      rounds,
      seconds,
      loader: loader.name,
      cores: cores.description,
      loadAtStart,
    }
    publish(measurements, writePage(measurements, verdicts, circumstances, CHART))
  }
  return verdicts.every(({ isMet }) => isMet)
}

function show({ head, lines, notes }: Table): void {
  console.log()
  printTable(head, lines)
  for (const [place, note] of notes.entries()) console.log(`(${place + 1}) ${note}`)
}

/** What a program of this folder prints, run alone on the core of the servers. */
function runProgram(file: string, { server }: Cores): unknown {
  const program = [process.execPath, path.join(import.meta.dirname, file)]
  const [command = '', ...args]: readonly string[] = [...server, ...program]
  return JSON.parse(execFileSync(command, args, { encoding: 'utf8' }))
}

function publish({ laps }: Measurements, page: string): void {
  mkdirSync(DOCS, { recursive: true })
  writeFileSync(path.join(DOCS, 'resource-server.md'), page)
  writeFileSync(path.join(DOCS, CHART), drawChart(laps))
  console.log('\nWritten to docs/benchmarks/.')
}

import { execFile, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { makeFolder } from '../../test/support/folder.ts'

const run = promisify(execFile)
const AUTOCANNON = new URL('autocannon.ts', import.meta.url).pathname

export const CONNECTIONS = 32
/** Far beyond any turn: what has lost its benchmark ends then. */
const MAX_DURATION = '60s'

/** What a turn under load came to. */
export interface Turn {
  readonly requests: number
  /** Answers other than 2xx, and connections that broke. */
  readonly failures: number
}

/** Sends requests with the tokens in rotation, over 32 connections kept alive, as fast as answers come. */
export interface Loader {
  readonly name: string
  run(url: string, tokens: readonly string[], seconds: number): Promise<Turn>
}

/** wrk where it is on the machine: it costs the load's core least. Else autocannon, which npm has. */
export function chooseLoader(): Loader {
  const hasWrk = spawnSync('wrk', ['-v']).error === undefined
  return hasWrk ? { name: 'wrk', run: runWrk } : { name: 'autocannon', run: runAutocannon }
}

async function runWrk(url: string, tokens: readonly string[], seconds: number): Promise<Turn> {
  using folder = makeFolder()
  const script = folder.file('tokens.lua')
  writeFileSync(script, writeScript(tokens))
  const options = ['-t', '1', '-c', String(CONNECTIONS), '-d', MAX_DURATION, '-s', script]
  const running = run('wrk', [...options, url])
  // wrk counts whole seconds; an interrupt ends a shorter turn, and the count is printed all the same.
  const timer = setTimeout(() => running.child.kill('SIGINT'), seconds * 1000)
  const { stdout } = await running.finally(() => clearTimeout(timer))
  const read = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1] ?? 0)
  // What only comes late is no failure: the time it takes is what is measured.
  const broken = /Socket errors: connect (\d+), read (\d+), write (\d+)/.exec(stdout)
  const brokenCount = (broken?.slice(1) ?? []).reduce((sum, count) => sum + Number(count), 0)
  return {
    requests: read(/(\d+) requests in/),
    failures: read(/Non-2xx or 3xx responses: (\d+)/) + brokenCount,
  }
}

/** Requests are written once; in a turn, one token only is not even looked for. */
function writeScript(tokens: readonly string[]): string {
  const [first = ''] = tokens
  if (tokens.length === 1) return `wrk.headers["Authorization"] = "Bearer ${first}"\n`
  return `local tokens = {${tokens.map((token) => `"${token}"`).join(',')}}
local requests, place = {}, 0
init = function()
  for i, token in ipairs(tokens) do
    requests[i] = wrk.format("GET", nil, {["Authorization"] = "Bearer " .. token})
  end
end
request = function()
  place = place % #requests + 1
  return requests[place]
end
`
}

async function runAutocannon(
  url: string,
  tokens: readonly string[],
  seconds: number,
): Promise<Turn> {
  using folder = makeFolder()
  const file = folder.file('tokens.json')
  writeFileSync(file, JSON.stringify(tokens))
  const args = [AUTOCANNON, url, file, String(seconds), String(CONNECTIONS)]
  const { stdout } = await run(process.execPath, args)
  return JSON.parse(stdout) as Turn
}

#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { runCli } from './cli/run.ts'
import { systemClock } from './clock.ts'
import { readEnvironment } from './config/load.ts'
import { sqliteFiles } from './storage/backup.ts'
import { openStores } from './storage/stores.ts'

/** Whoever reads our output may stop reading, as `head` does. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

process.exitCode = await runCli(process.argv.slice(2), {
  version: readVersion(),
  environment: readEnvironment(),
  clock: systemClock,
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  files: sqliteFiles,
  openStores,
  // Loaded by `serve` alone: every other command starts in half the time.
  createAuthServer: async (loaded) => (await import('./server.ts')).createAuthServer(loaded),
  waitForStop,
})

function readVersion(): string {
  const file = findPackageJSON(import.meta.url)
  if (file === undefined) throw new TypeError('this program is not in a package')
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

/** The first signal asks to stop, the second ends at once. */
function waitForStop(): Promise<void> {
  return new Promise((resolve) => {
    let isAsked = false
    const stop = (): void => {
      if (isAsked) process.exit(1)
      isAsked = true
      resolve()
    }
    process.on('SIGINT', stop)
    process.on('SIGTERM', stop)
  })
}

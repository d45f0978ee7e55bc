import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { startChild, type Child } from './child.ts'
import {
  BRIEF,
  describeDemo,
  NOTES,
  WEB_CLIENT,
  type Place,
  type Secrets,
} from './configuration.ts'

/** The programs of the demonstration; each says on its standard output when it is ready. */

export interface AuthServerOptions {
  /** Where its configuration, database and key go. */
  readonly folder: string
  readonly place: Place
  readonly secrets: Secrets
  readonly logFile?: string
}

export async function startAuthServer(
  { folder, place, secrets, logFile }: AuthServerOptions,
  stopped: AbortSignal,
): Promise<Child> {
  const config = path.join(folder, 'portreeve.config.json')
  await writeFile(config, JSON.stringify(describeDemo(place), undefined, 2), { mode: 0o600 })
  const program = {
    name: 'the authorization server',
    file: 'auth-server/main.ts',
    args: ['serve', '--config', config, '--json'],
    environment: { ...secrets },
    logFile,
  }
  return startChild(program, stopped)
}

export interface NotesApiOptions {
  readonly issuer: string
  readonly port: number
  readonly clockToleranceSeconds: number
  /** Default: in memory. */
  readonly database?: string
  readonly logFile?: string
}

/** It accepts tokens for its own audience and for the brief one, and for no other. */
export function startNotesApi(
  { issuer, port, clockToleranceSeconds, database, logFile }: NotesApiOptions,
  stopped: AbortSignal,
): Promise<Child> {
  const program = {
    name: 'the notes API',
    file: 'resource-server/demo/notes.ts',
    args: [
      ['--issuer', issuer],
      ['--audience', NOTES],
      ['--audience', BRIEF],
      ['--port', String(port)],
      ['--clock-tolerance', String(clockToleranceSeconds)],
      database === undefined ? [] : ['--database', database],
      ['--json'],
    ].flat(),
    environment: {},
    logFile,
  }
  return startChild(program, stopped)
}

export interface WebDemoOptions {
  readonly issuer: string
  readonly api: string
  readonly port: number
  readonly secretFile: string
  readonly logFile: string
}

export function startWebDemo(
  { issuer, api, port, secretFile, logFile }: WebDemoOptions,
  stopped: AbortSignal,
): Promise<Child> {
  const program = {
    name: 'the web demo',
    file: 'client-demo/web/main.ts',
    args: [
      ['--issuer', issuer],
      ['--client-id', WEB_CLIENT],
      ['--client-secret-file', secretFile],
      ['--api', api],
      ['--port', String(port)],
      ['--json'],
    ].flat(),
    environment: {},
    logFile,
  }
  return startChild(program, stopped)
}

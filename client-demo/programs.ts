import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { startChild, type Child } from './child.ts'
import {
  BRIEF,
  describeDemo,
  FRESH_SECONDS,
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
  /** Where it keeps its sessions. Default: in its database. */
  readonly redisUrl?: string | undefined
  readonly logFile?: string
}

export const AUTH_SERVER = 'authorization server'

export async function startAuthServer(
  { folder, place, secrets, redisUrl, logFile }: AuthServerOptions,
  stopped: AbortSignal,
): Promise<Child> {
  const config = path.join(folder, 'portreeve.config.json')
  await writeFile(config, JSON.stringify(describeDemo(place), undefined, 2), { mode: 0o600 })
  const program = {
    name: AUTH_SERVER,
    file: 'auth-server/main.ts',
    args: ['serve', '--config', config, '--json'],
    environment: { ...secrets, ...(redisUrl === undefined ? {} : { REDIS_URL: redisUrl }) },
    logFile,
  }
  return startChild(program, stopped)
}

/** The APIs that flows call. */
export type ApiName = 'notes'

const API_NAMES: Readonly<Record<ApiName, string>> = { notes: 'notes API' }

/** What people call it. */
export function nameApi(api: ApiName): string {
  return API_NAMES[api]
}

/** Starts an API for a flow: on a free port, in memory, and exact about times. */
export function startApi(
  api: ApiName,
  { issuer }: { readonly issuer: string },
  stopped: AbortSignal,
): Promise<Child> {
  switch (api) {
    case 'notes':
      return startNotesApi(
        { issuer, port: 0, clockToleranceSeconds: 0, signInMaxAgeSeconds: FRESH_SECONDS },
        stopped,
      )
  }
}

export interface NotesApiOptions {
  readonly issuer: string
  readonly port: number
  readonly clockToleranceSeconds: number
  /** How long ago people may have signed in who delete all their notes. Default: five minutes. */
  readonly signInMaxAgeSeconds?: number
  /** Default: in memory. */
  readonly database?: string
  readonly logFile?: string
}

/** It accepts tokens for its own audience and for the brief one, and for no other. */
export function startNotesApi(
  { issuer, port, clockToleranceSeconds, signInMaxAgeSeconds, database, logFile }: NotesApiOptions,
  stopped: AbortSignal,
): Promise<Child> {
  const program = {
    name: nameApi('notes'),
    file: 'resource-server/demo/notes.ts',
    args: [
      ['--issuer', issuer],
      ['--audience', NOTES],
      ['--audience', BRIEF],
      ['--port', String(port)],
      ['--clock-tolerance', String(clockToleranceSeconds)],
      signInMaxAgeSeconds === undefined ? [] : ['--sign-in-max-age', String(signInMaxAgeSeconds)],
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
    name: 'web demo',
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

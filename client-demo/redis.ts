import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { startCommand, type Child } from './child.ts'
import { makeSecret } from './known-secrets.ts'
import { claimPorts } from './ports.ts'

/** A Redis of our own, for flows that show what the authorization server does with one. */
export interface OwnRedis {
  readonly child: Child
  readonly password: string
  /** With the password in it. */
  readonly url: string
}

export const REDIS = 'Redis'
const COMMAND = 'redis-server'
const READY = 'Ready to accept connections'

/** Whether this machine has one that could be started. */
export async function hasRedis(): Promise<boolean> {
  try {
    await promisify(execFile)(COMMAND, ['--version'])
    return true
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return false
    const message = `${COMMAND} is there and does not run: mend it, or say --no-redis to do without`
    throw new Error(message, { cause })
  }
}

/** In memory, on a free port of loopback, and with a password: others use this machine as well. */
export async function startRedis(folder: string, stopped: AbortSignal): Promise<OwnRedis> {
  const [port = 0] = await claimPorts([{ what: REDIS, port: 0, option: '--redis' }])
  const password = makeSecret()
  const place = `127.0.0.1:${port}`
  const settings = [
    'bind 127.0.0.1',
    `port ${port}`,
    `dir "${folder}"`,
    `requirepass ${password}`,
    'save ""',
    'appendonly no',
  ]
  const child = await startCommand(
    {
      name: REDIS,
      command: COMMAND,
      args: ['-'],
      input: `${settings.join('\n')}\n`,
      readReady: (line) => (line.includes(READY) ? { url: `redis://${place}` } : undefined),
    },
    stopped,
  )
  return { child, password, url: `redis://:${password}@${place}/0` }
}

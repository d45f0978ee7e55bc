import { readFileSync, writeFileSync } from 'node:fs'
import { makeFolder } from '../folder.ts'
import { requireEngine } from './find.ts'
import { startService, type Service } from './service.ts'

const PROBE_TIMEOUT_MS = 2000

/**
 * The real one, in the foreground, with everything that it writes in a folder of its own. `http` is
 * what stands inside of `http { … }`; one server in it listens on the port and answers, whatever.
 */
export async function startNginx(http: (port: number) => string): Promise<Service> {
  const command = requireEngine('nginx')
  await using made = new AsyncDisposableStack()
  const folder = made.use(makeFolder())
  const pidFile = folder.file('nginx.pid')
  const configFile = folder.file('nginx.conf')
  const service = made.use(
    await startService({
      command,
      args(port) {
        writeFileSync(configFile, writeConfig(http(port), folder.file))
        return ['-c', configFile, '-p', folder.path, '-e', 'stderr']
      },
      folder: folder.path,
      endSignal: 'SIGTERM',
      probe: (port, pid) => probe(port, pid, pidFile),
    }),
  )
  const owned = made.move()
  return { ...service, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

function writeConfig(http: string, file: (name: string) => string): string {
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `  ${name}_temp_path ${file(name)};\n`)
    .join('')
  // Its workers would run as somebody who may not read the folder.
  const user = process.getuid?.() === 0 ? 'user root;\n' : ''
  return `${user}daemon off;
master_process on;
worker_processes 1;
pid ${file('nginx.pid')};
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
${paths}${http}
}
`
}

/** It writes its id when it listens on all of its ports: before, somebody else may answer there. */
async function probe(port: number, pid: number, pidFile: string): Promise<void> {
  if (Number(readFileSync(pidFile, 'utf8')) !== pid) throw new Error('not listening yet')
  const options = { redirect: 'manual', signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) } as const
  await (await fetch(`http://127.0.0.1:${port}/`, options)).arrayBuffer()
}

import { writeFileSync } from 'node:fs'
import { makeFolder } from '../folder.ts'
import { requireEngine } from './find.ts'
import { startService, type Service } from './service.ts'

export interface NginxOptions {
  /** What stands inside of `http { … }`. */
  readonly http: string
  /** Answers, whatever the status, when it is up. */
  readonly probeUrl: string
}

/** The real one, in the foreground, with everything that it writes in a folder of its own. */
export async function startNginx({ http, probeUrl }: NginxOptions): Promise<Service> {
  const command = requireEngine('nginx')
  const folder = makeFolder()
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder.file(name)};`)
    .join('\n')
  const user = process.getuid?.() === 0 ? 'user root;' : ''
  const text = `${user}
daemon off;
worker_processes 1;
pid ${folder.file('nginx.pid')};
error_log stderr warn;
events { worker_connections 1024; }
http {
access_log off;
${paths}
${http}
}
`
  const file = folder.file('nginx.conf')
  writeFileSync(file, text)
  return startService({
    command,
    args: ['-c', file, '-p', folder.path],
    folder: folder.path,
    probe: async () => {
      await (await fetch(probeUrl, { redirect: 'manual' })).arrayBuffer()
    },
    remove: () => folder[Symbol.dispose](),
  })
}

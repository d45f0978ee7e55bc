import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import type { ConfigInput } from '../../auth-server/config/schema.ts'
import { startNginx } from '../support/engines/nginx.ts'
import { findFreePort } from '../support/engines/service.ts'
import { makeFolder } from '../support/folder.ts'
import {
  runProgram,
  startServerProcess,
  writeConfig,
  type ServerProcess,
} from '../support/process.ts'
import { startProgram } from '../support/program.ts'
import { NOTES } from '../support/server.ts'

const DOCUMENT = path.resolve(import.meta.dirname, '../../docs/deployment.md')

/** One of the two processes, which may come and go. */
export interface Instance {
  /** Where it listens, past nginx. */
  readonly url: string
  start(): Promise<void>
  /** Sends the signal, and answers its exit code when it has ended. */
  end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null>
  /** Everything that it logged, over all of its starts. */
  logged(): string
}

/** What docs/deployment.md describes, on this machine. */
export interface Deployment extends AsyncDisposable {
  /** nginx, by TLS. */
  readonly issuer: string
  readonly notes: string
  readonly instances: readonly [Instance, Instance]
  /** Headers with which an instance takes a request for one that came through nginx. */
  readonly forwarded: Readonly<Record<string, string>>
  /** Runs a command line beside the instances, and answers its JSON. */
  run(command: string, input?: string): Promise<Record<string, unknown>>
}

/** `environment`: where the engines are. */
export async function deploy(
  environment: Readonly<Record<string, string>>,
  change: (config: ConfigInput) => ConfigInput = (config) => config,
): Promise<Deployment> {
  await using made = new AsyncDisposableStack()
  const folder = made.use(makeFolder())
  const ports = [await findFreePort(), await findFreePort(), await findFreePort()] as const
  const [tlsPort, first, second] = ports
  const certificate = makeCertificate(folder.path)
  const issuer = `https://localhost:${tlsPort}`
  const documented = adapt(readBlock('json'), {
    'https://id.example.org': issuer,
    '/var/lib/portreeve/portreeve.key': folder.file('portreeve.key'),
  })
  const config = writeConfig(folder.path, (base) =>
    change({ ...base, ...(JSON.parse(documented) as ConfigInput) }),
  )
  const options = { folder: folder.path, environment }
  const create = (port: number) => made.use(createInstance(port, config, options))
  const instances = [create(first), create(second)] as const
  await Promise.all(instances.map((instance) => instance.start()))
  const notesPort = await findFreePort()
  made.use(
    await startNginx((port) =>
      adapt(readBlock('nginx'), {
        'listen 80;': `listen 127.0.0.1:${port};`,
        'listen 443 ssl;': `listen 127.0.0.1:${tlsPort} ssl;`,
        'server 127.0.0.1:3101 ': `server 127.0.0.1:${first} `,
        'server 127.0.0.1:3102 ': `server 127.0.0.1:${second} `,
        'server 127.0.0.1:3001;': `server 127.0.0.1:${notesPort};`,
        'id.example.org': 'localhost',
        'notes.example.org': '127.0.0.1',
        '/etc/ssl/certs/example.org.pem': certificate.certificate,
        '/etc/ssl/private/example.org.key': certificate.key,
      }),
    ),
  )
  await startNotes(made, issuer, notesPort, certificate.certificate)
  const owned = made.move()
  return {
    issuer,
    notes: `https://127.0.0.1:${tlsPort}`,
    instances,
    forwarded: { 'x-forwarded-host': `localhost:${tlsPort}`, 'x-forwarded-proto': 'https' },
    async run(command, input) {
      const args = [...command.split(' '), '--config', config, '--json']
      const { code, stdout, stderr } = await runProgram(args, { ...options, input })
      if (code !== 0) throw new Error(`${command}: ${stderr}`)
      return JSON.parse(stdout) as Record<string, unknown>
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** The settings of Redis in the document, as it takes them on its command line. */
export function readRedisDirectives(): string[] {
  const lines = readBlock('conf').trimEnd().split('\n')
  return lines.flatMap((line) => {
    const [name, ...values] = line.split(' ')
    return [`--${name}`, ...values]
  })
}

/** The first block of the document in this language. */
function readBlock(language: string): string {
  const text = readFileSync(DOCUMENT, 'utf8')
  const block = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'ms').exec(text)?.[1]
  if (block === undefined) throw new Error(`docs/deployment.md has no block of ${language}`)
  return block
}

/** Puts what this machine has in the place of what the document names. */
function adapt(text: string, changes: Readonly<Record<string, string>>): string {
  return Object.entries(changes).reduce((changed, [from, to]) => {
    if (!changed.includes(from)) throw new Error(`docs/deployment.md has no ${from} any more`)
    return changed.replaceAll(from, to)
  }, text)
}

/** For `localhost` and 127.0.0.1, and trusted by this process from now on. */
function makeCertificate(folder: string): { certificate: string; key: string } {
  const [certificate, key] = [path.join(folder, 'tls.pem'), path.join(folder, 'tls.key')]
  const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1'
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const about = ['-days', '2', '-subj', '/CN=localhost', '-addext', names]
  execFileSync(
    'openssl',
    ['req', '-x509', ...curve, ...about, '-keyout', key, '-out', certificate],
    { stdio: 'pipe' },
  )
  setDefaultCACertificates([...getCACertificates(), readFileSync(certificate, 'utf8')])
  return { certificate, key }
}

function createInstance(
  port: number,
  config: string,
  options: { folder: string; environment: Readonly<Record<string, string>> },
): Instance & AsyncDisposable {
  const processes: ServerProcess[] = []
  const environment = { ...options.environment, PORT: String(port) }
  return {
    url: `http://127.0.0.1:${port}`,
    async start() {
      processes.push(await startServerProcess(config, { ...options, environment }))
    },
    async end(signal) {
      processes.at(-1)?.signal(signal)
      const ended = await processes.at(-1)?.ended
      return ended?.code ?? null
    },
    logged: () => processes.map((one) => one.logged()).join(''),
    async [Symbol.asyncDispose]() {
      for (const one of processes) await one[Symbol.asyncDispose]()
    },
  }
}

async function startNotes(
  made: AsyncDisposableStack,
  issuer: string,
  port: number,
  certificate: string,
): Promise<void> {
  const settings = { issuer, audience: NOTES, port: String(port) }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  const environment = { NODE_EXTRA_CA_CERTS: certificate }
  const program = made.use(
    startProgram('resource-server/demo/notes.ts', [...args, '--json'], { environment }),
  )
  if ((await program.firstLine) === undefined) {
    throw new Error(`the notes API did not start: ${program.logged()}`)
  }
}

import { createServer, type AddressInfo } from 'node:net'
import { InvalidArgumentError } from 'commander'

/** A port of ours that a person can choose. */
export interface WantedPort {
  /** What listens there, for people. */
  readonly what: string
  /** 0 takes a free one. */
  readonly port: number
  readonly option: string
}

type Claim = WantedPort & { readonly error?: NodeJS.ErrnoException }

/**
 * Makes sure that nothing listens on these ports yet; answers them, each 0 replaced by a free one.
 * Names all that cannot be had at once, with a command that would do.
 */
export async function claimPorts(wanted: readonly WantedPort[]): Promise<number[]> {
  // All of them are held until the last is found: no two get the same.
  await using held = new AsyncDisposableStack()
  const claims: Claim[] = []
  for (const one of wanted) claims.push({ ...one, ...(await hold(one.port, held)) })
  const problems = claims.filter(({ error }) => error)
  if (problems.length === 0) return claims.map(({ port }) => port)
  const options: string[] = []
  for (const { option, port } of problems) options.push(`${option} ${await findNear(port, held)}`)
  throw new Error(
    [
      ...problems.map(describeProblem),
      'Stop what listens there, or choose other ports (0 is any free one):',
      `  npm start -- ${options.join(' ')}`,
    ].join('\n'),
  )
}

function hold(
  port: number,
  held: AsyncDisposableStack,
): Promise<{ readonly port: number } | { readonly error: NodeJS.ErrnoException }> {
  const server = held.use(createServer())
  return new Promise((resolve) => {
    server.once('error', (error) => resolve({ error }))
    server.listen(port, '127.0.0.1', () =>
      resolve({ port: (server.address() as AddressInfo).port }),
    )
  })
}

const NEAR = Array.from({ length: 20 }, (_, index) => index + 5)

/** A port that is easy to remember beside `port`, or 0. */
async function findNear(port: number, held: AsyncDisposableStack): Promise<number> {
  for (const candidate of NEAR.map((distance) => port + distance)) {
    if (candidate < 65_536 && 'port' in (await hold(candidate, held))) return candidate
  }
  return 0
}

function describeProblem({ what, port, error }: Claim): string {
  const problem = error?.code === 'EADDRINUSE' ? 'is taken' : `cannot be had (${error?.code})`
  return `port ${port} for ${what} ${problem}`
}

/** Reads a port from the command line. */
export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Infinity
  if (port > 65_535) throw new InvalidArgumentError('A port is a number from 0 to 65535.')
  return port
}

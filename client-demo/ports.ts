import { createServer, type AddressInfo } from 'node:net'

/** A port of ours that a person can choose. */
export interface WantedPort {
  /** What listens there, for people. */
  readonly what: string
  /** 0 takes a free one. */
  readonly port: number
  readonly option: string
}

/** Makes sure that nothing listens on these ports yet; answers them, each 0 replaced by a free one. */
export async function claimPorts(wanted: readonly WantedPort[]): Promise<number[]> {
  await using cleanUp = new AsyncDisposableStack()
  const ports: number[] = []
  // All of them are held until the last is found: no two get the same.
  for (const one of wanted) {
    const server = cleanUp.use(createServer())
    ports.push(
      await new Promise((resolve, reject) => {
        server.once('error', (cause) => reject(describeProblem(one, cause)))
        server.listen(one.port, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
      }),
    )
  }
  return ports
}

function describeProblem({ what, port, option }: WantedPort, cause: NodeJS.ErrnoException): Error {
  const problem = cause.code === 'EADDRINUSE' ? 'is taken' : `cannot be had (${cause.code})`
  const advice = `choose another one with ${option} (0 takes a free one)`
  return new Error(`port ${port} for ${what} ${problem}: stop what listens there, or ${advice}`, {
    cause,
  })
}

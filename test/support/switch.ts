import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** Passes connections on to wherever it leads now, as a balancer does, or a network. */
export interface Switch extends AsyncDisposable {
  readonly port: number
  /** New connections go there; those that are open stay. */
  leadTo(port: number): void
  /** From now on nothing passes, either way: connections stay open, and new ones are taken. */
  hold(): void
  release(): void
}

export async function startSwitch(firstPort: number): Promise<Switch> {
  let target = firstPort
  let isHeld = false
  const open = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1')
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(one)
      one.on('error', () => other.destroy())
      one.once('close', () => {
        open.delete(one)
        other.destroy()
      })
      one.pipe(other)
      if (isHeld) one.pause()
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    leadTo(port) {
      target = port
    },
    hold() {
      isHeld = true
      for (const socket of open) socket.pause()
    },
    release() {
      isHeld = false
      for (const socket of open) socket.resume()
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

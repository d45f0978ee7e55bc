/**
 * The gate as a process of its own: `node gate-process.ts`. The first line on standard output says where
 * it listens. On a second port it does what it is told.
 */
import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { json } from 'node:stream/consumers'
import { endWithParent, listen } from '../serve.ts'
import type { Cut, GateAddress, GateOrder } from './gate.ts'

interface Pair {
  readonly outer: Socket
  readonly inner: Socket
}

const pairs = new Set<Pair>()
let behind: readonly number[] = []
let turn = 0
let cut: Cut | undefined

function open({ outer, inner }: Pair): void {
  outer.pipe(inner)
  inner.pipe(outer)
}

function close({ outer, inner }: Pair): void {
  outer.unpipe(inner)
  inner.unpipe(outer)
}

function breakOff({ outer, inner }: Pair): void {
  outer.resetAndDestroy()
  inner.resetAndDestroy()
}

function accept(outer: Socket): void {
  // What breaks ends both, and each side tells its own.
  outer.on('error', () => {})
  const port = behind[turn % behind.length]
  if (cut === 'broken' || port === undefined) return void outer.resetAndDestroy()
  turn += 1
  const inner = connect(port, '127.0.0.1').on('error', () => {})
  for (const socket of [outer, inner]) socket.setNoDelay(true)
  const pair = { outer, inner }
  pairs.add(pair)
  const end = () => {
    outer.destroy()
    inner.destroy()
    pairs.delete(pair)
  }
  outer.once('close', end)
  inner.once('close', end)
  if (cut === undefined) open(pair)
}

function obey(told: GateOrder): void {
  switch (told.order) {
    case 'lead':
      behind = told.ports
      return
    case 'cut':
      cut = told.how
      for (const pair of pairs) (cut === 'broken' ? breakOff : close)(pair)
      return
    case 'restore':
      cut = undefined
      for (const pair of pairs) open(pair)
  }
}

const server = createServer({ pauseOnConnect: true }, accept)
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const answerControl: RequestListener = async (request, response) => {
  obey((await json(request)) as GateOrder)
  response.end()
}

const address: GateAddress = {
  port: (server.address() as AddressInfo).port,
  control: await listen(answerControl),
}
console.log(JSON.stringify(address))
endWithParent()

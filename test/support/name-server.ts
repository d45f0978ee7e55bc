import { createSocket } from 'node:dgram'
import { once } from 'node:events'

const HEADER_BYTES = 12
/** An answer, without an error, of one entry (RFC 1035 §4.1.1). */
const ONE_ENTRY = Buffer.from([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0])
/** The same of none. */
const NO_ENTRY = Buffer.from([0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0])
/** Of the name in the question: an address (A, IN) for a second (RFC 1035 §4.1.3). */
const ADDRESS = Buffer.from([0xc0, HEADER_BYTES, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4])
const TYPE_A = 1

export interface NameServer extends AsyncDisposable {
  readonly address: string
}

/** A name server by which every name leads to one IPv4 address. */
export async function startNameServer(leadsTo: string): Promise<NameServer> {
  const socket = createSocket('udp4')
  socket.on('message', (message, { port, address }) => {
    const end = message.indexOf(0, HEADER_BYTES) + 5
    const question = message.subarray(HEADER_BYTES, end)
    const id = message.subarray(0, 2)
    const entry = Buffer.concat([ADDRESS, Buffer.from(leadsTo.split('.').map(Number))])
    const answer =
      question.readUInt16BE(question.length - 4) === TYPE_A
        ? [id, ONE_ENTRY, question, entry]
        : [id, NO_ENTRY, question]
    socket.send(Buffer.concat(answer), port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { address, port } = socket.address()
  return {
    address: `${address}:${port}`,
    async [Symbol.asyncDispose]() {
      socket.close()
    },
  }
}

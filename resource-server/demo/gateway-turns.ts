import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/**
 * Whether a request is to be carried out. One that comes before the answer to the one before it has
 * been given, or behind one whose answer says that the connection ends, is not; the connection then ends
 * with that answer, and the client may send it again (RFC 9112 §9.3.2). Otherwise Node carries out at
 * once all that a connection brings, whatever the answers to come will be.
 */
export type Turns = (request: IncomingMessage, response: ServerResponse) => boolean

interface Turn {
  readonly response: ServerResponse
  waiting: number
}

/** More would be kept in memory for as long as the first is under way. */
const MAX_WAITING = 16

export function createTurns(): Turns {
  const latest = new WeakMap<Socket, Turn>()
  return ({ socket, httpVersionMinor }, response) => {
    // Whether an answer to HTTP/1.0 keeps the connection depends on more than is known here.
    if (httpVersionMinor === 0) response.shouldKeepAlive = false
    const turn = latest.get(socket)
    if (turn === undefined || isOver(turn)) {
      latest.set(socket, { response, waiting: 0 })
      return true
    }
    turn.waiting += 1
    turn.response.shouldKeepAlive = false
    // Its headers may have said already that the connection stays.
    if (turn.waiting === 1) turn.response.once('finish', () => socket.destroySoon())
    if (turn.waiting > MAX_WAITING) socket.destroy()
    return false
  }
}

function isOver({ response }: Turn): boolean {
  return response.writableEnded && response.shouldKeepAlive
}

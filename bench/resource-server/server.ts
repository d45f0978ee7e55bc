/**
 * One contender as a process of its own: `node server.ts CONTENDER SETUP` with the setup as JSON. The
 * first line on standard output says where it listens. On a second port it answers what it alone knows.
 */
import type { RequestListener } from 'node:http'
import { measureHeap } from '../heap.ts'
import { endWithParent, listen } from '../serve.ts'
import type { Setup } from './setup.ts'

/** What a file in `contenders/` exports. */
interface Contender {
  readonly createListener: (setup: Setup) => RequestListener | Promise<RequestListener>
}

/** What the other side reads. */
export interface Address {
  readonly port: number
  readonly control: number
}

const answerControl: RequestListener = (request, response) => {
  const { user, system } = process.cpuUsage()
  const answer = request.url === '/heap' ? measureHeap() : user + system
  response.end(JSON.stringify(answer))
}

const [name = '', setup = ''] = process.argv.slice(2)
const { createListener } = (await import(`./contenders/${name}.ts`)) as Contender
const address: Address = {
  port: await listen(await createListener(JSON.parse(setup) as Setup)),
  control: await listen(answerControl),
}
console.log(JSON.stringify(address))
endWithParent()

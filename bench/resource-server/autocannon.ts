/** The load as a process of its own: `node autocannon.ts URL TOKENS SECONDS CONNECTIONS`. */
import { readFileSync } from 'node:fs'
import autocannon from 'autocannon'
import type { Turn } from './load.ts'

const [url = '', file = '', seconds = '', connections = ''] = process.argv.slice(2)
const tokens = JSON.parse(readFileSync(file, 'utf8')) as string[]
const requests = tokens.map((token) => ({ headers: { authorization: `Bearer ${token}` } }))
let client = 0
const result = await autocannon({
  url,
  duration: Number(seconds),
  connections: Number(connections),
  requests,
  setupClient(own) {
    // Each connection starts at another token.
    const start = (client * 31) % requests.length
    client += 1
    own.setRequests([...requests.slice(start), ...requests.slice(0, start)])
  },
})
const turn: Turn = {
  requests: result.requests.total,
  failures: result.non2xx + result.errors - result.timeouts,
}
console.log(JSON.stringify(turn))

// An API on nothing but node:http. Arguments, both optional: the URL of the issuer, and the port
// npx node examples/node-http.ts http://localhost:3000 3002 (Node 22.18 or later)
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createGuard, createVerifier, type Auth } from '@portreeve/resource-server'

const [issuer = 'http://localhost:3000', port = '3002'] = process.argv.slice(2)
const verifier = createVerifier({ issuer, audience: 'https://notes.example/' })

const JSON_TYPE = { 'Content-Type': 'application/json' }
const routes = {
  'GET /notes': createGuard(verifier, { scope: 'notes:read' }),
  'POST /notes': createGuard(verifier, { scope: 'notes:write' }),
}

const server = createServer(async (request, response) => {
  const route = `${request.method} ${request.url?.split('?')[0]}`
  if (!Object.hasOwn(routes, route)) return void response.writeHead(404).end()
  const decision = await routes[route as keyof typeof routes].decide(request, undefined)
  if (decision.ok) return answer(request, response, decision.value, decision.headers)
  const { status, headers, body } = decision.answer
  response.writeHead(status, { ...headers, ...JSON_TYPE })
  response.end(JSON.stringify(body))
})

function answer(
  { method }: IncomingMessage,
  response: ServerResponse,
  { subject, scopes }: Auth,
  headers: Readonly<Record<string, string>> = {},
) {
  response.writeHead(200, { ...headers, ...JSON_TYPE })
  response.end(JSON.stringify({ method, subject, scopes: [...scopes] }))
}

server.on('error', ({ message }) => {
  console.error(`cannot listen on port ${port}, give another one: ${message}`)
  process.exitCode = 1
})
server.listen(Number(port), '127.0.0.1', () => console.log('listening', server.address()))

// Your own API. Arguments, both optional: the URL of the issuer, and the port that it listens on
// npx node examples/your-own-api.ts http://localhost:3000 3002
import { createProtect, createVerifier } from '@portreeve/resource-server'
import Koa from 'koa'

const [issuer = 'http://localhost:3000', port = '3002'] = process.argv.slice(2)

const verifier = createVerifier({ issuer, audience: 'https://notes.example/' })
const protect = createProtect(verifier, {
  onRefusal: (refusal) => console.error(JSON.stringify(refusal, showErrors)),
})

/** On one line: what an error says, without its stack. */
function showErrors(_member: string, value: unknown) {
  return value instanceof Error ? Object.assign({ message: value.message }, value) : value
}

const app = new Koa().use(protect({ scope: 'notes:read' })).use((ctx) => {
  const { kind, subject, scopes } = ctx.state.auth
  ctx.body = { hello: subject, kind, scopes: [...scopes] }
})

const server = app.listen(Number(port), '127.0.0.1', () => {
  console.log('listening', server.address())
})
server.on('error', ({ message }) => {
  console.error(`cannot listen on port ${port}, give another one: ${message}`)
  process.exitCode = 1
})

// An API on Fastify. Arguments, both optional: the URL of the issuer, and the port
// npx node examples/fastify.ts http://localhost:3000 3002 (Node 22.18 or later)
import { createGuard, createVerifier } from '@portreeve/resource-server'
import type { Auth, RoutePolicy } from '@portreeve/resource-server'
import { fastify, type FastifyReply, type FastifyRequest } from 'fastify'

const [issuer = 'http://localhost:3000', port = '3002'] = process.argv.slice(2)
const verifier = createVerifier({ issuer, audience: 'https://notes.example/' })

function protect(policy: RoutePolicy) {
  const guard = createGuard(verifier, policy)
  return async (request: FastifyRequest, reply: FastifyReply) => {
    const decision = await guard.decide(request.raw, request)
    if (decision.ok) {
      request.setDecorator('auth', decision.value)
      reply.headers({ ...decision.headers })
      return
    }
    const { status, headers, body } = decision.answer
    reply.code(status).headers(headers)
    return reply.send(body)
  }
}

function answer(request: FastifyRequest, reply: FastifyReply) {
  const { subject, scopes } = request.getDecorator<Auth>('auth')
  return reply.send({ method: request.method, subject, scopes: [...scopes] })
}

const app = fastify()
app.decorateRequest('auth')
app.get('/notes', { onRequest: protect({ scope: 'notes:read' }) }, answer)
app.post('/notes', { onRequest: protect({ scope: 'notes:write' }) }, answer)
app.listen({ port: Number(port), host: '127.0.0.1' }, (error) => {
  if (!error) return console.log('listening', app.server.address())
  console.error(`cannot listen on port ${port}, give another one: ${error.message}`)
  process.exitCode = 1
})

// An API on Express 5. Arguments, both optional: the URL of the issuer, and the port
// npx node examples/express.ts http://localhost:3000 3002 (Node 22.18 or later)
import { createGuard, createVerifier } from '@portreeve/resource-server'
import type { Auth, RoutePolicy } from '@portreeve/resource-server'
import express, { type Request, type RequestHandler, type Response } from 'express'

const [issuer = 'http://localhost:3000', port = '3002'] = process.argv.slice(2)
const verifier = createVerifier({ issuer, audience: 'https://notes.example/' })

function protect(policy: RoutePolicy): RequestHandler {
  const guard = createGuard(verifier, policy)
  return async (request, response, next) => {
    const decision = await guard.decide(request, request)
    if (decision.ok) {
      response.locals['auth'] = decision.value
      response.set({ ...decision.headers })
      next()
      return
    }
    const { status, headers, body } = decision.answer
    response.status(status).set(headers)
    response.json(body)
  }
}

function answer({ method }: Request, response: Response<unknown, { auth: Auth }>) {
  const { subject, scopes } = response.locals.auth
  response.json({ method, subject, scopes: [...scopes] })
}

const app = express()
app.get('/notes', protect({ scope: 'notes:read' }), answer)
app.post('/notes', protect({ scope: 'notes:write' }), answer)
const server = app.listen(Number(port), '127.0.0.1', (error) => {
  if (!error) return console.log('listening', server.address())
  console.error(`cannot listen on port ${port}, give another one: ${error.message}`)
  process.exitCode = 1
})

// An API on Hono under Node. Arguments, both optional: the URL of the issuer, and the port
// npx node examples/hono.ts http://localhost:3000 3002 (Node 22.18 or later)
import { serve, type HttpBindings } from '@hono/node-server'
import { createGuard, createVerifier } from '@portreeve/resource-server'
import type { Auth, RoutePolicy } from '@portreeve/resource-server'
import { Hono, type Context, type MiddlewareHandler } from 'hono'

type Env = { Bindings: HttpBindings; Variables: { auth: Auth } }
const [issuer = 'http://localhost:3000', port = '3002'] = process.argv.slice(2)
const verifier = createVerifier({ issuer, audience: 'https://notes.example/' })

function protect(policy: RoutePolicy): MiddlewareHandler<Env> {
  const guard = createGuard(verifier, policy)
  return async (c, next) => {
    const decision = await guard.decide(c.env.incoming, c)
    if (decision.ok) {
      c.set('auth', decision.value)
      for (const [name, value] of Object.entries(decision.headers ?? {})) c.header(name, value)
      return next()
    }
    const { status, headers, body } = decision.answer
    return c.json(body, status, headers)
  }
}

const answer = (c: Context<Env>) => {
  const { subject, scopes } = c.get('auth')
  return c.json({ method: c.req.method, subject, scopes: [...scopes] })
}

const app = new Hono<Env>()
app.get('/notes', protect({ scope: 'notes:read' }), answer)
app.post('/notes', protect({ scope: 'notes:write' }), answer)
const server = serve({ fetch: app.fetch, port: Number(port), hostname: '127.0.0.1' })
server.on('listening', () => console.log('listening', server.address()))
server.on('error', ({ message }: Error) => {
  console.error(`cannot listen on port ${port}, give another one: ${message}`)
  process.exitCode = 1
})

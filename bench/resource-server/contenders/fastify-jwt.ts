import type { RequestListener } from 'node:http'
import fastifyJwt, { type TokenOrHeader } from '@fastify/jwt'
import Fastify from 'fastify'
import buildGetJwks from 'get-jwks'
import { ANSWER, hasScope, PATH, type Setup } from '../setup.ts'

interface DecodedToken {
  readonly header: { readonly kid: string; readonly alg: string }
  readonly payload: { readonly iss: string }
}

export async function createListener(setup: Setup): Promise<RequestListener> {
  const { issuer, audience, algorithm, scope } = setup
  const app = Fastify()
  const getJwks = buildGetJwks({ issuersWhitelist: [issuer] })
  await app.register(fastifyJwt, {
    decode: { complete: true },
    secret: (_request: unknown, token: TokenOrHeader) => {
      const { header, payload } = token as unknown as DecodedToken
      return getJwks.getPublicKey({ kid: header.kid, alg: header.alg, domain: payload.iss })
    },
    verify: { allowedIss: issuer, allowedAud: audience, algorithms: [algorithm] },
  })
  app.addHook('onRequest', async (request) => {
    await request.jwtVerify()
  })
  app.get(PATH, async (request, reply) => {
    const { scope: granted } = request.user as { readonly scope?: string }
    if (!hasScope(granted, scope)) return reply.code(403).send({ error: 'insufficient_scope' })
    return ANSWER
  })
  await app.ready()
  return (request, response) => app.routing(request, response)
}

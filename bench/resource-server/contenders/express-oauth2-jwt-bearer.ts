import type { RequestListener } from 'node:http'
import express from 'express'
import { auth, requiredScopes } from 'express-oauth2-jwt-bearer'
import { ANSWER, PATH, type Setup } from '../setup.ts'

export function createListener({ issuer, audience, algorithm, scope }: Setup): RequestListener {
  const app = express()
  app.use(auth({ issuerBaseURL: issuer, audience, tokenSigningAlg: algorithm }))
  app.get(PATH, requiredScopes(scope), (_request, response) => {
    response.json(ANSWER)
  })
  return app
}

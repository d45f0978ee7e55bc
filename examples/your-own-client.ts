// Your own client. While npm start runs: node examples/your-own-client.ts
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as oauth from 'openid-client'

const [issuer = 'http://localhost:3000', api = 'http://127.0.0.1:3001'] = process.argv.slice(2)

const server = createServer().listen(0, '127.0.0.1')
await once(server, 'listening')
const redirect_uri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`
const config = await oauth.discovery(new URL(issuer), 'portreeve-demo', undefined, oauth.None(), {
  execute: [oauth.allowInsecureRequests], // Only because this issuer is http on loopback.
})
const pkceCodeVerifier = oauth.randomPKCECodeVerifier()
const code_challenge = await oauth.calculatePKCECodeChallenge(pkceCodeVerifier)
const state = oauth.randomState()
const asked = { redirect_uri, scope: 'openid notes:read', code_challenge, state }
const url = oauth.buildAuthorizationUrl(config, { ...asked, code_challenge_method: 'S256' })
console.log(`Open ${url.href}`)
const [request, response] = (await once(server, 'request')) as [IncomingMessage, ServerResponse]
response.end('You are signed in, and may close this window.')
server.close()
const checks = { pkceCodeVerifier, expectedState: state }
const answer = new URL(request.url ?? '', redirect_uri)
const tokens = await oauth.authorizationCodeGrant(config, answer, checks)
console.log(tokens.claims())
const call = [config, tokens.access_token, new URL('/notes', api), 'GET'] as const
console.log(await (await oauth.fetchProtectedResource(...call)).json())

// Your own client. While npm start runs: npx node examples/your-own-client.ts
// Arguments, all optional: issuer, API, client id, redirect URI, file with the client's secret
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as oauth from 'openid-client'

const [, , issuer = 'http://localhost:3000', api = 'http://127.0.0.1:3001', ...mine] = process.argv
const [id = 'portreeve-demo', callback = 'http://127.0.0.1:0/callback', file] = mine
const auth = file ? oauth.ClientSecretBasic(readFileSync(file, 'utf8').trim()) : oauth.None()
const redirect = new URL(callback)
const server = createServer().listen(Number(redirect.port), redirect.hostname)
await once(server, 'listening')
redirect.port = String((server.address() as AddressInfo).port)
const plain = { execute: [oauth.allowInsecureRequests] } // Leave it out where the issuer is https.
const config = await oauth.discovery(new URL(issuer), id, undefined, auth, plain)
const [pkceCodeVerifier, state] = [oauth.randomPKCECodeVerifier(), oauth.randomState()]
const code_challenge = await oauth.calculatePKCECodeChallenge(pkceCodeVerifier)
const asked = { redirect_uri: redirect.href, scope: 'openid notes:read', code_challenge, state }
const url = oauth.buildAuthorizationUrl(config, { ...asked, code_challenge_method: 'S256' })
console.log(`Open ${url.href}`)
const [request, response] = (await once(server, 'request')) as [IncomingMessage, ServerResponse]
response.end('You are signed in, and may close this window.', () => server.close())
const answer = new URL(request.url ?? '', redirect)
const checks = { pkceCodeVerifier, expectedState: state }
const tokens = await oauth.authorizationCodeGrant(config, answer, checks)
const call = [config, tokens.access_token, new URL('/notes', api), 'GET'] as const
console.log(tokens.claims(), await (await oauth.fetchProtectedResource(...call)).json())

// Your own client. While npm start runs: npx node examples/your-own-client.ts
// Arguments, all optional: issuer, API, client id, redirect URI, file with the client's secret
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import * as oauth from 'openid-client'

const [, , issuer = 'http://localhost:3000', api = 'http://127.0.0.1:3001', ...mine] = process.argv
const [id = 'portreeve-demo', callback = 'http://127.0.0.1:0/callback', file] = mine
const auth = file ? oauth.ClientSecretBasic(readFileSync(file, 'utf8').trim()) : oauth.None()
const redirect = new URL(callback)
const server = createServer().listen(Number(redirect.port), redirect.hostname)
const fail = ({ message }: Error) => console.error(`give another redirect URI: ${message}`)
await once(server, 'listening').catch(fail)
if (!server.listening) process.exit(1)
redirect.port = String((server.address() as { port: number }).port)
const plain = { execute: [oauth.allowInsecureRequests] } // Leave it out where the issuer is https.
const config = await oauth.discovery(new URL(issuer), id, undefined, auth, plain)
const [pkceCodeVerifier, state] = [oauth.randomPKCECodeVerifier(), oauth.randomState()]
const code_challenge = await oauth.calculatePKCECodeChallenge(pkceCodeVerifier)
const asked = { redirect_uri: redirect.href, scope: 'openid notes:read', code_challenge, state }
const start = oauth.buildAuthorizationUrl(config, { ...asked, code_challenge_method: 'S256' })
console.log(`Open ${start.href}`)
const [{ url = '' }, response] = (await once(server, 'request')) as Parameters<RequestListener>
response.end('You are signed in, and may close this window.', () => server.close())
const checks = { pkceCodeVerifier, expectedState: state }
const tokens = await oauth.authorizationCodeGrant(config, new URL(url, redirect), checks)
const call = [config, tokens.access_token, new URL('/notes', api), 'GET'] as const
console.log(tokens.claims(), await (await oauth.fetchProtectedResource(...call)).json())

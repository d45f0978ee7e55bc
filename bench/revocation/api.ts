/**
 * An API on the toolkit as a process of its own: `node api.ts SETUP` with the setup as JSON. The first
 * line on standard output says where it listens. On a second port it answers what it alone knows, and
 * begins to follow the issuer's revocations when it is told to.
 */
import type { RequestListener } from 'node:http'
import { text } from 'node:stream/consumers'
import { Router } from '@koa/router'
import {
  createIntrospectionVerifier,
  createProtect,
  createRevocationFeed,
  createVerifier,
  young,
  type RevocationFeed,
  type StaleRule,
} from '@portreeve/resource-server'
import Koa from 'koa'
import { measureMemory } from '../heap.ts'
import { endWithParent, listen } from '../serve.ts'
import {
  REFUSAL_HEADER,
  RULES,
  type ApiAddress,
  type ApiSetup,
  type Followed,
} from './api-setup.ts'

const setup = JSON.parse(process.argv[2] ?? '') as ApiSetup
const { issuer, audience, scope, clientId, clientSecret } = setup

function serve(revocations: RevocationFeed | undefined) {
  const introspection = createIntrospectionVerifier({ issuer, audience, clientId, clientSecret })
  const verifier = createVerifier({
    issuer,
    audience,
    ...(revocations === undefined ? {} : { revocations, introspection }),
  })
  const protect = createProtect(verifier, {
    onRefusal: ({ kind }, ctx) => ctx.set(REFUSAL_HEADER, kind),
  })
  const router = new Router()
  for (const rule of RULES) {
    const whenStale: StaleRule = rule === 'young' ? young(setup.youngSeconds) : rule
    const policy = revocations === undefined ? { scope } : { scope, whenStale }
    router.get(`/${rule}`, protect(policy), (ctx) => {
      ctx.body = { subject: ctx.state.auth.subject }
    })
  }
  const app = new Koa().use(router.routes())
  // A client that goes away in the middle of an answer is no error of the program.
  app.silent = true
  return { verifier, listener: app.callback() }
}

function createFeed(): RevocationFeed {
  const { receiver, staleAfterSeconds } = setup
  return createRevocationFeed({
    issuer,
    clientId,
    clientSecret,
    receiver,
    staleAfterSeconds,
    onFault: ({ message }) => console.error(message),
  })
}

let feed = setup.follows ? createFeed() : undefined
let served = serve(feed)

/** Where it does not follow yet, requests go on as before until the new verifier has the issuer's keys. */
async function follow(token: string): Promise<Followed> {
  const start = performance.now()
  const following = feed === undefined ? serve((feed = createFeed())) : served
  const { ok } = await following.verifier.verify(token, { whenStale: 'open' })
  if (!ok) throw new Error('a good token was refused')
  served = following
  await feed?.whenFresh()
  return { milliseconds: performance.now() - start, entries: feed?.state.entries ?? 0 }
}

const answerControl: RequestListener = async (request, response) => {
  const answer = request.url === '/memory' ? measureMemory() : await follow(await text(request))
  response.end(JSON.stringify(answer))
}

const address: ApiAddress = {
  port: await listen((request, response) => served.listener(request, response)),
  control: await listen(answerControl),
}
console.log(JSON.stringify(address))
endWithParent()

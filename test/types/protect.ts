/**
 * What the types of the toolkit promise. Nothing here runs: `tsc` is the judge, in `npm run check`.
 */
import { Router } from '@koa/router'
import Koa, { type Context } from 'koa'
import { expectTypeOf } from 'vitest'
import { z } from 'zod'
import {
  createGuard,
  createProtect,
  createVerifier,
  publicRoute,
  young,
  type AccessTokenClaims,
  type Auth,
  type ClaimsSchema,
  type GuardDecision,
  type Refusal,
  type RequestFacts,
  type Result,
  type TokenRefusal,
} from '../../resource-server/index.ts'

const verifier = createVerifier({ issuer: 'https://login.example', audience: 'https://a.example/' })
const protect = createProtect(verifier)
const router = new Router()

interface Tenancy {
  readonly tenant: string
  readonly plan: 'free' | 'paid'
}

declare const byHand: ClaimsSchema<Tenancy>
declare const facts: RequestFacts
const byZod = z.object({ tenant: z.string(), seats: z.coerce.number() })

export function claimsHaveTheTypeOfTheSchema(): void {
  router.get('/by-hand', protect({ scope: 'notes:read', claims: byHand }), (ctx) => {
    expectTypeOf(ctx.state.auth).toEqualTypeOf<Auth<Tenancy>>()
    expectTypeOf(ctx.state.auth.claims).toEqualTypeOf<Tenancy>()
    // @ts-expect-error: the schema does not speak of it.
    ctx.body = ctx.state.auth.claims.sub
  })
  router.get('/by-zod', protect({ claims: byZod }), (ctx) => {
    // What the schema makes of the claims, not what it reads.
    expectTypeOf(ctx.state.auth.claims).toEqualTypeOf<{ tenant: string; seats: number }>()
  })
  new Koa().use(protect({ claims: byHand })).use((ctx) => {
    expectTypeOf(ctx.state.auth.claims).toEqualTypeOf<Tenancy>()
  })
  protect({
    claims: byHand,
    owns: (auth, ctx) => {
      expectTypeOf(auth.claims).toEqualTypeOf<Tenancy>()
      expectTypeOf(ctx).toEqualTypeOf<Context>()
      return auth.claims.plan === 'paid'
    },
  })
}

export function claimsWithoutASchemaAreThoseOfRfc9068(): void {
  router.get('/', protect(), (ctx) => {
    expectTypeOf(ctx.state.auth).toEqualTypeOf<Auth>()
    const { claims } = ctx.state.auth
    expectTypeOf(claims).toEqualTypeOf<AccessTokenClaims>()
    expectTypeOf(claims.iss).toEqualTypeOf<string>()
    expectTypeOf(claims.sub).toEqualTypeOf<string>()
    expectTypeOf(claims.client_id).toEqualTypeOf<string>()
    expectTypeOf(claims.jti).toEqualTypeOf<string>()
    expectTypeOf(claims.aud).toEqualTypeOf<string | readonly string[]>()
    expectTypeOf(claims.exp).toEqualTypeOf<number>()
    expectTypeOf(claims.iat).toEqualTypeOf<number>()
    expectTypeOf(claims.scope).toEqualTypeOf<string | undefined>()
    expectTypeOf(claims['tenant']).toEqualTypeOf<unknown>()
    // @ts-expect-error: nobody has looked at it.
    claims['tenant'] satisfies string
  })
  router.get('/scoped', protect({ scope: ['notes:read'], roles: 'editor' }), (ctx) => {
    expectTypeOf(ctx.state.auth.claims).toEqualTypeOf<AccessTokenClaims>()
  })
}

export function whoIsAskingCannotBeChanged(): void {
  router.get('/', protect(), ({ state: { auth } }) => {
    expectTypeOf(auth.kind).toEqualTypeOf<'person' | 'service'>()
    expectTypeOf(auth.scopes).toEqualTypeOf<ReadonlySet<string>>()
    // @ts-expect-error: read only.
    auth.subject = 'somebody else'
    // @ts-expect-error: read only.
    auth.scopes.add('notes:write')
    // @ts-expect-error: read only.
    auth.claims.sub = 'somebody else'
  })
}

export function nobodyIsAskingWhereNothingIsProtected(): void {
  new Router().get('/', publicRoute(), (ctx) => {
    // Koa's own state: whatever is there, we have not typed it.
    expectTypeOf(ctx.state['auth']).not.toEqualTypeOf<Auth>()
  })
}

export async function outcomesAreTakenApartByOk(): Promise<void> {
  const outcome = await verifier.verify('')
  expectTypeOf(outcome).toEqualTypeOf<Result<Auth, TokenRefusal>>()
  // @ts-expect-error: not before `ok` has been looked at.
  void outcome.value
  const guard = createGuard(verifier, { claims: byHand })
  const decision = await guard.decide(facts, undefined)
  expectTypeOf(decision).toEqualTypeOf<GuardDecision<Tenancy>>()
  if (decision.ok) expectTypeOf(decision.value.claims).toEqualTypeOf<Tenancy>()
  else expectTypeOf(decision.reason).toEqualTypeOf<Refusal>()
  // @ts-expect-error: no schema has looked at them.
  createGuard<Tenancy, Context>(verifier, { scope: 'notes:read' })
}

export function wrongOptionsDoNotCompile(): void {
  // @ts-expect-error: whose tokens, and for whom?
  createVerifier()
  // @ts-expect-error: for whom?
  createVerifier({ issuer: 'https://login.example' })
  // @ts-expect-error: misspelt.
  createVerifier({ issuer: 'https://login.example', audiences: 'https://a.example/' })
  // @ts-expect-error: no such type of token.
  createVerifier({ issuer: 'https://login.example', audience: 'a', tokenType: 'id_token' })
  // @ts-expect-error: no verifier.
  createProtect({ issuer: 'https://login.example', audience: 'https://a.example/' })
  // @ts-expect-error: misspelt.
  createProtect(verifier, { onRefused: () => {} })
  // @ts-expect-error: misspelt, and so a scope that nobody would check.
  protect({ scopes: 'notes:read' })
  // @ts-expect-error: no scope.
  protect({ scope: 1 })
  // @ts-expect-error: that may be missing where it is read from.
  protect({ scope: undefined })
  // @ts-expect-error: no such binding.
  protect({ sender: 'cookie' })
  // @ts-expect-error: claims of a type that no schema has looked at.
  protect<Tenancy>()
  // @ts-expect-error: claims of a type that no schema has looked at.
  protect<Tenancy>({ scope: 'notes:read' })
  // @ts-expect-error: no schema.
  protect({ claims: { tenant: 'string' } })
  // @ts-expect-error: whatever is not `true` or `false` is a mistake.
  protect({ owns: () => 'yes' })
  // @ts-expect-error: the schema does not speak of it.
  protect({ claims: byHand, owns: (auth) => auth.claims.owner === auth.subject })
}

export function whatIsDoneWhileTheViewIsStaleIsOneOfFour(): void {
  protect({ whenStale: young(60) })
  protect({ whenStale: 'closed' })
  protect({ whenStale: 'introspect' })
  protect({ whenStale: 'open' })
  // @ts-expect-error: no such rule.
  protect({ whenStale: 'sometimes' })
  // @ts-expect-error: the age goes into young().
  protect({ whenStale: 60 })
}

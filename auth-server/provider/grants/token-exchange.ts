import { errors, type KoaContextWithOIDC } from 'oidc-provider'
import type { Account } from '../../accounts/account.ts'
import type { ClientStore } from '../../clients/client.ts'
import { GRANT_TYPES } from '../../config/built-in.ts'
import { assertNever } from '../../errors.ts'
import type { Events } from '../../events.ts'
import type { Catalogue } from '../../scopes/catalogue.ts'
import { decideExchange, type ExchangeRefusal, type ShownToken } from '../../scopes/exchange.ts'
import { decideScopes } from '../../scopes/policy.ts'
import { clientOf } from '../clients.ts'
import { readProven } from '../internals.ts'
import {
  isAccountId,
  nameBinding,
  readBinding,
  type IssuedToken,
  type IssuedTokens,
} from '../issued-token.ts'
import { toSubject } from '../resources.ts'
import type { CustomGrant } from './grants.ts'
import { issueToken, type IssueCollaborators } from './issue-token.ts'

export interface TokenExchangeCollaborators extends IssueCollaborators {
  readonly issued: IssuedTokens
  readonly clients: Pick<ClientStore, 'findById'>
  readonly catalogue: Catalogue
  readonly findAccount: (ctx: KoaContextWithOIDC, id: string) => Promise<Account | undefined>
  readonly events: Events
}

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
/** Every access token that this grant takes is a JWT (RFC 8693 §3). */
const TOKEN_TYPES = [ACCESS_TOKEN, 'urn:ietf:params:oauth:token-type:jwt']

/**
 * Gives a token for another one (RFC 8693): to the client that it was issued to, or to the API that it is
 * for, and only by a rule of that client. What is allowed is decided in `scopes/exchange.ts`.
 *
 * The new token hangs on the session and the grant of the subject token: whatever ends these ends it.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8693.html#section-2.1 RFC 8693 §2.1}
 */
export function createTokenExchange(collaborators: TokenExchangeCollaborators): CustomGrant {
  const { issued, findAccount, events } = collaborators
  return {
    name: GRANT_TYPES.token_exchange,
    parameters: [
      'subject_token',
      'subject_token_type',
      'actor_token',
      'actor_token_type',
      'requested_token_type',
      'resource',
      'audience',
      'scope',
    ],
    repeatable: ['resource', 'audience'],
    async handle(ctx) {
      const params = ctx.oidc.params ?? {}
      checkParameters(params)
      const subject = await readToken(issued, params['subject_token'], 'subject')
      const actor =
        params['actor_token'] === undefined
          ? undefined
          : await readToken(issued, params['actor_token'], 'actor')
      const { sub } = subject.claims
      const account = isAccountId(sub) ? await findAccount(ctx, sub) : undefined
      const decision = await decide(collaborators, ctx, { subject, actor, account })
      params['scope'] = decision.scopes.join(' ')
      delete params['resource']
      await issueToken(collaborators, ctx, {
        account,
        scopes: decision.scopes,
        resource: decision.resource,
        notAfter: decision.notAfter,
        claims: carryOn(subject, decision.act),
        answer: { issued_token_type: ACCESS_TOKEN },
      })
      // What was taken away meanwhile may count for older tokens only: the new one would escape it.
      for (const shown of [subject, ...(actor ? [actor] : [])]) await requireLife(issued, shown)
      events.tokenExchanged({
        clientId: ctx.oidc.client?.clientId ?? '',
        accountId: account?.id,
        subject: sub,
        actor: decision.actor,
        from: subject.resource.identifier,
        resource: decision.resource,
        scope: decision.scopes.join(' '),
      })
    },
  }
}

type Params = NonNullable<KoaContextWithOIDC['oidc']['params']>

function checkParameters(params: Params): void {
  requireType(params, 'subject')
  if (params['actor_token'] !== undefined) requireType(params, 'actor')
  else if (params['actor_token_type'] !== undefined) {
    throw new errors.InvalidRequest('actor_token_type without an actor_token')
  }
  const wanted = params['requested_token_type']
  if (wanted !== undefined && wanted !== ACCESS_TOKEN) {
    throw new errors.InvalidRequest(`the only requested_token_type is ${ACCESS_TOKEN}`)
  }
}

function requireType(params: Params, role: 'subject' | 'actor'): void {
  const [token, type] = [params[`${role}_token`], params[`${role}_token_type`]]
  if (typeof token !== 'string' || token === '') {
    throw new errors.InvalidRequest(`missing required parameter '${role}_token'`)
  }
  if (typeof type !== 'string' || !TOKEN_TYPES.includes(type)) {
    throw new errors.InvalidRequest(`${role}_token_type is one of ${TOKEN_TYPES.join(' and ')}`)
  }
}

async function readToken(
  issued: IssuedTokens,
  token: unknown,
  role: 'subject' | 'actor',
): Promise<IssuedToken> {
  const known = await issued.verify(token)
  if (!known)
    throw refuseToken(role, `the ${role} token is no access token in force that we signed`)
  await requireLife(issued, known, role)
  return known
}

/** RFC 8693 §2.2.2: whatever is wrong with it, it is `invalid_request`. The client is told no more. */
function refuseToken(role: 'subject' | 'actor', detail: string): Error {
  return new errors.InvalidRequest(`the ${role} token is not valid`, undefined, { detail })
}

async function requireLife(
  issued: IssuedTokens,
  token: IssuedToken,
  role: 'subject' | 'actor' = 'subject',
): Promise<void> {
  const life = await issued.checkLife(token)
  if (life.ok) return
  const { kind, what } = life.reason
  throw refuseToken(role, `the ${role} token is over: its ${what} is ${kind}`)
}

interface Shown {
  readonly subject: IssuedToken
  readonly actor: IssuedToken | undefined
  readonly account: Account | undefined
}

async function decide(
  { clients, catalogue }: TokenExchangeCollaborators,
  ctx: KoaContextWithOIDC,
  { subject, actor, account }: Shown,
) {
  const client = clientOf(ctx)
  if (!client) throw new TypeError('no client has been authenticated')
  const { scope } = ctx.oidc.params ?? {}
  // A service has no roles: what it was registered for is what it may have.
  const service = account ? undefined : await clients.findById(subject.claims.sub)
  const decided = decideExchange({
    issuer: ctx.oidc.issuer,
    clientId: client.id,
    introspects: client.introspects,
    rules: client.exchange,
    targets: listTargets(catalogue, ctx),
    requestedScopes:
      typeof scope === 'string' && scope !== '' ? scope.split(' ').filter(Boolean) : undefined,
    listAllowed(identifier) {
      const { granted } = decideScopes({
        requested: subject.claims.scope.split(' '),
        resourceScopes: new Set(catalogue.resources.get(identifier)?.scopes.keys()),
        clientScopes: new Set(client.scopes),
        subject: toSubject(catalogue, account ?? 'service'),
      })
      return new Set(service ? granted.filter((one) => service.scopes.includes(one)) : granted)
    },
    subject: describe(subject),
    actor: actor && describe(actor),
    proven: (await readProven(ctx)).map(nameBinding),
  })
  if (!decided.ok) throw toWire(decided.reason)
  return decided.value
}

/** `resource` is an identifier, `audience` the name that stands in tokens (RFC 8693 §2.1). */
function listTargets({ resources }: Catalogue, ctx: KoaContextWithOIDC): readonly string[] {
  const { resource, audience } = ctx.oidc.params ?? {}
  const known = [...resources.values()]
  return [
    ...listTexts(resource),
    ...listTexts(audience).map(
      (name) => known.find((one) => one.audience === name)?.identifier ?? `unknown ${name}`,
    ),
  ]
}

function listTexts(value: unknown): readonly string[] {
  return [value ?? []].flat().map(String)
}

function describe({ claims, resource }: IssuedToken): ShownToken {
  const binding = readBinding(claims.cnf)
  return {
    kind: isAccountId(claims.sub) ? 'person' : 'service',
    subject: claims.sub,
    clientId: claims.client_id,
    resource: resource.identifier,
    scopes: claims.scope.split(' '),
    expiresAt: claims.exp,
    boundTo: binding && nameBinding(binding),
    act: claims['act'],
    mayAct: claims['may_act'],
  }
}

/** What the new token keeps of the old one. */
function carryOn({ claims }: IssuedToken, act: unknown): Readonly<Record<string, unknown>> {
  const { sub, sid, grant_id, auth_time, acr, amr } = claims
  return {
    ...(isAccountId(sub) ? {} : { sub, sub_kind: 'service' }),
    sid,
    grant_id,
    auth_time,
    acr,
    amr,
    act,
  }
}

/** @see {@link https://www.rfc-editor.org/rfc/rfc8693.html#section-2.2.2 RFC 8693 §2.2.2} */
function toWire(reason: ExchangeRefusal): Error {
  switch (reason.kind) {
    case 'target':
      return new errors.InvalidTarget(
        'name one resource that this client may exchange tokens for',
        {
          detail: `no rule of the client is for ${reason.targets.join(', ') || 'one alone'}`,
        },
      )
    case 'holder':
      return refuseToken(
        reason.role,
        `the ${reason.role} token was neither issued to the client nor is it for an API that it introspects`,
      )
    case 'proof':
      return new errors.InvalidRequest(
        `the ${reason.role} token is bound to a key or a certificate: prove it by DPoP, or show it, on this request`,
      )
    case 'policy':
      return new errors.InvalidRequest(
        'this client may not exchange such a token for that resource',
      )
    case 'may_act':
      return new errors.InvalidRequest('the subject token names somebody else who may act')
    case 'actors':
      return refuseToken(
        reason.fault === 'of_actor' ? 'actor' : 'subject',
        `the chain of actors: ${reason.fault}`,
      )
    case 'scope':
      return new errors.InvalidScope('nothing that is asked for may be carried on', '')
    default:
      return assertNever(reason)
  }
}

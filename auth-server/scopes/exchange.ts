import type { Result } from '../errors.ts'

export type SubjectKind = 'person' | 'service'
export type ExchangeMode = 'impersonation' | 'delegation'

/** What a client may exchange tokens for. Nothing is allowed that no rule allows. */
export interface ExchangeRule {
  /** The resource that the new token is for. */
  readonly resource: string
  /** The most that it may carry; what the subject token carries where absent. */
  readonly scopes?: readonly string[] | undefined
  readonly subjects: readonly SubjectKind[]
  /** The resources that subject and actor tokens may be for. */
  readonly from: readonly string[]
  readonly mode: readonly ExchangeMode[]
}

/** A token that a client shows, which was found to be ours and in force. */
export interface ShownToken {
  readonly kind: SubjectKind
  readonly subject: string
  /** The client that it was issued to. */
  readonly clientId: string
  /** The resource that it is for. */
  readonly resource: string
  readonly scopes: readonly string[]
  /** Seconds since the epoch. */
  readonly expiresAt: number
  /** The key or certificate that it is bound to; `false` for a binding that cannot be checked. */
  readonly boundTo: string | undefined | false
  /** The claims `act` and `may_act` as they stand. */
  readonly act: unknown
  readonly mayAct: unknown
}

export interface ExchangeQuestion {
  readonly issuer: string
  /** The client that asks, and has proven who it is. */
  readonly clientId: string
  /** The resources that it is the API behind. */
  readonly introspects: readonly string[]
  readonly rules: readonly ExchangeRule[]
  /** Every resource that the request names. */
  readonly targets: readonly string[]
  /** `undefined`: everything that the subject token carries. */
  readonly requestedScopes: readonly string[] | undefined
  /** What of a resource the client, and the roles of the person, allow now. */
  readonly listAllowed: (resource: string) => ReadonlySet<string>
  readonly subject: ShownToken
  readonly actor: ShownToken | undefined
  /** The keys and certificates that this request proves (RFC 9449, RFC 8705). */
  readonly proven: readonly string[]
}

type Role = 'subject' | 'actor'

export type ExchangeRefusal =
  | { readonly kind: 'target'; readonly targets: readonly string[] }
  | { readonly kind: 'holder'; readonly role: Role }
  | { readonly kind: 'proof'; readonly role: Role }
  | { readonly kind: 'policy' }
  | { readonly kind: 'may_act' }
  | { readonly kind: 'actors'; readonly fault: 'malformed' | 'too_many' | 'of_actor' }
  | { readonly kind: 'scope' }

export interface ExchangeDecision {
  readonly resource: string
  readonly mode: ExchangeMode
  readonly scopes: readonly string[]
  /** Seconds since the epoch: the new token does not outlive what it was made of. */
  readonly notAfter: number
  /** Who acts now, unless that is the subject itself. */
  readonly actor: string | undefined
  /** The claim `act` of the new token. */
  readonly act: Actor | undefined
}

/** Who acts, and who has acted before (RFC 8693 §4.1). */
export interface Actor {
  readonly sub: string
  readonly act?: Actor
}

/** A chain is as long as services call one another; a longer one is a circle. */
const MOST_ACTORS = 5

/**
 * Whether a client may have another token for the one that it shows, and what that may carry. Pure: says
 * nothing about whether the tokens are genuine and in force.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8693.html#section-2 RFC 8693 §2}
 */
export function decideExchange(
  question: ExchangeQuestion,
): Result<ExchangeDecision, ExchangeRefusal> {
  const { rules, subject, actor, clientId, targets } = question
  const target = chooseTarget(rules, targets)
  if (target === undefined) return refuse({ kind: 'target', targets })
  const fault =
    judgeShown('subject', subject, question) ?? (actor && judgeShown('actor', actor, question))
  if (fault) return refuse(fault)
  const allowed = chooseRule(question, target)
  if (!allowed) return refuse({ kind: 'policy' })
  const { rule, mode } = allowed
  const acting = actor?.subject ?? clientId
  if (!mayAct(question, acting)) return refuse({ kind: 'may_act' })
  const actors = nameActors(question, mode, acting)
  if (!actors.ok) return actors
  const scopes = narrow(question, rule)
  if (scopes.length === 0) return refuse({ kind: 'scope' })
  return {
    ok: true,
    value: {
      resource: target,
      mode,
      scopes,
      notAfter: Math.min(subject.expiresAt, actor?.expiresAt ?? subject.expiresAt),
      actor: mode === 'delegation' ? acting : undefined,
      act: actors.value,
    },
  }
}

function refuse(reason: ExchangeRefusal): { readonly ok: false; readonly reason: ExchangeRefusal } {
  return { ok: false, reason }
}

/** The one that is named, or the only one that there are rules for. */
function chooseTarget(
  rules: readonly ExchangeRule[],
  targets: readonly string[],
): string | undefined {
  const known = new Set(rules.map(({ resource }) => resource))
  const [target, ...others] = new Set(targets.length > 0 ? targets : known)
  return target !== undefined && others.length === 0 && known.has(target) ? target : undefined
}

/** Who holds a token by right: the client that it was issued to, and the API that it is for. */
function judgeShown(
  role: Role,
  { clientId, resource, boundTo }: ShownToken,
  question: ExchangeQuestion,
): ExchangeRefusal | undefined {
  const isHolder = clientId === question.clientId || question.introspects.includes(resource)
  if (!isHolder) return { kind: 'holder', role }
  if (boundTo === undefined) return undefined
  if (boundTo !== false && question.proven.includes(boundTo)) return undefined
  return { kind: 'proof', role }
}

/** Without an actor token it is impersonation where that is allowed; else the client itself acts. */
function chooseRule(
  { rules, subject, actor }: ExchangeQuestion,
  target: string,
): { readonly rule: ExchangeRule; readonly mode: ExchangeMode } | undefined {
  const modes = actor ? (['delegation'] as const) : (['impersonation', 'delegation'] as const)
  for (const mode of modes) {
    const rule = rules.find(
      (one) =>
        one.resource === target &&
        one.mode.includes(mode) &&
        one.subjects.includes(subject.kind) &&
        one.from.includes(subject.resource) &&
        (!actor || one.from.includes(actor.resource)),
    )
    if (rule) return { rule, mode }
  }
  return undefined
}

/**
 * A subject token that says who may act for its subject lets nobody else do so. What it says of somebody
 * that cannot be compared fits nobody.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8693.html#section-4.4 RFC 8693 §4.4}
 */
function mayAct({ issuer, clientId, subject }: ExchangeQuestion, acting: string): boolean {
  const { mayAct: named } = subject
  if (named === undefined) return true
  if (!isObject(named) || typeof named['sub'] !== 'string') return false
  const actual: Readonly<Record<string, unknown>> = {
    iss: issuer,
    sub: acting,
    client_id: clientId,
  }
  return Object.entries(named).every(([claim, value]) => actual[claim] === value)
}

/** Impersonation adds nobody, and takes nobody away who has acted before. */
function nameActors(
  { subject, actor }: ExchangeQuestion,
  mode: ExchangeMode,
  acting: string,
): Result<Actor | undefined, ExchangeRefusal> {
  if (actor?.act !== undefined) return refuse({ kind: 'actors', fault: 'of_actor' })
  const before = readActors(subject.act)
  if (!before) return refuse({ kind: 'actors', fault: 'malformed' })
  const all = mode === 'delegation' ? [acting, ...before] : before
  if (all.length > MOST_ACTORS) return refuse({ kind: 'actors', fault: 'too_many' })
  const nest = (act: Actor | undefined, sub: string): Actor => (act ? { sub, act } : { sub })
  return { ok: true, value: all.reduceRight<Actor | undefined>(nest, undefined) }
}

/** The latest first. */
function readActors(act: unknown): readonly string[] | undefined {
  const actors: string[] = []
  for (let current = act; current !== undefined; current = current['act']) {
    if (!isObject(current) || typeof current['sub'] !== 'string') return undefined
    actors.push(current['sub'])
    if (actors.length > MOST_ACTORS) return actors
  }
  return actors
}

/** Granted = requested ∩ subject token ∩ rule ∩ what client and roles allow now. */
function narrow(
  { requestedScopes, subject, listAllowed }: ExchangeQuestion,
  { resource, scopes }: ExchangeRule,
): readonly string[] {
  const allowed = listAllowed(resource)
  return [...new Set(requestedScopes ?? subject.scopes)].filter(
    (scope) =>
      subject.scopes.includes(scope) &&
      (scopes === undefined || scopes.includes(scope)) &&
      allowed.has(scope),
  )
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

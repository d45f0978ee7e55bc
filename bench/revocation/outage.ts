import { setTimeout as wait } from 'node:timers/promises'
import type { Rule } from './api-setup.ts'
import { startLoad, type Hit, type Shot } from './load.ts'
import type { Api, Issuer } from './world.ts'

/** What an API does while its issuer is dead, by route and token. */
export interface Outage {
  readonly staleAfterSeconds: number
  readonly youngSeconds: number
  /** How long all instances were dead for sure. */
  readonly seconds: number
  readonly policies: readonly PolicyResult[]
  /** Requests without an answer, or refused while the issuer was alive. */
  readonly failed: number
}

/** Seconds since the death of the issuer, of all APIs. */
export interface PolicyResult {
  readonly name: PolicyName
  /** When the first API refused for the first time; `undefined`: none did. */
  readonly firstRefusal: number | undefined
  /** When the last answer came that let one in, while the issuer was dead. */
  readonly lastLetIn: number
  /** What it was refused with: the status and the kind of refusal. */
  readonly refusals: readonly string[]
  /** How old the token was then: seconds since its `iat`. */
  readonly ageAtLastLetIn: number
  /** Requests that were let in after the same API had refused, while the issuer was dead. */
  readonly letInAgain: number
  /** When the last API let it in again: seconds after the issuer was there again. */
  readonly back: number
}

/** `young`, with a token older and one younger than what it takes, and the other routes. */
export type PolicyName = 'young, old token' | 'young, new token' | Exclude<Rule, 'young'>

export interface OutageWorld {
  /** A token that was issued long ago: so much, that is waited for. */
  readonly old: string
  readonly instances: number
}

export interface OutageOptions {
  readonly staleAfterSeconds: number
  readonly youngSeconds: number
  readonly perSecond: number
}

/** After the last of what has to happen. */
const LATER_SECONDS = 3
/** Whoever waits longest between two trials has come back within it. */
const BACK_WITHIN_MS = 30_000
const LOOK_EVERY_MS = 20

/** One token on one route. */
interface Policy {
  readonly name: PolicyName
  readonly rule: Rule
  readonly token: string
  readonly apis: readonly ApiRecord[]
  readonly refusals: Set<string>
}

interface ApiRecord {
  lastLetInAt: number
  firstRefusedAt: number | undefined
  letInAgain: number
  backAt: number | undefined
}

/** The issuer died, was dead for sure until then, and could be reached again. */
interface Spell {
  diedAt: number
  deadUntil: number
  backAt: number
}

/** All instances are killed, and started again. */
export async function measureOutage(
  issuer: Issuer,
  apis: readonly Api[],
  { old, instances }: OutageWorld,
  { staleAfterSeconds, youngSeconds, perSecond }: OutageOptions,
): Promise<Outage> {
  const now = performance.timeOrigin + performance.now()
  await wait(Math.max(0, (readIssuedAt(old) + youngSeconds + 1) * 1000 - now))
  const [fresh = ''] = await issuer.issueTokens(1)
  const policies = createPolicies(old, fresh, apis.length)
  const spell: Spell = { diedAt: Infinity, deadUntil: Infinity, backAt: Infinity }
  let failed = 0
  const onHit = (shot: Shot, hit: Hit) => {
    const policy = policies.find(({ rule, token }) => rule === shot.rule && token === shot.token)
    const record = policy?.apis[shot.api]
    if (!record || hit.status === 0) failed += 1
    else if (hit.status === 200) noteLetIn(record, hit, spell)
    else if (hit.answeredAt < spell.diedAt) failed += 1
    else if (hit.answeredAt < spell.deadUntil) {
      record.firstRefusedAt ??= hit.answeredAt
      policy?.refusals.add(`${hit.status} ${hit.refusal ?? ''}`)
    }
  }
  const choose = (_api: number, turn: number) => {
    const { rule = 'open', token = '' } = policies[turn % policies.length] ?? {}
    return { rule, token }
  }
  const urls = apis.map(({ url }) => url)
  await using running = new AsyncDisposableStack()
  running.use(startLoad({ urls, perSecond, choose, onHit }))
  await wait(1000)
  spell.diedAt = await issuer.killInstances()
  await wait((Math.max(staleAfterSeconds, youngSeconds) + LATER_SECONDS) * 1000)
  spell.deadUntil = performance.now()
  spell.backAt = await issuer.startInstances(instances)
  await untilAllAreBack(policies)
  return {
    staleAfterSeconds,
    youngSeconds,
    seconds: (spell.deadUntil - spell.diedAt) / 1000,
    failed,
    policies: policies.map((policy) => describePolicy(policy, spell)),
  }
}

function createPolicies(old: string, fresh: string, apis: number): readonly Policy[] {
  const create = (name: PolicyName, rule: Rule, token: string): Policy => ({
    name,
    rule,
    token,
    refusals: new Set(),
    apis: Array.from({ length: apis }, () => ({
      lastLetInAt: -Infinity,
      firstRefusedAt: undefined,
      letInAgain: 0,
      backAt: undefined,
    })),
  })
  return [
    create('young, old token', 'young', old),
    create('young, new token', 'young', fresh),
    create('closed', 'closed', fresh),
    create('introspect', 'introspect', fresh),
    create('open', 'open', fresh),
  ]
}

function noteLetIn(record: ApiRecord, { sentAt, answeredAt }: Hit, { deadUntil }: Spell): void {
  if (answeredAt >= deadUntil) {
    record.backAt ??= answeredAt
    return
  }
  record.lastLetInAt = Math.max(record.lastLetInAt, answeredAt)
  if (record.firstRefusedAt !== undefined && sentAt > record.firstRefusedAt) record.letInAgain += 1
}

/** The token that was young is old by now, and let in again all the same. */
async function untilAllAreBack(policies: readonly Policy[]): Promise<void> {
  const until = performance.now() + BACK_WITHIN_MS
  const areBack = () =>
    policies.every(({ apis }) => apis.every(({ backAt }) => backAt !== undefined))
  while (!areBack() && performance.now() < until) await wait(LOOK_EVERY_MS)
}

function describePolicy({ name, token, apis, refusals }: Policy, spell: Spell): PolicyResult {
  const { diedAt, backAt } = spell
  const refused = apis.flatMap(({ firstRefusedAt }) => firstRefusedAt ?? [])
  const lastLetInAt = Math.max(...apis.map((api) => api.lastLetInAt))
  const back = apis.map((api) => Math.max(0, (api.backAt ?? Infinity) - backAt) / 1000)
  return {
    name,
    firstRefusal: refused.length === 0 ? undefined : (Math.min(...refused) - diedAt) / 1000,
    lastLetIn: (lastLetInAt - diedAt) / 1000,
    ageAtLastLetIn: (performance.timeOrigin + lastLetInAt) / 1000 - readIssuedAt(token),
    refusals: [...refusals],
    letInAgain: apis.reduce((sum, api) => sum + api.letInAgain, 0),
    back: Math.max(...back),
  }
}

/** Seconds since the epoch. */
function readIssuedAt(token: string): number {
  const payload = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()
  return (JSON.parse(payload) as { iat: number }).iat
}

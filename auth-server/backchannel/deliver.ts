import { randomInt } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { chooseIdTokenAlgorithm, isSelfDescribed, type Client } from '../clients/client.ts'
import type { Outbound } from '../clients/outbound.ts'
import type { SubjectOf } from '../clients/subject.ts'
import type { Clock } from '../clock.ts'
import type { Events } from '../events.ts'
import type { PrivateJwk } from '../keys/keyset.ts'
import type { Logger } from '../log.ts'
import { judgeAttempt, type Attempt } from './attempt.ts'
import { encryptLogoutToken } from './encrypt.ts'
import type { LogoutDelivery, LogoutQueue, Whose } from './logout-queue.ts'
import { signLogoutToken } from './logout-token.ts'
import { sendLogoutToken } from './send.ts'

const LOOK_EVERY_MS = 500
/** Longer than an attempt may take: of two servers only one tries at a time. */
const LEASE_MS = 20_000
/** Clients of each kind that are told things at the same time. */
const MOST_LANES = 32
/** Requests to one client at the same time. */
const AT_ONCE = 4
/** So often a client that answers may be told more before another gets its lane. */
const MOST_BATCHES = 25
/** However many clients wait, a look ends. */
const MOST_LOOKED_AT = 200
/** A server that is stopped waits so long; what is cut off is tried again by the next. */
const DRAIN_MS = 3000

export interface DeliveryCollaborators {
  readonly logouts: LogoutQueue
  readonly clients: { findById(id: string): Promise<Client | undefined> }
  readonly signingKeys: () => readonly PrivateJwk[]
  /** What clients know people by. */
  readonly subjectOf: SubjectOf
  readonly outbound: Outbound
  readonly events: Pick<Events, 'logoutDelivered' | 'logoutPostponed' | 'logoutGivenUp'>
  readonly clock: Clock
  readonly log: Logger
}

/**
 * Tells clients of sessions that ended, from the queue, until disposed of. Any number of servers may do
 * so at once. Each client has a lane of its own and clients take turns: one that hangs keeps nobody
 * else waiting but what waits for itself. Those that nobody has vouched for, of which there may be any
 * number, have lanes apart from those of the operator's.
 *
 * A client may be told twice: a process that dies after the client has answered leaves the entry there.
 */
export function startLogoutDelivery(
  collaborators: DeliveryCollaborators,
  { issuer }: { readonly issuer: string },
): AsyncDisposable {
  const { log } = collaborators
  const stop = new AbortController()
  const cutOff = new AbortController()
  let failure: string | undefined

  const report = (error: unknown) => {
    if (failure !== String(error)) log.error({ event: 'logouts_not_delivered', err: error })
    failure = String(error)
  }
  const signals = { issuer, stop: stop.signal, cutOff: cutOff.signal }
  const groups = (['operator', 'stranger'] as const).map((whose) =>
    openLanes(collaborators, whose, signals, report),
  )
  const work = async () => {
    for (;;) {
      await pause(LOOK_EVERY_MS, stop.signal)
      if (stop.signal.aborted) return
      try {
        for (const { look } of groups) await look()
        if (groups.every(({ lanes }) => lanes.size === 0)) failure = undefined
      } catch (error) {
        report(error)
      }
    }
  }
  const ended = work()
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await ended
      const drained = new AbortController()
      const late = pause(DRAIN_MS, drained.signal).then(() => cutOff.abort())
      await Promise.all(groups.flatMap(({ lanes }) => [...lanes.values()]))
      drained.abort()
      await late
    },
  }
}

interface Signals {
  readonly issuer: string
  /** No more is begun. */
  readonly stop: AbortSignal
  /** What is under way is given up. */
  readonly cutOff: AbortSignal
}

interface Lane extends Signals {
  readonly clientId: string
}

interface Lanes {
  /** Those that are open, by their clients. */
  readonly lanes: ReadonlyMap<string, Promise<void>>
  /** Goes on after the client that came last, and once around. */
  look(): Promise<void>
}

function openLanes(
  collaborators: DeliveryCollaborators,
  whose: Whose,
  signals: Signals,
  report: (error: unknown) => void,
): Lanes {
  const lanes = new Map<string, Promise<void>>()
  let place = ''
  const open = (clientId: string) => {
    const lane = serveClient(collaborators, { clientId, ...signals })
      .catch(report)
      .finally(() => lanes.delete(clientId))
    lanes.set(clientId, lane)
  }
  return {
    lanes,
    async look() {
      let isAround = place === ''
      for (let looked = 0; looked < MOST_LOOKED_AT && lanes.size < MOST_LANES; looked += 1) {
        const clientId = await collaborators.logouts.nextClient(whose, place)
        place = clientId ?? ''
        if (clientId === undefined && isAround) return
        if (clientId === undefined) isAround = true
        else if (!lanes.has(clientId)) open(clientId)
      }
    },
  }
}

async function serveClient(collaborators: DeliveryCollaborators, lane: Lane): Promise<void> {
  const { logouts, clock } = collaborators
  for (let batch = 0; batch < MOST_BATCHES && !lane.stop.aborted; batch += 1) {
    const due = await logouts.listDue(lane.clientId, clock.now(), AT_ONCE)
    if (due.length === 0) return
    // Where one fails, the lane is as long as the others are under way.
    const told = await Promise.allSettled(due.map((one) => deliver(collaborators, lane, one)))
    for (const one of told) if (one.status === 'rejected') throw one.reason
    if (told.some((one) => one.status === 'fulfilled' && !one.value)) return
  }
}

/** Answers whether the client may be told more at once. */
async function deliver(
  collaborators: DeliveryCollaborators,
  { issuer, cutOff }: Lane,
  delivery: LogoutDelivery,
): Promise<boolean> {
  const { logouts, clients, events, clock } = collaborators
  const client = await clients.findById(delivery.clientId)
  if (client?.backchannelLogoutUri === undefined) {
    await logouts.remove(delivery.id)
    return true
  }
  const claimed = await logouts.claim(delivery, clock.now() + LEASE_MS)
  if (!claimed) return true
  const attempt = await tell(
    collaborators,
    { issuer, cutOff },
    client,
    client.backchannelLogoutUri,
    claimed,
  )
  if (cutOff.aborted && attempt.kind === 'unreachable') return false
  const verdict = judgeAttempt(attempt, claimed, clock.now(), randomInt(1000) / 1000)
  if (verdict.kind === 'retry') await logouts.postpone(claimed, verdict.dueAt)
  else await logouts.remove(claimed.id)
  const { clientId, accountId, attempts } = claimed
  const facts = { clientId, accountId, attempts }
  switch (verdict.kind) {
    case 'delivered':
      events.logoutDelivered(facts)
      return true
    case 'retry':
      events.logoutPostponed({ ...facts, reason: verdict.reason })
      return false
    case 'given_up':
      events.logoutGivenUp({ ...facts, reason: verdict.reason })
      return verdict.reason === 'refused'
  }
}

/** A client that is disabled is not called, and is told if it is enabled again in time. */
async function tell(
  collaborators: DeliveryCollaborators,
  lane: Pick<Lane, 'issuer' | 'cutOff'>,
  client: Client,
  uri: string,
  claimed: LogoutDelivery,
): Promise<Attempt> {
  if (client.disabled) return { kind: 'unreachable', reason: 'disabled' }
  const token = await makeToken(collaborators, lane, client, claimed)
  if (token === undefined) return { kind: 'unreachable', reason: 'keys' }
  const guard = isSelfDescribed(client) ? collaborators.outbound.of(client) : undefined
  return sendLogoutToken(uri, token, lane.cutOff, guard)
}

/** `undefined` where none can be made now: that is an attempt like others, or it would be made for ever. */
async function makeToken(
  { signingKeys, subjectOf, outbound, clock, log }: DeliveryCollaborators,
  { issuer, cutOff }: Pick<Lane, 'issuer' | 'cutOff'>,
  client: Client,
  claimed: LogoutDelivery,
): Promise<string | undefined> {
  try {
    const algorithm = chooseIdTokenAlgorithm(client)
    const sub = subjectOf(client, claimed.accountId)
    const now = clock.now()
    const signed = await signLogoutToken(claimed, sub, signingKeys(), algorithm, issuer, now)
    return await encryptLogoutToken(signed, client, {
      issuer,
      fetchOutbound: outbound.of(client),
      stop: cutOff,
    })
  } catch (error) {
    log.error({ event: 'logout_token_not_made', clientId: client.id, err: error })
    return undefined
  }
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await wait(milliseconds, undefined, { signal, ref: false }).catch((error: unknown) => {
    if (!signal.aborted) throw error
  })
}

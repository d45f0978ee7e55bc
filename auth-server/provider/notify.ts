import type { Client } from '../clients/client.ts'
import type { Outbound } from '../clients/outbound.ts'
import type { Events } from '../events.ts'
import { seal, unseal } from '../keys/seal.ts'

/** What a client is told by that its request was answered (CIBA Core §10.2). */
interface Notice {
  readonly auth_req_id: string
  /** The client's own: by it this server proves that it is the one that was asked. */
  readonly token: string
}

const CONTEXT = 'ciba notice'

export function sealNotice(key: Buffer, text: string): string {
  return seal(key, text, CONTEXT)
}

export interface NotifierCollaborators {
  readonly outbound: Outbound
  readonly events: Pick<Events, 'cibaNotified'>
  readonly noticeKey: Buffer
}

type NotifiedClient = Pick<Client, 'id' | 'ciba' | 'owner'>

/** Disposing of it gives up what is under way. */
export interface Notifier extends AsyncDisposable {
  /** Tells the client, while the caller goes on. */
  notify(client: NotifiedClient, sealed: string): void
}

/**
 * Tells clients once that there is an answer. Nothing hangs on it: a client that could not be told asks,
 * as it does where it polls.
 *
 * @see {@link https://openid.net/specs/openid-client-initiated-backchannel-authentication-core-1_0.html#rfc.section.10.2 CIBA Core §10.2}
 */
export function createNotifier({ outbound, events, noticeKey }: NotifierCollaborators): Notifier {
  const stop = new AbortController()
  const running = new Set<Promise<void>>()

  const tell = async (client: NotifiedClient, sealed: string) => {
    const { id: clientId, ciba } = client
    const uri = ciba?.notificationUri
    if (uri === undefined) return
    const { auth_req_id, token } = JSON.parse(unseal(noticeKey, sealed, CONTEXT)) as Notice
    const { ok, status } = await outbound.of(client)(uri, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ auth_req_id }),
      signal: stop.signal,
      isStatusEnough: true,
    })
    events.cibaNotified({ clientId, outcome: ok ? 'told' : 'status', detail: String(status) })
  }

  return {
    notify(client, sealed) {
      const told = tell(client, sealed)
        .catch((error: unknown) => {
          const detail = error instanceof Error ? error.message : 'unknown'
          events.cibaNotified({ clientId: client.id, outcome: readFault(error), detail })
        })
        .finally(() => running.delete(told))
      running.add(told)
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await Promise.all(running)
    },
  }
}

function readFault(error: unknown): string {
  return error instanceof Error && 'fault' in error ? String(error.fault) : 'error'
}

import { isLoopback } from '../config/uri-rules.ts'
import type { Config } from '../config/schema.ts'
import { createOutboundFetch, type OutboundFetch } from '../outbound.ts'
import type { Client } from './client.ts'

/** How this server calls what others name: who they are decides where it may lead. */
export interface Outbound {
  /** What the configuration names: the keys of issuers that the operator trusts. */
  readonly declared: OutboundFetch
  /**
   * What a client names. Those that the operator has made or invited may lead into `outbound.networks`.
   * Where a stranger can be a client by itself, no such client may, nor may one that is not known.
   */
  of(client: Pick<Client, 'owner'> | undefined): OutboundFetch
}

type Settings = Pick<Config, 'outbound' | 'registration'>

export function createOutbound(
  { outbound, registration }: Settings,
  issuer: string,
  nameServers?: readonly string[],
): Outbound {
  // In development the clients are where the server is.
  const local = isLoopback(new URL(issuer).hostname) ? ['127.0.0.0/8', '::1/128'] : []
  const strangers = createOutboundFetch({ networks: local, nameServers })
  const declared = createOutboundFetch({
    networks: [...outbound.networks, ...local],
    nameServers,
  })
  const isStranger = ({ owner }: Pick<Client, 'owner'>) =>
    owner === 'document' || (owner === 'dynamic' && registration?.access !== 'invited')
  return {
    declared,
    of: (client) => (client && !isStranger(client) ? declared : strangers),
  }
}

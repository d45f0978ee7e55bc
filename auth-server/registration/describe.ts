import type { Client } from '../clients/client.ts'
import { toClientMetadata } from '../clients/client-metadata.ts'

/**
 * A client as it is registered, without its secret.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc7591.html#section-3.2.1 RFC 7591 §3.2.1}
 */
export function describeClient(client: Client): Record<string, unknown> {
  const { links = {}, backchannelLogoutUri } = client
  const { client_id, ...protocol } = toClientMetadata(client)
  return {
    client_id,
    ...client.selfDescription,
    client_uri: links.home,
    tos_uri: links.terms,
    policy_uri: links.policy,
    ...protocol,
    client_id_issued_at: Math.floor(client.createdAt / 1000),
    scope: client.scopes.join(' '),
    subject_type: client.subjectType ?? 'public',
    sector_identifier_uri: client.sectorIdentifierUri,
    software_statement: client.softwareStatement,
    backchannel_logout_uri: backchannelLogoutUri,
    backchannel_logout_session_required: backchannelLogoutUri === undefined ? undefined : true,
  }
}

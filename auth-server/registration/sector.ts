import type { Client } from '../clients/client.ts'
import { findSector } from '../config/sector.ts'
import type { OutboundFetch } from '../outbound.ts'
import type { MetadataFault, RequestedClient } from './metadata.ts'

/**
 * Whether the sector that a client says it belongs to says so too: it lists its redirect URIs there.
 * Otherwise anybody could have people named as another's clients know them. How far a call has come is
 * not told: it would say what there is inside.
 *
 * @see {@link https://openid.net/specs/openid-connect-registration-1_0.html#SectorIdentifierValidation OpenID Connect Registration §5}
 */
export async function judgeSector(
  { sectorIdentifierUri: uri, redirectUris }: RequestedClient,
  fetchOutbound: OutboundFetch,
): Promise<MetadataFault | undefined> {
  if (uri === undefined) return undefined
  const listed = await fetchList(uri, fetchOutbound)
  if (!listed) return refuse('expected a JSON array of redirect URIs there')
  const missing = redirectUris.findIndex((redirectUri) => !listed.includes(redirectUri))
  return missing === -1 ? undefined : refuse(`redirect_uris[${missing}] is not listed there`)
}

/**
 * Whether a client that changes stays in its sector. It keeps what people have given it, so that it could
 * go on with that in a sector where it receives nobody, and learn what they are called there.
 */
export function judgeMove(known: Client, wanted: RequestedClient): MetadataFault | undefined {
  if (wanted.subjectType !== 'pairwise') return undefined
  if (known.subjectType !== 'pairwise') {
    return refuse('expected public, as it was registered: register another client', 'subject_type')
  }
  if (findSector(known) === findSector(wanted)) return undefined
  return refuse('expected the sector that it was registered for: register another client')
}

function refuse(message: string, member = 'sector_identifier_uri'): MetadataFault {
  const description = `${member}: ${message}`
  return { error: 'invalid_client_metadata', description }
}

async function fetchList(
  uri: string,
  fetchOutbound: OutboundFetch,
): Promise<readonly unknown[] | undefined> {
  try {
    const response = await fetchOutbound(uri, { headers: { accept: 'application/json' } })
    if (response.status !== 200) return undefined
    const list: unknown = await response.json()
    return Array.isArray(list) ? list : undefined
  } catch {
    // Whatever is wrong there, it is no list.
    return undefined
  }
}

import { isLoopback, isWebUri } from './uri-rules.ts'

/** What says which clients know a person by one and the same pairwise subject. */
export interface SectorSource {
  readonly applicationType: 'web' | 'native'
  readonly redirectUris: readonly string[]
  readonly sectorIdentifierUri?: string | undefined
}

/**
 * The host that a client's pairwise subjects are for; `undefined` where there is none, or more than one.
 * What runs on a person's own machine has an address that any other app has as well, and an app writes
 * any host behind a scheme of its own: neither names anybody.
 *
 * @see {@link https://openid.net/specs/openid-connect-core-1_0.html#PairwiseAlg OpenID Connect Core §8.1}
 */
export function findSector({
  applicationType,
  redirectUris,
  sectorIdentifierUri,
}: SectorSource): string | undefined {
  if (sectorIdentifierUri !== undefined) return new URL(sectorIdentifierUri).hostname
  if (!redirectUris.every(isWebUri)) return undefined
  const hosts = new Set(redirectUris.map((uri) => new URL(uri).hostname))
  const [host = '', ...others] = hosts
  const isSomebodys = applicationType === 'web' || !isLoopback(host)
  return host !== '' && others.length === 0 && isSomebodys ? host : undefined
}

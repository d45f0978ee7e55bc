import { createHmac } from 'node:crypto'
import { findSector, type SectorSource } from '../config/sector.ts'
import type { Client } from './client.ts'

/** No id of an account, and no client's, starts so: one with a colon is the URL of a document. */
const PAIRWISE_PREFIX = 'pairwise:'

/** What a client knows a person by: the `sub` of everything that it is told. */
export type SubjectOf = (
  client: Pick<Client, 'id' | 'subjectType'> & SectorSource,
  accountId: string,
) => string

/**
 * A pairwise subject is the same for clients of one sector, and as long as the root key is. Whoever has
 * not got the key can neither tell the account of it nor whether two are one person's.
 *
 * @see {@link https://openid.net/specs/openid-connect-core-1_0.html#PairwiseAlg OpenID Connect Core §8.1}
 */
export function createSubjects(key: Buffer): SubjectOf {
  return (client, accountId) => {
    if (client.subjectType !== 'pairwise') return accountId
    const sector = findSector(client)
    if (sector === undefined) throw new TypeError(`the client ${client.id} has no sector`)
    const digest = createHmac('sha256', key).update(`${sector}\0${accountId}`).digest('base64url')
    return `${PAIRWISE_PREFIX}${digest}`
  }
}

import type { AccountStore } from '../accounts/account.ts'
import type { ClientStore } from '../clients/client.ts'
import { formatTime, type Clock } from '../clock.ts'
import { DIRECT_ACCESS_CLIENT } from '../config/built-in.ts'
import { echo } from '../config/echo.ts'
import { normalizeUsername } from '../config/username.ts'
import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import type { AccessStore, EndedAccess, EndedKind, SessionPart } from '../revocation/access.ts'
import {
  findGrantOf,
  identifyCredential,
  isName,
  type CredentialCollaborators,
  type CredentialEnd,
} from './credentials.ts'
import { refuseInput } from './refusals.ts'

export interface RevocationRequest {
  readonly kind: EndedKind
  /** A `jti`, `grant_id` or `sid` from a token, a username or account id, a client id. Empty for `all`. */
  readonly subject: string
}

/** What was taken away. The places are those that an API has to apply to know of it. */
export interface RevocationView
  extends RevocationRequest, Omit<EndedAccess, 'revokedAt' | 'parts'> {
  /** ISO 8601. Of users, clients and all, what was issued until then is revoked. */
  readonly revokedAt: string
  /** ISO 8601: when all of it had been written. */
  readonly committedAt: string
  /** Of a `session`, and of nothing else: of whose sign-in which client has lost its part. */
  readonly parts?: readonly SessionPartView[] | undefined
}

export interface SessionPartView extends SessionPart {
  readonly username: string | undefined
}

export interface RevocationOperations {
  /**
   * Takes access away: see `AccessStore`. A user or client stays as it is, and may sign in or ask anew.
   * Throws `not_found` for a user or client that there is not, `invalid_input` for what can be the name
   * of nothing.
   */
  revoke(what: RevocationRequest): Promise<RevocationView>
  /** What has to be revoked for a credential to end. Throws `invalid_input` for what is none. */
  identify(credential: string): Promise<CredentialEnd>
}

export interface RevocationCollaborators extends CredentialCollaborators {
  readonly access: AccessStore
  readonly accounts: Pick<AccountStore, 'findById' | 'findByUsername'>
  readonly clients: Pick<ClientStore, 'findById'>
  readonly clock: Clock
  readonly events: Pick<Events, 'accessRevoked'>
  /** Resolves when what was done is recorded. */
  readonly recorded?: (() => Promise<void>) | undefined
}

export function createRevocationOperations(
  collaborators: RevocationCollaborators,
): RevocationOperations {
  const { access, accounts, clock, events, recorded } = collaborators
  return {
    async revoke({ kind, subject: named }) {
      const subject = await findSubject(collaborators, kind, named)
      const { revokedAt, parts, ...ended } = await access.end(kind, subject)
      const committedAt = formatTime(clock.now())
      events.accessRevoked({ kind, subject, place: ended.place, by: 'operator' })
      // Whoever waits for those who follow may be stopped before they have answered.
      await recorded?.()
      const shown = parts && (await Promise.all(parts.map((part) => namePart(accounts, part))))
      const times = { revokedAt: formatTime(revokedAt), committedAt }
      return { kind, subject, ...ended, parts: shown, ...times }
    },
    identify: (credential) => identifyCredential(collaborators, credential),
  }
}

async function namePart(
  accounts: Pick<AccountStore, 'findById'>,
  part: SessionPart,
): Promise<SessionPartView> {
  const account = part.accountId === undefined ? undefined : await accounts.findById(part.accountId)
  return { ...part, username: account?.username }
}

async function findSubject(
  collaborators: RevocationCollaborators,
  kind: EndedKind,
  named: string,
): Promise<string> {
  const { accounts, clients } = collaborators
  switch (kind) {
    case 'user': {
      const account =
        (await accounts.findByUsername(normalizeUsername(named))) ??
        (await accounts.findById(named))
      if (account) return account.id
      throw new PortreeveError('not_found', `There is no user ${echo(named)}.`)
    }
    case 'client':
      // No client is registered for it, but its tokens name it.
      if (named === DIRECT_ACCESS_CLIENT || (await clients.findById(named))) return named
      throw new PortreeveError('not_found', `There is no client ${echo(named)}.`)
    case 'all':
      return ''
    default:
      refuseNoName(kind, named)
      await refuseCredential(collaborators, kind, named)
      return named
  }
}

const CLAIMS = { token: 'jti', grant: 'grant_id', session: 'sid' } as const

/** It would go on, and the log would tell it to everybody who follows. */
async function refuseCredential(
  collaborators: RevocationCollaborators,
  kind: keyof typeof CLAIMS,
  named: string,
): Promise<void> {
  if ((await findGrantOf(collaborators, named)) === undefined) return
  const message = `expected the claim ${CLAIMS[kind]}, got a credential itself: that has an end of its own (--token-stdin)`
  throw refuseInput([{ path: [kind], message }])
}

function refuseNoName(kind: keyof typeof CLAIMS, named: string): void {
  if (isName(named)) return
  const isWhole = named.split('.').length === 3
  const got = isWhole ? 'a whole token: decode it, and look there' : echo(named)
  throw refuseInput([{ path: [kind], message: `expected the claim ${CLAIMS[kind]}, got ${got}` }])
}

import { createInviteId, generateRegistrationToken } from '../clients/registration.ts'
import type { Invite, RegistrationStore } from '../clients/registration.ts'
import { formatTime, type Clock } from '../clock.ts'
import { echo } from '../config/echo.ts'
import { NAME_RULE, namePattern } from '../config/name.ts'
import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import { refuseInput } from './refusals.ts'

const MOST_USES = 10_000
const LONGEST_LABEL = 100
const LONGEST_DAYS = 366

export interface InviteView extends Omit<Invite, 'createdAt' | 'expiresAt'> {
  readonly state: 'good' | 'used up' | 'expired'
  /** ISO 8601. */
  readonly createdAt: string
  readonly expiresAt: string
}

export interface NewInvite {
  /** Whom it is for. */
  readonly label: string
  /** How many clients may be registered with it. */
  readonly uses: number
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** Words of an operator that somebody may register clients. */
export interface InviteOperations {
  /** The token is shown this once: only its hash is kept. Throws `invalid_input`. */
  add(invite: NewInvite): Promise<{ readonly invite: InviteView; readonly token: string }>
  list(): Promise<readonly InviteView[]>
  /** The clients that were registered with it stay. Throws `not_found`. */
  remove(id: string): Promise<void>
}

export interface InviteCollaborators {
  readonly registrations: Pick<RegistrationStore, 'addInvite' | 'listInvites' | 'removeInvite'>
  readonly clock: Clock
  readonly events: Events
}

export function createInviteOperations({
  registrations,
  clock,
  events,
}: InviteCollaborators): InviteOperations {
  return {
    async add({ label, uses, expiresAt }) {
      const now = clock.now()
      refuseMistakes(label, uses, expiresAt - now)
      const { token, hash } = generateRegistrationToken('invite')
      const invite = { id: createInviteId(), label, usesLeft: uses, createdAt: now, expiresAt }
      await registrations.addInvite(invite, hash)
      events.objectChanged({ kind: 'invite', action: 'added', id: invite.id, by: 'operator' })
      return { invite: viewInvite(invite, now), token }
    },
    async list() {
      const now = clock.now()
      return (await registrations.listInvites()).map((invite) => viewInvite(invite, now))
    },
    async remove(id) {
      if (!(await registrations.removeInvite(id))) {
        throw new PortreeveError('not_found', `There is no invite ${echo(id)}.`)
      }
      events.objectChanged({ kind: 'invite', action: 'removed', id, by: 'operator' })
    },
  }
}

function refuseMistakes(label: string, uses: number, lifeMs: number): void {
  const mistakes = [
    namePattern(LONGEST_LABEL).test(label)
      ? []
      : [{ path: ['label'], message: `expected 1 to ${LONGEST_LABEL} characters, ${NAME_RULE}` }],
    Number.isInteger(uses) && uses >= 1 && uses <= MOST_USES
      ? []
      : [{ path: ['uses'], message: `expected a number from 1 to ${MOST_USES}` }],
    lifeMs > 0 && lifeMs <= LONGEST_DAYS * 86_400_000
      ? []
      : [{ path: ['expires'], message: `expected a time to come, ${LONGEST_DAYS} days at most` }],
  ].flat()
  if (mistakes.length > 0) throw refuseInput(mistakes)
}

function viewInvite({ createdAt, expiresAt, ...invite }: Invite, now: number): InviteView {
  const state = expiresAt <= now ? 'expired' : invite.usesLeft > 0 ? 'good' : 'used up'
  return {
    ...invite,
    state,
    createdAt: formatTime(createdAt),
    expiresAt: formatTime(expiresAt),
  }
}

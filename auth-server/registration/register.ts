import { dateChange, isSelfDescribed, type Client, type ClientStore } from '../clients/client.ts'
import type { Outbound } from '../clients/outbound.ts'
import {
  createDynamicClientId,
  generateRegistrationToken,
  hashRegistrationToken,
  type RegistrationStore,
} from '../clients/registration.ts'
import {
  generateClientSecret,
  verifyClientSecret,
  type ChosenSecretHasher,
} from '../clients/secret.ts'
import type { Clock } from '../clock.ts'
import { isSameText } from '../compare.ts'
import { usesSecret } from '../config/built-in.ts'
import type { RegistrationConfig, ResourceConfig } from '../config/schema.ts'
import type { Result } from '../errors.ts'
import type { Events } from '../events.ts'
import { toNetwork, type Pace } from '../throttle.ts'
import { readMetadata, type MetadataFault, type RequestedClient } from './metadata.ts'
import { judgeMove, judgeSector } from './sector.ts'
import { judgeSoftware, putFirst, widenPolicy, type StatementReader } from './statements.ts'

export interface RegistrationCollaborators {
  readonly clients: ClientStore
  readonly registrations: RegistrationStore
  readonly hasher: ChosenSecretHasher
  /** What others say about apps; `undefined` where nobody's word counts. */
  readonly statements: StatementReader | undefined
  /** Whether an address registers too much. */
  readonly pace: Pace
  /** Calls what clients name. */
  readonly outbound: Outbound
  readonly events: Pick<Events, 'objectChanged'>
  readonly clock: Clock
}

export interface RegistrationOptions {
  readonly policy: RegistrationConfig
  readonly resources: readonly ResourceConfig[]
  /** Names that no client may look like beside those of the operator's clients. */
  readonly ownNames: readonly string[]
}

export type RegistrationRefusal =
  | { readonly kind: 'unauthorized'; readonly isTokenGiven: boolean }
  | { readonly kind: 'metadata'; readonly fault: MetadataFault }
  | { readonly kind: 'throttled'; readonly retryAfterSeconds: number }
  | { readonly kind: 'full' }
  /** Somebody else has changed the client at the same time. */
  | { readonly kind: 'changed' }

export interface Registered {
  readonly client: Client
  /** Shown this once. `undefined` where none was generated. */
  readonly secret: string | undefined
  /** What the client is managed with. */
  readonly token: string
}

type Outcome<T> = Promise<Result<T, RegistrationRefusal>>

/** Who asks, and with what. */
export interface Asking {
  readonly address: string
  readonly token: string | undefined
}

type Metadata = Readonly<Record<string, unknown>>

/** Who may register. */
interface Admitted {
  readonly inviteHash: string | undefined
}

export interface Registration {
  /** Whether the one who asks may register at all: before anything that they have sent is read. */
  admit(asking: Asking): Outcome<Admitted>
  /** @see {@link https://www.rfc-editor.org/rfc/rfc7591.html#section-3.1 RFC 7591 §3.1} */
  register(admitted: Admitted, metadata: Metadata): Outcome<Registered>
  /** @see {@link https://www.rfc-editor.org/rfc/rfc7592.html#section-2.1 RFC 7592 §2.1} */
  read(asking: Asking, id: string): Outcome<Registered>
  /** @see {@link https://www.rfc-editor.org/rfc/rfc7592.html#section-2.2 RFC 7592 §2.2} */
  update(asking: Asking, id: string, metadata: Metadata): Outcome<Registered>
  /** @see {@link https://www.rfc-editor.org/rfc/rfc7592.html#section-2.3 RFC 7592 §2.3} */
  remove(asking: Asking, id: string): Outcome<undefined>
}

/** Clients that register and manage themselves, within what the operator allows. */
export function createRegistration(
  {
    clients,
    registrations,
    hasher,
    statements,
    pace,
    outbound,
    events,
    clock,
  }: RegistrationCollaborators,
  { policy, resources, ownNames }: RegistrationOptions,
): Registration {
  const slow = async (address: string): Outcome<undefined> => {
    const wait = await pace(toNetwork(address))
    return wait ? refuse({ kind: 'throttled', ...wait }) : { ok: true, value: undefined }
  }
  const listTakenNames = async () => {
    const known = await clients.list()
    const names = known.filter((client) => !isSelfDescribed(client)).map(({ name }) => name)
    return [...names, ...ownNames]
  }
  const judge = async (
    id: string,
    metadata: Metadata,
    needsStatement: boolean,
  ): Outcome<JudgedClient> => {
    const stated = await applyStatement(statements, metadata, policy)
    if (!stated.ok) return refuse({ kind: 'metadata', fault: stated.reason })
    const { app, allowed, statement } = stated.value
    if (needsStatement && statement === undefined) {
      return refuse({ kind: 'metadata', fault: NO_STATEMENT })
    }
    const rules = { policy: allowed, resources, takenNames: await listTakenNames() }
    const read = readMetadata(id, app, rules)
    if (!read.ok) return refuse({ kind: 'metadata', fault: read.reason })
    const fault = await judgeSector(read.value, outbound.of({ owner: 'dynamic' }))
    if (fault) return refuse({ kind: 'metadata', fault })
    return { ok: true, value: { ...read.value, softwareStatement: statement } }
  }
  const isAlwaysStated = policy.softwareStatements?.required === true
  /** The same answer whether there is no such client, or it is another's. */
  const findOwn = async ({ token }: Asking, id: string): Outcome<Client> => {
    const [client, tokenHash] = await Promise.all([
      clients.findById(id),
      registrations.findTokenHash(id),
    ])
    const given = hashRegistrationToken(token ?? '')
    const isOwn = token !== undefined && tokenHash !== undefined && isSameText(given, tokenHash)
    if (isOwn && client?.owner === 'dynamic' && !client.disabled) return { ok: true, value: client }
    return refuse({ kind: 'unauthorized', isTokenGiven: token !== undefined })
  }
  const announce = (action: string, id: string) =>
    events.objectChanged({ kind: 'client', action, id, by: 'client' })

  return {
    async admit({ address, token }) {
      const slowed = await slow(address)
      if (!slowed.ok) return slowed
      if (token === undefined && policy.access !== 'invited') {
        return { ok: true, value: { inviteHash: undefined } }
      }
      const inviteHash = hashRegistrationToken(token ?? '')
      const invite = token === undefined ? undefined : await registrations.findInvite(inviteHash)
      if (invite && invite.usesLeft > 0 && invite.expiresAt > clock.now()) {
        return { ok: true, value: { inviteHash } }
      }
      return refuse({ kind: 'unauthorized', isTokenGiven: token !== undefined })
    },
    async register({ inviteHash }, metadata) {
      const needsStatement =
        isAlwaysStated || (policy.access === 'stated' && inviteHash === undefined)
      const judged = await judge(createDynamicClientId(), metadata, needsStatement)
      if (!judged.ok) return judged
      const now = clock.now()
      const made = usesSecret(judged.value.authMethod) ? generateClientSecret() : undefined
      const client: Client = {
        ...judged.value,
        defaultResource: undefined,
        secretHash: made?.hash,
        disabled: false,
        owner: 'dynamic',
        createdAt: now,
        updatedAt: now,
      }
      const { token, hash } = generateRegistrationToken('management')
      const admission = { inviteHash, most: policy.mostClients, now }
      const outcome = await registrations.register(client, hash, admission)
      if (outcome === 'too_many') return refuse({ kind: 'full' })
      if (outcome === 'no_invite') return refuse({ kind: 'unauthorized', isTokenGiven: true })
      announce('registered', client.id)
      return { ok: true, value: { client, secret: made?.secret, token } }
    },
    async read(asking, id) {
      const found = await findOwn(asking, id)
      return found.ok ? { ok: true, value: show(found.value, asking) } : found
    },
    async update(asking, id, metadata) {
      const found = await findOwn(asking, id)
      if (!found.ok) return found
      const slowed = await slow(asking.address)
      if (!slowed.ok) return slowed
      const known = found.value
      const fault = await judgeUpdate(known, metadata, hasher)
      if (fault) return refuse({ kind: 'metadata', fault })
      // Else it would put down at once what it was let in for.
      const needsStatement =
        isAlwaysStated || (policy.access === 'stated' && known.softwareStatement !== undefined)
      const judged = await judge(id, metadata, needsStatement)
      if (!judged.ok) return judged
      const moved = judgeMove(known, judged.value) ?? judgeSoftware(known, judged.value)
      if (moved) return refuse({ kind: 'metadata', fault: moved })
      const needsSecret = usesSecret(judged.value.authMethod)
      const made = needsSecret && !known.secretHash ? generateClientSecret() : undefined
      const client: Client = {
        ...judged.value,
        defaultResource: undefined,
        secretHash: needsSecret ? (made?.hash ?? known.secretHash) : undefined,
        disabled: false,
        owner: 'dynamic',
        createdAt: known.createdAt,
        updatedAt: dateChange(clock, known),
      }
      if (!(await registrations.replace(known, client))) return refuse({ kind: 'changed' })
      announce('changed', id)
      return { ok: true, value: { ...show(client, asking), secret: made?.secret } }
    },
    async remove(asking, id) {
      const found = await findOwn(asking, id)
      if (!found.ok) return found
      await clients.remove(id)
      announce('removed', id)
      return { ok: true, value: undefined }
    },
  }
}

type JudgedClient = RequestedClient & Pick<Client, 'softwareStatement'>

const NO_STATEMENT: MetadataFault = {
  error: 'invalid_client_metadata',
  description: 'software_statement: expected one of an issuer that is trusted here',
}

interface StatedApp {
  /** What it is to be. */
  readonly app: Metadata
  /** What it may be. */
  readonly allowed: RegistrationConfig
  readonly statement: string | undefined
}

async function applyStatement(
  statements: StatementReader | undefined,
  metadata: Metadata,
  policy: RegistrationConfig,
): Promise<Result<StatedApp, MetadataFault>> {
  const shown = metadata['software_statement'] ?? undefined
  if (!statements || shown === undefined) {
    return { ok: true, value: { app: metadata, allowed: policy, statement: undefined } }
  }
  const read = await statements.read(shown)
  if (!read.ok) return read
  const app = putFirst(read.value, metadata)
  const allowed = widenPolicy(policy, read.value, app)
  if (!allowed.ok) return allowed
  return { ok: true, value: { app, allowed: allowed.value, statement: read.value.text } }
}

/** The token is kept as a hash: what is shown is what was sent. */
function show(client: Client, { token = '' }: Asking): Registered {
  return { client, secret: undefined, token }
}

const SERVER_MEMBERS = [
  'registration_access_token',
  'registration_client_uri',
  'client_secret_expires_at',
  'client_id_issued_at',
]

/** @see {@link https://www.rfc-editor.org/rfc/rfc7592.html#section-2.2 RFC 7592 §2.2} */
async function judgeUpdate(
  { id, secretHash }: Client,
  metadata: Metadata,
  hasher: ChosenSecretHasher,
): Promise<MetadataFault | undefined> {
  const error = 'invalid_client_metadata'
  if (metadata['client_id'] !== id) {
    return { error, description: 'client_id: expected the id of this client' }
  }
  const foreign = SERVER_MEMBERS.find((member) => Object.hasOwn(metadata, member))
  if (foreign !== undefined) {
    return { error, description: `${foreign}: expected nothing: the server says what it is` }
  }
  const secret = metadata['client_secret']
  if (secret === undefined) return undefined
  const isRight =
    typeof secret === 'string' &&
    secretHash !== undefined &&
    (await verifyClientSecret(secret, secretHash, hasher))
  return isRight ? undefined : { error, description: 'client_secret: expected the one it has' }
}

function refuse(reason: RegistrationRefusal): {
  readonly ok: false
  readonly reason: RegistrationRefusal
} {
  return { ok: false, reason }
}

import type { z } from 'zod'
import type { PasswordHasher } from '../accounts/password.ts'
import { dateChange, type Client, type ClientStore } from '../clients/client.ts'
import { generateClientSecret, hashChosenSecret } from '../clients/secret.ts'
import { formatTime, type Clock } from '../clock.ts'
import { usesSecret } from '../config/built-in.ts'
import { checkClient } from '../config/check-client.ts'
import { checkCertificateUse } from '../config/check-mtls.ts'
import { echo } from '../config/echo.ts'
import type { Finding } from '../config/rules.ts'
import { clientSchema, type Config } from '../config/schema.ts'
import { judgeClientSecret } from '../config/secrets.ts'
import { PortreeveError } from '../errors.ts'
import type { Events } from '../events.ts'
import { parseInput, refuseFindings, refuseInput, refuseReadOnly } from './refusals.ts'

const newClientSchema = clientSchema.omit({ secret: true })
export type NewClient = z.input<typeof newClientSchema>

/** A client as it is shown: everything but the secret's hash. */
export interface ClientView extends Omit<Client, 'secretHash' | 'createdAt' | 'updatedAt'> {
  readonly hasSecret: boolean
  /** ISO 8601. */
  readonly createdAt: string
  readonly updatedAt: string
}

export interface ClientWithSecret {
  readonly client: ClientView
  /** Shown this once: only its hash is kept. `undefined` where none was generated. */
  readonly secret: string | undefined
  readonly warnings: readonly Finding[]
}

/** Each names a client by id, and throws `not_found` where there is none. */
export interface ClientOperations {
  /**
   * Generates a secret where the method needs one and none was chosen. Throws `conflict`,
   * `invalid_input`.
   */
  add(client: NewClient, chosenSecret: string | undefined): Promise<ClientWithSecret>
  list(): Promise<readonly ClientView[]>
  show(id: string): Promise<ClientView>
  /**
   * The old secret is refused from now on. `revokes`: somebody else may have had it, so what the client
   * was issued ends as well, its grants too. Throws `conflict` where somebody else changes the client.
   */
  rotateSecret(
    id: string,
    chosenSecret: string | undefined,
    options?: { readonly revokes: boolean },
  ): Promise<ClientWithSecret>
  /**
   * A disabled client gets nothing, and what it was issued ends, the grants that people gave it too: they
   * do not come back. Throws `conflict` where somebody else changes the client.
   */
  setDisabled(id: string, disabled: boolean): Promise<ClientView>
  /** Removes the client, and ends what hangs on it. */
  remove(id: string): Promise<ClientView>
}

export interface ClientCollaborators {
  readonly clients: ClientStore
  readonly hasher: PasswordHasher
  readonly clock: Clock
  readonly events: Events
}

export interface ClientOptions {
  readonly config: Pick<Config, 'resources' | 'clients' | 'mtls'>
  /** The configuration file, for refusals. */
  readonly file: string | undefined
}

export function createClientOperations(
  { clients, hasher, clock, events }: ClientCollaborators,
  { config, file }: ClientOptions,
): ClientOperations {
  const declared = new Set(config.clients.map(({ id }) => id))

  const find = async (id: string): Promise<Client> => {
    const client = await clients.findById(id)
    if (client) return client
    throw new PortreeveError('not_found', `There is no client ${echo(id)}.`)
  }
  const makeSecret = async (chosen: string | undefined) => {
    if (chosen === undefined) {
      const { secret, hash } = generateClientSecret()
      return { secret, secretHash: hash }
    }
    const fault = judgeClientSecret(chosen)
    if (fault !== undefined) throw refuseInput([{ path: ['secret'], message: fault }])
    return { secret: undefined, secretHash: await hashChosenSecret(chosen, hasher) }
  }
  /** Refuses where somebody else was faster: then it keeps what it has. */
  const change = async (
    { id, updatedAt }: Client,
    changed: Client,
    { action, endsAccess, kept }: { action: string; endsAccess: boolean; kept: string },
  ) => {
    const update = endsAccess ? clients.updateAndEndAccess : clients.update
    if (!(await update(changed, updatedAt))) {
      await find(id)
      const message = `The client ${id} has just been changed by somebody else, and keeps ${kept}: look at it (npx portreeve clients show ${id}), then do this again.`
      throw new PortreeveError('conflict', message)
    }
    events.objectChanged({ kind: 'client', action, id, by: 'operator' })
  }

  return {
    async add(input, chosen) {
      const parsed = parseInput(newClientSchema, input, ['clients', 0])
      const needsSecret = usesSecret(parsed.authMethod)
      const hasSecret = chosen !== undefined || needsSecret
      const warnings = refuseFindings([
        ...checkClient({ ...parsed, hasSecret }, config.resources),
        ...checkCertificateUse(parsed, config.mtls),
      ])
      if (declared.has(parsed.id)) throw refuseReadOnly(`The client ${parsed.id}`, file)
      const { secret, secretHash } = needsSecret
        ? await makeSecret(chosen)
        : { secret: undefined, secretHash: undefined }
      const now = clock.now()
      const client: Client = {
        ...parsed,
        name: parsed.name ?? parsed.id,
        defaultResource: parsed.defaultResource,
        secretHash,
        disabled: false,
        owner: 'operator',
        createdAt: now,
        updatedAt: now,
      }
      if (!(await clients.insert(client))) {
        const remedy = `Choose another id, or remove it first: its secret goes with it, and so do the grants that people gave it (npx portreeve clients remove ${client.id}).`
        throw new PortreeveError('conflict', `There is a client ${client.id} already. ${remedy}`)
      }
      events.objectChanged({ kind: 'client', action: 'added', id: client.id, by: 'operator' })
      return { client: viewClient(client), secret, warnings }
    },
    list: async () => (await clients.list()).map(viewClient),
    show: async (id) => viewClient(await find(id)),
    async rotateSecret(id, chosen, { revokes } = { revokes: false }) {
      const client = await find(id)
      if (client.owner === 'file') throw refuseReadOnly(`The client ${id}`, file)
      if (!usesSecret(client.authMethod)) {
        const message = `The client ${id} has no secret: its method is "${client.authMethod}".`
        throw new PortreeveError('invalid_input', message)
      }
      const { secret, secretHash } = await makeSecret(chosen)
      const changed = { ...client, secretHash, updatedAt: dateChange(clock, client) }
      const action = revokes ? 'secret_rotated_and_revoked' : 'secret_rotated'
      await change(client, changed, { action, endsAccess: revokes, kept: 'its secret' })
      return { client: viewClient(changed), secret, warnings: [] }
    },
    async setDisabled(id, disabled) {
      const client = await find(id)
      if (client.owner === 'file') throw refuseReadOnly(`The client ${id}`, file)
      if (client.disabled === disabled) return viewClient(client)
      const changed = { ...client, disabled, updatedAt: dateChange(clock, client) }
      const action = disabled ? 'disabled' : 'enabled'
      const kept = disabled ? 'its access' : 'being disabled'
      await change(client, changed, { action, endsAccess: disabled, kept })
      return viewClient(changed)
    },
    async remove(id) {
      const client = await find(id)
      const isLeftOver = client.disabled && !declared.has(id)
      if (client.owner === 'file' && !isLeftOver) throw refuseReadOnly(`The client ${id}`, file)
      await clients.remove(id)
      events.objectChanged({ kind: 'client', action: 'removed', id, by: 'operator' })
      return viewClient(client)
    },
  }
}

function viewClient({ secretHash, createdAt, updatedAt, ...client }: Client): ClientView {
  return {
    ...client,
    hasSecret: secretHash !== undefined,
    createdAt: formatTime(createdAt),
    updatedAt: formatTime(updatedAt),
  }
}

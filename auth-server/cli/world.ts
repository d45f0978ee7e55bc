import type { AccountStore } from '../accounts/account.ts'
import type { DatabaseFiles } from '../admin/backup.ts'
import type { TransferStore } from '../admin/transfer.ts'
import type { ApiKeyStore } from '../api-keys/api-key.ts'
import type { AuditStore } from '../audit/audit.ts'
import type { ClientStore } from '../clients/client.ts'
import type { RegistrationStore } from '../clients/registration.ts'
import type { Clock } from '../clock.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { Environment } from '../config/secrets.ts'
import type { KeyStore } from '../keys/keyset.ts'
import type { AccessStore } from '../revocation/access.ts'
import type { ReceiverStore } from '../revocation/receiver.ts'
import type { RevocationStore } from '../revocation/revocation.ts'
import { createStyle, type Style } from './style.ts'

/** Everything outside of the program that the command line touches. */
export interface World {
  readonly version: string
  readonly environment: Environment
  readonly clock: Clock
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  readonly files: DatabaseFiles
  readonly openStores: (url: string, clock: Clock) => Promise<CliStores>
  readonly createAuthServer: (loaded: LoadedConfig) => Promise<RunningServer>
  /** Resolves when the process is asked to stop. From this call on it no longer ends by itself. */
  readonly waitForStop: () => Promise<void>
}

export interface CliStores extends AsyncDisposable {
  readonly access: AccessStore
  readonly accounts: AccountStore
  readonly apiKeys: ApiKeyStore
  readonly audit: AuditStore
  readonly clients: ClientStore
  readonly keys: KeyStore
  readonly receivers: ReceiverStore
  readonly registrations: RegistrationStore
  readonly revocations: RevocationStore
  readonly transfer: TransferStore
}

export interface RunningServer extends AsyncDisposable {
  readonly issuer: string
  /** Where it listens. */
  readonly url: string
  /** Where it listens for clients that show certificates, if they may, and what they call it by. */
  readonly mtlsUrl: string | undefined
  readonly mtlsOrigin: string | undefined
  /** Where Prometheus gets the metrics, if they are wanted. */
  readonly metricsUrl: string | undefined
  /** Where tokens are given without OAuth, if they are. */
  readonly directUrls: Readonly<Record<'secrets' | 'unauthenticated', string | undefined>>
  /** What an operator should know of what it works with. */
  readonly warnings: readonly string[]
}

/** What a stream can show: colours, and so many columns where it is a terminal and says how many. */
export function styleFor(stream: NodeJS.WriteStream, environment: Environment): Style {
  const { isTTY, columns } = stream
  return createStyle(wantsColours(stream, environment), isTTY && columns > 0 ? columns : undefined)
}

/** Colours are for terminals, and for those who have not said no (https://no-color.org). */
export function wantsColours(stream: NodeJS.WriteStream, { NO_COLOR: no }: Environment): boolean {
  return stream.isTTY && (no === undefined || no === '')
}

import type { AuditRecorder } from './audit/recorder.ts'
import type { Clock } from './clock.ts'
import type { LoadedConfig } from './config/load.ts'
import type { Events } from './events.ts'
import type { Logger } from './log.ts'
import type { Mtls } from './places.ts'
import type { Stores } from './storage/stores.ts'

/** What is opened before anything is put together. */
export interface Services {
  readonly loaded: LoadedConfig
  readonly issuer: string
  readonly mtls: Mtls | undefined
  readonly nameServers: readonly string[] | undefined
  readonly keys: { readonly rootKey: Buffer; readonly sealKey: Buffer }
  readonly stores: Stores
  readonly audit: AuditRecorder
  readonly events: Events
  readonly clock: Clock
  readonly log: Logger
}

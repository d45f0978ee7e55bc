import { createAuditKey, requireSameKey, type AuditEvent, type AuditKey } from '../audit/audit.ts'
import { createAuditRecorder, type AuditRecorder } from '../audit/recorder.ts'
import type { Clock } from '../clock.ts'
import type { LoadedConfig } from '../config/load.ts'
import { PortreeveError } from '../errors.ts'
import { createRootKey, readRootKey } from '../keys/root-key.ts'
import { deriveKey, parseRootKey } from '../keys/seal.ts'
import type { Logger } from '../log.ts'
import type { CliStores } from './world.ts'

/** What a command does is recorded before it says that it is done. */
export interface AuditedCommand {
  /** The same store, which changes nothing before there is what it takes to record that. */
  guard<Store extends object>(store: Store): Store
  record(event: AuditEvent): void
  /** Throws where what was done could not be recorded. */
  finish(): Promise<void>
}

/** Reads the root key only where something is about to be changed. */
export function createAuditedCommand(
  loaded: LoadedConfig,
  { audit: store, keys }: Pick<CliStores, 'audit' | 'keys'>,
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
): AuditedCommand {
  let opening: Promise<void> | undefined
  let recorder: AuditRecorder | undefined
  const open = async () => {
    const rootKey = await readRootKey(loaded, log)
    const key = toAuditKey(rootKey ?? (await createRootKey(loaded, { keys, audit: store })))
    await requireSameKey(store, key)
    recorder = createAuditRecorder({ store, key, clock, log })
  }
  return {
    guard: (port) => beforeChanges(port, () => (opening ??= open())),
    record(event) {
      if (!recorder) throw new TypeError('something was changed past the guard of its store')
      recorder.record(event)
    },
    async finish() {
      try {
        await recorder?.flush()
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause)
        const message = `It was done, but could not be recorded in the audit log: ${reason}`
        throw new PortreeveError('storage_failed', message, { cause })
      }
    },
  }
}

/** The key of the audit log. Only reads: a root key that is missing is not what the log was written under. */
export async function readAuditKey({ config, readSecret }: LoadedConfig): Promise<AuditKey> {
  const text = await readSecret(config.rootKey, ['rootKey'])
  if (text.ok) return toAuditKey(parseRootKey(text.value.trim()))
  throw new PortreeveError('misconfigured', `rootKey: ${text.reason.message}`)
}

function toAuditKey(rootKey: Buffer): AuditKey {
  return createAuditKey(deriveKey(rootKey, 'audit'))
}

/** Whatever is not known only to read is taken to change something. */
function beforeChanges<Port extends object>(port: Port, work: () => Promise<void>): Port {
  const methods = Object.entries(port as Record<string, (...args: unknown[]) => unknown>)
  const guarded = methods.map(([name, method]) => [
    name,
    /^(?:find|list)/.test(name)
      ? method
      : async (...args: unknown[]) => {
          await work()
          return method(...args)
        },
  ])
  return Object.fromEntries(guarded) as Port
}

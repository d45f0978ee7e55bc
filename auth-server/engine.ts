import { isSecretAlgorithm, type Config, type SigningAlgorithm } from './config/schema.ts'
import { describeFeed } from './feed/listeners.ts'
import { createKeyRingSource, type KeyRing } from './keys/keyring.ts'
import { createMissingKeys } from './keys/rotation.ts'
import { deriveKey } from './keys/seal.ts'
import { tendKeys } from './keys/upkeep.ts'
import { startKeyWatch } from './keys/watch.ts'
import { createEngineHost, type EngineHost } from './provider/host.ts'
import { createIssuedTokens, type IssuedTokens } from './provider/issued-token.ts'
import { buildProvider } from './provider/provider.ts'
import type { Services } from './services.ts'

/** What it is built from that is not among the services. */
type EngineParts = Pick<
  Parameters<typeof buildProvider>[0],
  | 'beginIssuance'
  | 'readTime'
  | 'clients'
  | 'lastUses'
  | 'documents'
  | 'catalogue'
  | 'pages'
  | 'requestId'
  | 'verifySecret'
  | 'verifyApiKey'
  | 'userCodes'
  | 'polls'
  | 'cibaPaces'
  | 'subjectOf'
  | 'outbound'
>

/** The engine, which is built anew whenever other keys are in force. */
export interface Engine {
  readonly host: EngineHost
  /** What it signs with now. */
  readonly signingKeys: () => KeyRing['signing']
  readonly publishedKeys: () => KeyRing['published']
  /** Reads what those keys have signed. */
  readonly issuedTokens: () => IssuedTokens
  /** Called whenever other keys are in force. */
  readonly onKeys: (listener: () => void) => void
  /** Keeps the engine's keys as they are in the store. */
  readonly watchKeys: () => AsyncDisposable
}

/** Makes the keys that are missing, and the engine with all that are there. */
export async function openEngine(services: Services, parts: EngineParts): Promise<Engine> {
  const { loaded, issuer, stores, events, clock, log } = services
  const { config } = loaded
  const { rootKey, sealKey } = services.keys
  const { models, revocations, registrations, accounts, keys } = stores
  const records = { models, revocations, registrations, accounts }
  const collaborators = { ...parts, ...records, events, log, clock }
  const keyCollaborators = { keys, sealKey, clock, events }
  await createMissingKeys(keyCollaborators, algorithmsOf(config))
  const ring = createKeyRingSource(keys, sealKey, { clock, log })
  let current: Pick<KeyRing, 'signing' | 'published'> = { signing: [], published: [] }
  const listeners: (() => void)[] = []
  const host = await createEngineHost(() =>
    ring.load((loadedKeys) => {
      current = loadedKeys
      return buildProvider(collaborators, {
        issuer,
        tokens: config.tokens,
        trustedIssuers: config.trustedIssuers,
        registrationEndpoint: config.registration && `${issuer}/register`,
        mtls: services.mtls,
        revocationFeed: describeFeed(issuer),
        keys: loadedKeys,
        cookieKey: deriveKey(rootKey, 'cookies').toString('base64url'),
        dpopNonceKey: deriveKey(rootKey, 'dpop-nonce'),
        noticeKey: deriveKey(rootKey, 'ciba-notice'),
        identifierKeys: {
          grantId: deriveKey(rootKey, 'grant-id'),
          userCode: deriveKey(rootKey, 'user-code'),
          refreshSuccessor: deriveKey(rootKey, 'refresh-successor'),
        },
      })
    }),
  )
  const watchKeys = () =>
    startKeyWatch({
      keys,
      isCurrent: ring.isCurrent,
      async apply() {
        await host.rebuild()
        for (const listener of listeners) listener()
      },
      tend: (states) => tendKeys(keyCollaborators, states, config.keys),
      clock,
      log,
    })
  return {
    host,
    signingKeys: () => current.signing,
    publishedKeys: () => current.published,
    issuedTokens: () =>
      createIssuedTokens(collaborators, {
        issuer,
        keys: current.published,
        userinfoAudience: `${issuer}/userinfo`,
      }),
    onKeys: (listener) => void listeners.push(listener),
    watchKeys,
  }
}

/** ES256 for access tokens and RS256 for ID tokens are always there. */
const ALWAYS: readonly SigningAlgorithm[] = ['ES256', 'RS256']

function algorithmsOf({ resources }: Config): readonly SigningAlgorithm[] {
  const wanted = resources.flatMap(({ algorithm }) =>
    isSecretAlgorithm(algorithm) ? [] : [algorithm],
  )
  return [...new Set([...ALWAYS, ...wanted])]
}

import { randomInt } from 'node:crypto'
import type { JWK } from 'jose'
import { makeSecret } from './known-secrets.ts'
import { describeErin, describePlanner } from './planner.ts'
import { PUBLISHER } from './publisher.ts'
import {
  describeDirectAccess,
  describeSmallClients,
  describeSmallResources,
  describeSmallUsers,
  SMALL_ROLES,
} from './small-systems.ts'
import { CERTIFICATE_NAME, type TlsPaths } from './tls-places.ts'

/** The people, roles, APIs and applications of the demonstration, for `run` and `start` alike. */

export type Username = 'alice' | 'bob' | 'admin'
export type SecretName =
  | 'ALICE_PASSWORD'
  | 'BOB_PASSWORD'
  | 'ADMIN_PASSWORD'
  | 'ROBOT_SECRET'
  | 'WEB_SECRET'
  | 'ARCHIVE_SECRET'
  | 'DESK_SECRET'
  | 'ASSISTANT_SECRET'
  | 'PRINTER_SECRET'
  | 'FEED_SECRET'
  | 'ERIN_PASSWORD'

/** The clients that sign with keys of their own. */
export type KeyName = 'ledger' | 'bank'

export const NOTES = 'https://notes.example/'
/** Also accepted by the notes API; its tokens live for two seconds. */
export const BRIEF = 'https://brief.example/'
export const BILLING = 'https://billing.example/'
export const BRIEF_SECONDS = 2
/** How long ago people may have signed in who delete all their notes. */
export const FRESH_SECONDS = 3

/** The APIs themselves, which follow what the server revokes. */
export const FEED_CLIENT = 'portreeve-apis'
export const DEMO_CLIENT = 'portreeve-demo'
export const ROBOT_CLIENT = 'notes-robot'
export const WEB_CLIENT = 'portreeve-web'
export const ARCHIVE_CLIENT = 'notes-archive'
export const POCKET_CLIENT = 'notes-pocket'
export const SCREEN_CLIENT = 'notes-screen'
export const DESK_CLIENT = 'help-desk'
export const VAULT_CLIENT = 'notes-vault'
export const LEDGER_CLIENT = 'notes-ledger'
export const BANK_CLIENT = 'notes-bank'
export const PRINTER_CLIENT = 'print-shop'
/** What people agree to in detail before notes go anywhere. */
export const EXPORT_TYPE = 'notes_export'
/** An API that calls the notes API for the people who call it. */
export const ASSISTANT = 'https://assistant.example/'
export const ASSISTANT_CLIENT = 'notes-assistant'

export const PEOPLE: readonly {
  readonly username: Username
  readonly secret: SecretName
  /** What the person may do. */
  readonly may: string
}[] = [
  { username: 'alice', secret: 'ALICE_PASSWORD', may: 'reads and writes notes of her own' },
  { username: 'bob', secret: 'BOB_PASSWORD', may: 'reads notes of his own' },
  { username: 'admin', secret: 'ADMIN_PASSWORD', may: 'sees everyone’s notes' },
]

export type Secrets = Readonly<Record<SecretName, string>>

export function makeSecrets(): Secrets {
  return {
    ALICE_PASSWORD: makePassword(),
    BOB_PASSWORD: makePassword(),
    ADMIN_PASSWORD: makePassword(),
    ROBOT_SECRET: makeSecret(),
    WEB_SECRET: makeSecret(),
    ARCHIVE_SECRET: makeSecret(),
    DESK_SECRET: makeSecret(),
    ASSISTANT_SECRET: makeSecret(),
    PRINTER_SECRET: makeSecret(),
    FEED_SECRET: makeSecret(),
    ERIN_PASSWORD: makePassword(),
  }
}

/** For people to type: 74 bits, without what looks alike or is hard to find on a keyboard. */
function makePassword(): string {
  const letters = 'abcdefghjkmnpqrstuvwxyz23456789'
  return Array.from({ length: 15 }, () => letters[randomInt(letters.length)]).join('')
}

export interface Place {
  readonly issuer: string
  /** 0 takes a free one. */
  readonly port: number
  /** Where the web demo answers; `undefined` where it does not run. */
  readonly webUrl?: string
  /** Where flows receive people back; `undefined` where none run. */
  readonly callbackUrl?: string
  /** What the publisher of apps signs with; `undefined` where there is none. */
  readonly publisherKey?: JWK
  /** The public keys of clients that sign; `undefined` where no flow runs. */
  readonly keys?: Readonly<Record<KeyName, JWK>> | undefined
  /** Where it finds what it needs to speak TLS; `undefined` where no flow shows certificates. */
  readonly tls?: TlsPaths | undefined
}

const PERSONAL_SCOPES = ['openid', 'profile', 'email', 'offline_access']
const NOTE_SCOPES = ['notes:read', 'notes:write']

/** The configuration of the auth server: see docs/configuration.md. */
export function describeDemo({
  issuer,
  port,
  webUrl,
  callbackUrl,
  publisherKey,
  keys,
  tls,
}: Place): Readonly<Record<string, unknown>> {
  return {
    issuer,
    listen: { host: '127.0.0.1', port },
    database: { url: 'sqlite:portreeve.sqlite' },
    rootKey: { file: 'portreeve.key' },
    roles: {
      reader: { scopes: ['notes:read'] },
      editor: { scopes: NOTE_SCOPES },
      admin: { scopes: NOTE_SCOPES },
      ...(callbackUrl ? SMALL_ROLES : {}),
    },
    resources: [
      ...describeResources(),
      ...(callbackUrl ? [describeAssistantApi(), ...describeSmallResources()] : []),
    ],
    clients: [
      describeDemoClient(),
      describeRobot(),
      describeFeedClient(),
      ...(webUrl ? [describeWeb(webUrl)] : []),
      ...(callbackUrl ? [...describeFlowClients(callbackUrl), ...describeSmallClients()] : []),
      ...(keys ? [describeLedger(keys.ledger), describeBank(keys.bank)] : []),
      ...(tls ? [describeVault()] : []),
    ],
    ...(tls ? describeMtls(tls) : {}),
    users: [...describeUsers(), ...(callbackUrl ? [describeErin(), ...describeSmallUsers()] : [])],
    ...(callbackUrl ? { ...describeDirectAccess(), ...describeUnknownApps(publisherKey) } : {}),
  }
}

function describeResources(): unknown[] {
  const read = { description: 'Read your notes' }
  return [
    {
      identifier: NOTES,
      name: 'Notes',
      rolesClaim: true,
      scopes: {
        'notes:read': read,
        'notes:write': { description: 'Write, change and delete your notes' },
        'notes:read:all': { description: 'Read everyone’s notes' },
      },
      authorizationDetails: {
        [EXPORT_TYPE]: {
          description: 'Send some of your notes elsewhere',
          scope: 'notes:read',
          members: {
            to: { name: 'To', type: 'text' },
            notes: { name: 'Notes at most', type: 'number' },
          },
        },
      },
    },
    {
      identifier: BRIEF,
      name: `Notes, ${BRIEF_SECONDS} seconds at a time`,
      accessTokenTtlSeconds: BRIEF_SECONDS,
      scopes: { 'notes:read': read },
    },
    {
      identifier: BILLING,
      name: 'Billing',
      scopes: { 'billing:read': { description: 'Read your bills' } },
    },
  ]
}

/** What runs on a person's own machine can keep no secret, and listens on whichever port is free. */
function describeDemoClient(): unknown {
  return {
    id: DEMO_CLIENT,
    name: 'The demonstration client',
    applicationType: 'native',
    authMethod: 'none',
    redirectUris: ['http://127.0.0.1/callback'],
    postLogoutRedirectUris: ['http://127.0.0.1/signed-out'],
    scopes: [...PERSONAL_SCOPES, ...NOTE_SCOPES],
    defaultResource: NOTES,
  }
}

function describeRobot(): unknown {
  return {
    id: ROBOT_CLIENT,
    name: 'A service of its own',
    grants: ['client_credentials'],
    secret: { env: 'ROBOT_SECRET' },
    scopes: ['notes:read', 'billing:read'],
    defaultResource: NOTES,
  }
}

function describeFeedClient(): unknown {
  return {
    id: FEED_CLIENT,
    name: 'The APIs',
    grants: ['client_credentials'],
    secret: { env: 'FEED_SECRET' },
    scopes: ['revocations:read'],
  }
}

function describeWeb(url: string): unknown {
  return {
    id: WEB_CLIENT,
    name: 'Notes on the web',
    secret: { env: 'WEB_SECRET' },
    redirectUris: [`${url}/callback`],
    postLogoutRedirectUris: [`${url}/`],
    backchannelLogoutUri: `${url}/backchannel-logout`,
    scopes: [...PERSONAL_SCOPES, ...NOTE_SCOPES],
    defaultResource: NOTES,
  }
}

/** Each is there for what one flow shows. */
function describeFlowClients(callbackUrl: string): unknown[] {
  return [
    describeArchive(callbackUrl),
    describePocket(),
    describeScreen(),
    describeDesk(),
    describeAssistant(),
    describePrinter(callbackUrl),
    ...describePlanner(),
  ]
}

/** It runs on a server of its own, so it can keep a secret; and it must push its requests. */
function describeArchive(callbackUrl: string): unknown {
  return {
    id: ARCHIVE_CLIENT,
    name: 'The notes archive',
    secret: { env: 'ARCHIVE_SECRET' },
    par: 'required',
    grants: ['authorization_code', 'refresh_token', 'device_code', 'ciba'],
    redirectUris: [callbackUrl],
    scopes: [...PERSONAL_SCOPES, ...NOTE_SCOPES],
    defaultResource: NOTES,
  }
}

/** It can keep no secret, but it has a key that nothing takes out of the device. */
function describePocket(): unknown {
  return {
    id: POCKET_CLIENT,
    name: 'Notes for your pocket',
    applicationType: 'native',
    authMethod: 'none',
    dpop: 'required',
    redirectUris: ['http://127.0.0.1/callback'],
    scopes: [...PERSONAL_SCOPES, ...NOTE_SCOPES],
    defaultResource: NOTES,
  }
}

/** It has neither a browser nor a keyboard. */
function describeScreen(): unknown {
  return {
    id: SCREEN_CLIENT,
    name: 'Notes on the wall',
    applicationType: 'native',
    authMethod: 'none',
    grants: ['device_code', 'refresh_token'],
    scopes: ['openid', 'profile', 'notes:read'],
    defaultResource: NOTES,
  }
}

/** People call it, and it has them asked on their phones. */
function describeDesk(): unknown {
  return {
    id: DESK_CLIENT,
    name: 'The help desk',
    secret: { env: 'DESK_SECRET' },
    grants: ['ciba', 'refresh_token'],
    scopes: ['openid', 'profile', 'notes:read'],
    defaultResource: NOTES,
  }
}

/** It signs what it asks, and wants what it is answered signed. */
function describeLedger(key: JWK): unknown {
  return {
    id: LEDGER_CLIENT,
    name: 'The ledger',
    applicationType: 'native',
    authMethod: 'private_key_jwt',
    jwks: { keys: [key] },
    signedRequests: 'required',
    signedResponses: 'required',
    redirectUris: ['http://127.0.0.1/callback'],
    scopes: [...PERSONAL_SCOPES, ...NOTE_SCOPES],
    defaultResource: NOTES,
  }
}

/** Held to FAPI 2.0, with Message Signing. */
function describeBank(key: JWK): unknown {
  return {
    ...(describeLedger(key) as object),
    id: BANK_CLIENT,
    name: 'The bank of notes',
    profile: 'fapi2',
    par: 'required',
    dpop: 'required',
  }
}

/** It is allowed to send notes elsewhere where somebody has agreed to that in detail. */
function describePrinter(callbackUrl: string): unknown {
  return {
    id: PRINTER_CLIENT,
    name: 'The print shop',
    secret: { env: 'PRINTER_SECRET' },
    redirectUris: [callbackUrl],
    scopes: ['openid', ...NOTE_SCOPES],
    authorizationDetails: [EXPORT_TYPE],
    defaultResource: NOTES,
  }
}

/** It proves who it is by a certificate, and so do its tokens. */
function describeVault(): unknown {
  return {
    id: VAULT_CLIENT,
    name: 'The vault',
    grants: ['client_credentials'],
    authMethod: 'tls_client_auth',
    certificate: { subjectDn: CERTIFICATE_NAME },
    certificateBound: true,
    scopes: ['notes:read'],
    defaultResource: NOTES,
  }
}

function describeMtls({ certificate, key, authorities }: TlsPaths): object {
  return { mtls: { listener: { port: 0, certificate, key: { file: key }, authorities } } }
}

/** Apps of this machine may just come, and others register themselves that an operator has invited. */
function describeUnknownApps(publisherKey: JWK | undefined): object {
  const scopes = ['openid', 'profile', 'notes:read']
  const clientDocuments = { hosts: ['127.0.0.1'], scopes }
  return { clientDocuments, registration: describeRegistration(scopes, publisherKey) }
}

function describeRegistration(scopes: readonly string[], publisherKey: JWK | undefined): unknown {
  if (!publisherKey) return { scopes }
  // Its apps may write as well, where it says so.
  const publisher = {
    issuer: PUBLISHER,
    jwks: { keys: [publisherKey] },
    scopes: ['notes:write'],
  }
  return { scopes, softwareStatements: { issuers: [publisher] } }
}

function describeAssistantApi(): unknown {
  return {
    identifier: ASSISTANT,
    name: 'The assistant',
    scopes: { 'notes:read': { description: 'Read your notes' } },
  }
}

/** It may ask for more by itself than it may for others. */
function describeAssistant(): unknown {
  return {
    id: ASSISTANT_CLIENT,
    name: 'The assistant',
    grants: ['client_credentials', 'token_exchange'],
    secret: { env: 'ASSISTANT_SECRET' },
    scopes: NOTE_SCOPES,
    defaultResource: NOTES,
    introspects: [ASSISTANT],
    exchange: [
      {
        resource: NOTES,
        scopes: NOTE_SCOPES,
        subjects: ['person'],
        from: [ASSISTANT],
        mode: ['delegation', 'impersonation'],
      },
    ],
  }
}

function describeUsers(): unknown[] {
  return [
    {
      username: 'alice',
      password: { env: 'ALICE_PASSWORD' },
      roles: ['editor'],
      profile: { name: 'Alice Adams', email: 'alice@example.com', emailVerified: true },
    },
    {
      username: 'bob',
      password: { env: 'BOB_PASSWORD' },
      roles: ['reader'],
      profile: { name: 'Bob Brown', email: 'bob@example.com' },
    },
    {
      username: 'admin',
      password: { env: 'ADMIN_PASSWORD' },
      roles: ['admin'],
      profile: { name: 'Ada Admin', email: 'admin@example.com' },
    },
  ]
}

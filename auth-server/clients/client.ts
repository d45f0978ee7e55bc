import type {
  AcrValue,
  AssertionAlgorithm,
  ClientAuthMethod,
  ClientEncryptionAlgorithm,
  ClientSigningAlgorithm,
  ContentEncryption,
  EncryptedKind,
  GrantType,
  RequestAlgorithm,
} from '../config/built-in.ts'
import type { CertificateSubject } from '../certificates/subject.ts'
import type { Clock } from '../clock.ts'
import type { ClientOwner } from '../config/schema.ts'

/** How something is encrypted for a client. */
export interface Encryption {
  readonly algorithm: ClientEncryptionAlgorithm
  readonly content: ContentEncryption
}

/** An application that asks for tokens. */
export interface Client {
  /** Public; never equal to an account id or to the audience of a resource. */
  readonly id: string
  /** What people read on the consent page. */
  readonly name: string
  readonly applicationType: 'web' | 'native'
  readonly grants: readonly GrantType[]
  readonly authMethod: ClientAuthMethod
  /** `sha256:<base64url>` of a generated secret, a PHC string of a chosen one. */
  readonly secretHash: string | undefined
  /** Its public keys (RFC 7517 §5); `jwksUri` is where it publishes them instead. */
  readonly jwks?: { readonly keys: readonly Readonly<Record<string, unknown>>[] } | undefined
  readonly jwksUri?: string | undefined
  /** Compared exactly; a native app may use any port on loopback (RFC 8252 §7.3). */
  readonly redirectUris: readonly string[]
  readonly postLogoutRedirectUris: readonly string[]
  /** Pages of its own, for people to read before they agree. */
  readonly links?:
    | {
        readonly home?: string | undefined
        readonly terms?: string | undefined
        readonly policy?: string | undefined
      }
    | undefined
  /** Where it is told of sessions that ended (OpenID Connect Back-Channel Logout 1.0). */
  readonly backchannelLogoutUri?: string | undefined
  /** Its page that ends its session in the browser (OpenID Connect Front-Channel Logout 1.0). */
  readonly frontchannelLogoutUri?: string | undefined
  /** Every scope this client may ever be granted, OpenID Connect's included. */
  readonly scopes: readonly string[]
  /** Assumed when a request names no scope (RFC 6749 §3.3). */
  readonly defaultScopes: readonly string[]
  /** The resource of a request whose scopes and `resource` do not tell. */
  readonly defaultResource: string | undefined
  /** Belongs to the operator: people are not asked for consent (never on loopback or custom schemes). */
  readonly firstParty: boolean
  /** `exempt` only for a confidential client whose software cannot do PKCE. */
  readonly pkce: 'required' | 'exempt'
  /** `required`: it gets only tokens that are bound to a key of its own (RFC 9449). */
  readonly dpop: 'allowed' | 'required'
  /** What its certificate says of it, if it proves itself by one of an authority (RFC 8705 §2.1.2). */
  readonly certificate?: CertificateSubject | undefined
  /** It gets only tokens that are bound to the certificate of its connection (RFC 8705 §3). */
  readonly certificateBound?: boolean | undefined
  /** `required`: it pushes its authorization requests (RFC 9126). */
  readonly par: 'allowed' | 'required'
  /** Held to the FAPI 2.0 Security Profile. */
  readonly profile?: 'fapi2' | undefined
  /** `required`: it signs its authorization requests (RFC 9101). Absent: it may. */
  readonly signedRequests?: 'allowed' | 'required' | undefined
  /** The types of `authorization_details` that it may ask for (RFC 9396). */
  readonly authorizationDetails?: readonly string[] | undefined
  /** `required`: it is answered by signed JWTs only (JARM). Absent: it may ask for them. */
  readonly signedResponses?: 'allowed' | 'required' | undefined
  /**
   * What is signed for it, where it is not RS256; userinfo is not signed where it is absent. What it signs
   * itself (`request`, `assertion`) with, where not anything will do.
   */
  readonly algorithms?:
    | {
        readonly request?: RequestAlgorithm | undefined
        readonly assertion?: AssertionAlgorithm | undefined
        readonly idToken?: ClientSigningAlgorithm | undefined
        readonly userinfo?: ClientSigningAlgorithm | undefined
        readonly response?: ClientSigningAlgorithm | undefined
        readonly introspection?: ClientSigningAlgorithm | undefined
      }
    | undefined
  /** How old a sign-in may be where a request does not say (`max_age`). */
  readonly defaultMaxAgeSeconds?: number | undefined
  /** How people have to be authenticated where a request does not say (`acr_values`). */
  readonly defaultAcrValues?: readonly AcrValue[] | undefined
  /** Its ID tokens always say when the person signed in. */
  readonly authTimeInIdToken?: boolean | undefined
  /** What is encrypted for it, and how. Whatever is not in it goes to it by TLS alone. */
  readonly encryption?: { readonly [Kind in EncryptedKind]?: Encryption | undefined } | undefined
  /** The resources that it is the API behind: it may introspect tokens for them. */
  readonly introspects: readonly string[]
  /** What it may exchange tokens for (RFC 8693). */
  readonly exchange: readonly {
    readonly resource: string
    readonly scopes?: readonly string[] | undefined
    readonly subjects: readonly ('person' | 'service')[]
    readonly from: readonly string[]
    readonly mode: readonly ('impersonation' | 'delegation')[]
  }[]
  /** Whose assertions it may get tokens for (RFC 7523). */
  readonly assertionIssuers: readonly string[]
  /** How it learns what people have decided elsewhere (CIBA); absent: it asks. */
  readonly ciba?:
    | { readonly mode: 'poll' | 'ping'; readonly notificationUri?: string | undefined }
    | undefined
  /** `pairwise`: only the clients of its sector know a person by the same name. Absent: `public`. */
  readonly subjectType?: 'public' | 'pairwise' | undefined
  /** Its host is the sector, where the redirect URIs have several hosts or none. */
  readonly sectorIdentifierUri?: string | undefined
  /** Puts the claims of the granted scopes into the ID token as well as at userinfo. */
  readonly claimsInIdToken: boolean
  /** Origins whose scripts may call the token endpoint (CORS), exact. */
  readonly origins: readonly string[]
  /**
   * What it has said of itself when it registered, by the names of RFC 7591 §2, for nobody here to read:
   * given back as it came.
   */
  readonly selfDescription?: Readonly<Record<string, string | readonly string[]>> | undefined
  /** What somebody else has signed about it (RFC 7591 §2.3), and was found good when it registered. */
  readonly softwareStatement?: string | undefined
  /** Of what its document said when a person has agreed to it: see `document.ts`. */
  readonly document?: { readonly hash: string } | undefined
  readonly disabled: boolean
  readonly owner: ClientOwner
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  readonly updatedAt: number
}

/** Where clients are kept. Each call is one atomic statement. */
export interface ClientStore {
  findById(id: string): Promise<Client | undefined>
  /** Ordered by id. */
  list(): Promise<readonly Client[]>
  /** Two calls for one id, one wins: the other answers `false`. */
  insert(client: Client): Promise<boolean>
  /**
   * Replaces the client with this id. `false` where there is none, or where its `updatedAt` is not
   * `seenAt` (ms) any more: of two calls that have seen the same client one wins.
   */
  update(client: Client, seenAt?: number): Promise<boolean>
  /** The same, and ends its grants and all that it was issued: nothing of either where it is not as seen. */
  updateAndEndAccess(client: Client, seenAt: number): Promise<boolean>
  /** Removes the client and ends its grants. `false` where there is none. */
  remove(id: string): Promise<boolean>
}

/** The `updatedAt` of what has been changed: never that of before, however soon, or nobody could tell. */
export function dateChange(clock: Clock, { updatedAt }: Pick<Client, 'updatedAt'>): number {
  return Math.max(clock.now(), updatedAt + 1)
}

/** Whether it has described itself: nobody here has vouched for it, nor for what it names. */
export function isSelfDescribed({ owner }: Pick<Client, 'owner'>): boolean {
  return owner === 'dynamic' || owner === 'document'
}

type Signed = Pick<Client, 'algorithms' | 'profile'>

/** What its ID tokens and logout tokens are signed with. */
export function chooseIdTokenAlgorithm({ algorithms, profile }: Signed): ClientSigningAlgorithm {
  return algorithms?.idToken ?? chooseDefault(profile)
}

/** What it is told about tokens is signed with, where it asks for that signed (RFC 9701 §6). */
export function chooseIntrospectionAlgorithm(client: Signed): ClientSigningAlgorithm {
  return client.algorithms?.introspection ?? chooseDefault(client.profile)
}

function chooseDefault(profile: Client['profile']): ClientSigningAlgorithm {
  return profile === 'fapi2' ? 'ES256' : 'RS256'
}

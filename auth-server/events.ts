import type { AuditEvent } from './audit/audit.ts'
import type { AuditRecorder } from './audit/recorder.ts'
import type { Logger } from './log.ts'
import { classifyRoute } from './metrics/routes.ts'

/**
 * Everything of business worth knowing, one function each. Whoever causes an event calls its
 * function and knows nothing of logs. No function takes a secret.
 */
export interface Events {
  signedIn(facts: { accountId: string; clientId?: string | undefined }): void
  /** `username` is left out on purpose: people type passwords into that field. */
  signInRefused(facts: { reason: string; accountId?: string | undefined }): void
  signedOut(facts: {
    accountId?: string | undefined
    clientId?: string | undefined
    /** How many sessions, where the person has signed out everywhere else. */
    sessions?: number | undefined
  }): void
  /** Somebody has deleted its key in Redis. */
  sessionDeleted(facts: { accountId?: string | undefined }): void
  /** A client has taken a logout token. `attempts` counts this one, too. */
  logoutDelivered(facts: LogoutFacts): void
  /** It has not, and gets another one later. */
  logoutPostponed(facts: LogoutFacts & { reason: string }): void
  /** It does not get one any more: whoever was signed in there may still be. */
  logoutGivenUp(facts: LogoutFacts & { reason: string }): void
  consentGiven(facts: ConsentFacts): void
  /** The person has taken from the client what it had been allowed. */
  consentWithdrawn(facts: { accountId: string; clientId: string }): void
  consentRefused(facts: { accountId?: string | undefined; clientId: string }): void
  tokenIssued(facts: {
    grantType: string
    clientId: string
    accountId?: string | undefined
    scope?: string | undefined
    /** The API key that it was issued for. */
    keyId?: string | undefined
  }): void
  /** A client got a token for another one. `actor`: who acts, where that is not the subject. */
  tokenExchanged(facts: {
    clientId: string
    accountId?: string | undefined
    subject: string
    actor?: string | undefined
    from: string
    resource: string
    scope: string
  }): void
  /** A client has given back a token of its own; with a refresh token all that hangs on its grant. */
  tokenRevoked(facts: {
    kind: 'AccessToken' | 'RefreshToken'
    clientId: string
    accountId?: string | undefined
    grantId?: string | undefined
  }): void
  /** `detail` is the engine's reason, which the client does not see. */
  requestRefused(facts: {
    endpoint: string
    error: string
    clientId?: string | undefined
    detail?: string | undefined
  }): void
  clientAuthenticationRefused(facts: { clientId: string; reason: string }): void
  apiKeyMade(facts: {
    keyId: string
    accountId: string
    resource: string
    scopes: readonly string[]
    by: 'user' | 'operator'
  }): void
  apiKeyRevoked(facts: { keyId: string; accountId: string; by: 'user' | 'operator' }): void
  /** `keyId` is that of a key that was made once: who shows it has had it. */
  apiKeyRefused(facts: {
    reason: string
    keyId?: string | undefined
    accountId?: string | undefined
    clientId?: string | undefined
  }): void
  /** Somebody has typed a device's code that was not taken. The code is left out on purpose. */
  deviceCodeRefused(facts: { reason: string }): void
  /** A client has asked a person. `outcome`: whether anybody was there to ask, which it is not told. */
  cibaRequested(facts: {
    clientId: string
    accountId?: string | undefined
    outcome: 'waits' | 'unknown' | 'too_many'
  }): void
  cibaApproved(facts: ConsentFacts): void
  cibaRefused(facts: { accountId: string; clientId: string }): void
  /** Whether a client could be told that there is an answer. It may ask all the same. */
  cibaNotified(facts: { clientId: string; outcome: string; detail: string }): void
  /** An API could not use an event of the feed, and says why. */
  revocationUnusable(facts: {
    clientId: string
    name: string
    detail: string
    /** How many more the same request names. */
    others: number
  }): void
  /** An operator has taken access away. `place`: of its entry in the log of revocations. */
  accessRevoked(facts: { kind: string; subject: string; place: number; by: 'operator' }): void
  credentialReused(facts: {
    kind: string
    grantId?: string | undefined
    clientId?: string | undefined
    accountId?: string | undefined
  }): void
  objectChanged(facts: {
    kind: 'user' | 'client' | 'key' | 'invite'
    action: string
    id: string
    /** Of a key. */
    algorithm?: string | undefined
    by: 'file' | 'operator' | 'server' | 'client'
  }): void
}

interface ConsentFacts {
  readonly accountId: string
  readonly clientId: string
  readonly scopes: readonly string[]
  /** Those that came with none of these scopes. */
  readonly claims?: readonly string[]
}

interface LogoutFacts {
  readonly clientId: string
  readonly accountId: string
  readonly attempts: number
}

export type EventName = keyof Events
type FactsOf<Name extends EventName> = Parameters<Events[Name]>[0]

/** What becomes of an event. */
interface Treatment<Facts> {
  /** Its name, in the log and in the audit log. */
  readonly event: string
  readonly level: 'info' | 'warn'
  /** The labels of its metric. Each takes few values, whatever strangers send. */
  readonly labels: Readonly<Record<string, (facts: Facts) => string>>
  /**
   * Who did what or was allowed what; `undefined` where that is nobody, or a stranger has proven
   * nothing and was told nothing.
   */
  readonly audit: (facts: Facts) => Omit<AuditEvent, 'event'> | undefined
}

type Treatments = { readonly [Name in EventName]: Treatment<FactsOf<Name>> }

const GRANT_TYPES = [
  'authorization_code',
  'refresh_token',
  'client_credentials',
  'urn:ietf:params:oauth:grant-type:device_code',
  'urn:openid:params:grant-type:ciba',
  'urn:ietf:params:oauth:grant-type:jwt-bearer',
  'urn:ietf:params:oauth:grant-type:token-exchange',
  'urn:portreeve:params:oauth:grant-type:api-key',
  // Not of OAuth: see `direct-access/issue.ts`.
  'direct:password',
  'direct:api_key',
  'direct:nobody',
]
const ENDPOINTS = [
  'token',
  'pushed_authorization_request',
  'introspection',
  'revocation',
  'authorization',
  'userinfo',
  'end_session',
  'end_session_confirm',
  'resume',
  'device_authorization',
  'code_verification',
  'device_resume',
  'registration',
  'backchannel_authentication',
  'revocations',
]
const CREDENTIALS = [
  'AuthorizationCode',
  'RefreshToken',
  'DeviceCode',
  'BackchannelAuthenticationRequest',
  'PushedAuthorizationRequest',
]
const REVOKED_KINDS = ['token', 'grant', 'session', 'user', 'client', 'all']
const NOTICES = ['told', 'status', 'timeout', 'network', 'address', 'scheme', 'stopped']
const LOGOUT_FAILURES = ['refused', 'status', 'timeout', 'network', 'keys', 'disabled']
const KEY_REFUSALS = [
  'not_a_key',
  'mistyped',
  'unknown',
  'expired',
  'revoked',
  'owner',
  'throttled',
]
/** Of RFC 6749, RFC 6750, RFC 8628, RFC 8707, RFC 9449, OpenID Connect and its CIBA. */
const ERRORS = [
  'access_denied',
  'account_selection_required',
  'authorization_pending',
  'consent_required',
  'expired_token',
  'insufficient_scope',
  'interaction_required',
  'invalid_binding_message',
  'invalid_client',
  'invalid_client_metadata',
  'invalid_dpop_proof',
  'invalid_grant',
  'invalid_redirect_uri',
  'invalid_request',
  'invalid_request_object',
  'invalid_request_uri',
  'invalid_scope',
  'invalid_target',
  'invalid_token',
  'login_required',
  'server_error',
  'slow_down',
  'temporarily_unavailable',
  'unauthorized_client',
  'unmet_authentication_requirements',
  'unsupported_grant_type',
  'unsupported_response_type',
  'use_dpop_nonce',
]

function oneOf(values: readonly string[], value: string): string {
  return values.includes(value) ? value : 'other'
}

/** The one place that decides which event goes where. */
export const TREATMENTS: Treatments = {
  signedIn: {
    event: 'signed_in',
    level: 'info',
    labels: {},
    audit: ({ accountId, clientId }) => ({ by: 'user', accountId, clientId }),
  },
  signInRefused: {
    event: 'sign_in_refused',
    level: 'warn',
    labels: {
      reason: ({ reason }) =>
        oneOf(['throttled', 'busy', 'unknown_user', 'wrong_password', 'disabled'], reason),
    },
    // Guesses at a known account, which the throttle bounds. What it refuses was not looked at, and
    // what is busy is not counted by it.
    audit: ({ reason, accountId }) =>
      accountId === undefined || reason === 'throttled' || reason === 'busy'
        ? undefined
        : { by: 'stranger', accountId, facts: { reason } },
  },
  signedOut: {
    event: 'signed_out',
    level: 'info',
    labels: {},
    audit: ({ accountId, clientId, sessions }) =>
      accountId === undefined
        ? undefined
        : {
            by: 'user',
            accountId,
            clientId,
            ...(sessions !== undefined && { facts: { sessions } }),
          },
  },
  sessionDeleted: {
    event: 'session_deleted',
    level: 'info',
    labels: {},
    // Who deleted it is not known here: the server ends what hung on it.
    audit: ({ accountId }) => (accountId === undefined ? undefined : { by: 'server', accountId }),
  },
  logoutDelivered: {
    event: 'logout_delivered',
    level: 'info',
    labels: {},
    audit: ({ clientId, accountId }) => ({ by: 'server', accountId, clientId }),
  },
  logoutPostponed: {
    event: 'logout_postponed',
    level: 'warn',
    labels: { reason: ({ reason }) => oneOf(LOGOUT_FAILURES, reason) },
    // How it ends is recorded.
    audit: () => undefined,
  },
  logoutGivenUp: {
    event: 'logout_given_up',
    level: 'warn',
    labels: { reason: ({ reason }) => oneOf(LOGOUT_FAILURES, reason) },
    audit: ({ clientId, accountId, reason, attempts }) => ({
      by: 'server',
      accountId,
      clientId,
      facts: { reason, attempts },
    }),
  },
  consentGiven: {
    event: 'consent_given',
    level: 'info',
    labels: {},
    audit: ({ accountId, clientId, scopes, claims }) => ({
      by: 'user',
      accountId,
      clientId,
      facts: { scopes, claims },
    }),
  },
  consentWithdrawn: {
    event: 'consent_withdrawn',
    level: 'info',
    labels: {},
    audit: ({ accountId, clientId }) => ({ by: 'user', accountId, clientId }),
  },
  consentRefused: {
    event: 'consent_refused',
    level: 'info',
    labels: {},
    audit: ({ accountId, clientId }) =>
      accountId === undefined ? undefined : { by: 'user', accountId, clientId },
  },
  tokenIssued: {
    event: 'token_issued',
    level: 'info',
    labels: { grant_type: ({ grantType }) => oneOf(GRANT_TYPES, grantType) },
    audit: ({ grantType, clientId, accountId, scope, keyId }) => ({
      by: 'client',
      accountId,
      clientId,
      facts: { grantType, scope, keyId },
    }),
  },
  tokenExchanged: {
    event: 'token_exchanged',
    level: 'info',
    labels: {},
    audit: ({ accountId, clientId, ...facts }) => ({ by: 'client', accountId, clientId, facts }),
  },
  tokenRevoked: {
    event: 'token_revoked',
    level: 'info',
    labels: { kind: ({ kind }) => kind },
    audit: ({ kind, clientId, accountId, grantId }) => ({
      by: 'client',
      accountId,
      clientId,
      facts: { kind, grantId },
    }),
  },
  requestRefused: {
    event: 'request_refused',
    level: 'warn',
    labels: {
      endpoint: ({ endpoint }) =>
        endpoint.startsWith('/') ? classifyRoute(endpoint) : oneOf(ENDPOINTS, endpoint),
      error: ({ error }) => oneOf(ERRORS, error),
    },
    audit: () => undefined,
  },
  clientAuthenticationRefused: {
    event: 'client_authentication_refused',
    level: 'warn',
    labels: {
      reason: ({ reason }) => oneOf(['throttled', 'wrong_secret', 'same_wrong_secret'], reason),
    },
    // What may come as often as somebody likes would fill it.
    audit: ({ clientId, reason }) =>
      reason === 'wrong_secret' ? { by: 'stranger', clientId, facts: { reason } } : undefined,
  },
  apiKeyMade: {
    event: 'api_key_made',
    level: 'info',
    labels: { by: ({ by }) => by },
    audit: ({ keyId, accountId, resource, scopes, by }) => ({
      by,
      accountId,
      facts: { keyId, resource, scopes },
    }),
  },
  apiKeyRevoked: {
    event: 'api_key_revoked',
    level: 'info',
    labels: { by: ({ by }) => by },
    audit: ({ keyId, accountId, by }) => ({ by, accountId, facts: { keyId } }),
  },
  apiKeyRefused: {
    event: 'api_key_refused',
    level: 'warn',
    labels: { reason: ({ reason }) => oneOf(KEY_REFUSALS, reason) },
    // What has not the form of a key is no guess, and what is throttled was not looked at.
    audit: ({ reason, keyId, accountId, clientId }) =>
      keyId === undefined && reason !== 'unknown'
        ? undefined
        : { by: 'stranger', accountId, clientId, facts: { reason, keyId } },
  },
  revocationUnusable: {
    event: 'revocation_unusable',
    level: 'warn',
    labels: {},
    audit: () => undefined,
  },
  deviceCodeRefused: {
    event: 'device_code_refused',
    level: 'warn',
    labels: {
      reason: ({ reason }) =>
        oneOf(['missing', 'unknown', 'expired', 'used', 'throttled', 'form'], reason),
    },
    audit: () => undefined,
  },
  cibaRequested: {
    event: 'ciba_requested',
    level: 'info',
    labels: { outcome: ({ outcome }) => oneOf(['waits', 'unknown', 'too_many'], outcome) },
    audit: ({ clientId, accountId, outcome }) => ({
      by: 'client',
      accountId,
      clientId,
      facts: { outcome },
    }),
  },
  cibaApproved: {
    event: 'ciba_approved',
    level: 'info',
    labels: {},
    audit: ({ accountId, clientId, scopes, claims }) => ({
      by: 'user',
      accountId,
      clientId,
      facts: { scopes, claims },
    }),
  },
  cibaRefused: {
    event: 'ciba_refused',
    level: 'info',
    labels: {},
    audit: ({ accountId, clientId }) => ({ by: 'user', accountId, clientId }),
  },
  cibaNotified: {
    event: 'ciba_notified',
    level: 'info',
    labels: { outcome: ({ outcome }) => oneOf(NOTICES, outcome) },
    // What was decided is recorded.
    audit: () => undefined,
  },
  credentialReused: {
    event: 'credential_reused',
    level: 'warn',
    labels: { kind: ({ kind }) => oneOf(CREDENTIALS, kind) },
    audit: ({ kind, grantId, clientId, accountId }) => ({
      by: 'client',
      accountId,
      clientId,
      facts: { kind, grantId },
    }),
  },
  accessRevoked: {
    event: 'access_revoked',
    level: 'warn',
    labels: { kind: ({ kind }) => oneOf(REVOKED_KINDS, kind) },
    audit: ({ kind, subject, place, by }) => ({
      by,
      accountId: kind === 'user' ? subject : undefined,
      clientId: kind === 'client' ? subject : undefined,
      facts: { kind, subject, place },
    }),
  },
  objectChanged: {
    event: 'object_changed',
    level: 'info',
    labels: { kind: ({ kind }) => kind, by: ({ by }) => by },
    audit: ({ kind, action, id, algorithm, by }) => ({
      by,
      accountId: kind === 'user' ? id : undefined,
      clientId: kind === 'client' ? id : undefined,
      facts: { kind, action, id, algorithm },
    }),
  },
}

/** Where events go beside the log. */
export interface EventSinks {
  readonly metrics?: EventCounter | undefined
  readonly audit?: Pick<AuditRecorder, 'record'> | undefined
}

/** Counts an event. `labels` has exactly those of its treatment. */
export interface EventCounter {
  count(name: EventName, labels: Readonly<Record<string, string>>): void
}

/**
 * Writes every event as one log line whose `event` member names it, counts it, and records it for the
 * audit where it belongs there. None of this makes the caller wait, or throws.
 */
export function createEvents(log: Logger, { metrics, audit }: EventSinks = {}): Events {
  const announce = <Name extends EventName>(name: Name) => {
    const { event, level, labels, audit: judge }: Treatment<FactsOf<Name>> = TREATMENTS[name]
    return (facts: FactsOf<Name>): void => {
      log[level]({ event, ...facts })
      const chosen = Object.entries(labels).map(
        ([label, choose]) => [label, choose(facts)] as const,
      )
      metrics?.count(name, Object.fromEntries(chosen))
      const record = judge(facts)
      if (record) audit?.record({ event, ...record })
    }
  }
  return {
    signedIn: announce('signedIn'),
    signInRefused: announce('signInRefused'),
    signedOut: announce('signedOut'),
    sessionDeleted: announce('sessionDeleted'),
    logoutDelivered: announce('logoutDelivered'),
    logoutPostponed: announce('logoutPostponed'),
    logoutGivenUp: announce('logoutGivenUp'),
    consentGiven: announce('consentGiven'),
    consentWithdrawn: announce('consentWithdrawn'),
    consentRefused: announce('consentRefused'),
    tokenIssued: announce('tokenIssued'),
    tokenExchanged: announce('tokenExchanged'),
    tokenRevoked: announce('tokenRevoked'),
    requestRefused: announce('requestRefused'),
    clientAuthenticationRefused: announce('clientAuthenticationRefused'),
    apiKeyMade: announce('apiKeyMade'),
    apiKeyRevoked: announce('apiKeyRevoked'),
    apiKeyRefused: announce('apiKeyRefused'),
    revocationUnusable: announce('revocationUnusable'),
    deviceCodeRefused: announce('deviceCodeRefused'),
    cibaRequested: announce('cibaRequested'),
    cibaApproved: announce('cibaApproved'),
    cibaRefused: announce('cibaRefused'),
    cibaNotified: announce('cibaNotified'),
    accessRevoked: announce('accessRevoked'),
    credentialReused: announce('credentialReused'),
    objectChanged: announce('objectChanged'),
  }
}

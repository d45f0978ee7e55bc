import type { Logger } from './log.ts'

/**
 * Everything of business worth knowing, one function each. Whoever causes an event calls its
 * function and knows nothing of logs. No function takes a secret.
 */
export interface Events {
  signedIn(facts: { accountId: string; clientId?: string | undefined }): void
  /** `username` is left out on purpose: people type passwords into that field. */
  signInRefused(facts: { reason: string; accountId?: string | undefined }): void
  signedOut(facts: { accountId?: string | undefined; clientId?: string | undefined }): void
  consentGiven(facts: { accountId: string; clientId: string; scopes: readonly string[] }): void
  consentRefused(facts: { accountId?: string | undefined; clientId: string }): void
  tokenIssued(facts: {
    grantType: string
    clientId: string
    accountId?: string | undefined
    scope?: string | undefined
  }): void
  /** `detail` is the engine's reason, which the client does not see. */
  requestRefused(facts: {
    endpoint: string
    error: string
    clientId?: string | undefined
    detail?: string | undefined
  }): void
  clientAuthenticationRefused(facts: { clientId: string; reason: string }): void
  credentialReused(facts: { kind: string; grantId?: string | undefined }): void
  objectChanged(facts: {
    kind: 'user' | 'client' | 'key'
    action: string
    id: string
    by: 'file' | 'operator' | 'server'
  }): void
}

/** Writes every event as one log line whose `event` member names it. */
export function createEvents(log: Logger): Events {
  const info = (event: string) => (facts: object) => log.info({ event, ...facts })
  const warn = (event: string) => (facts: object) => log.warn({ event, ...facts })
  return {
    signedIn: info('signed_in'),
    signInRefused: warn('sign_in_refused'),
    signedOut: info('signed_out'),
    consentGiven: info('consent_given'),
    consentRefused: info('consent_refused'),
    tokenIssued: info('token_issued'),
    requestRefused: warn('request_refused'),
    clientAuthenticationRefused: warn('client_authentication_refused'),
    credentialReused: warn('credential_reused'),
    objectChanged: info('object_changed'),
  }
}

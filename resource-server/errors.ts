/** An expected refusal as a value. */
export type Result<T, Reason> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: Reason }

/**
 * What went wrong between a verifier and its issuer. `unreachable`: no answer. `timed_out`: no whole
 * answer in time. `bad_answer`: an answer that cannot be used. `issuer_mismatch`: metadata that
 * belongs to another issuer. `insecure_url`: keys that would come over a connection that anyone on
 * the way can change. `turned_away`: it answered that it does not serve this API, or not now.
 */
export type IssuerErrorCode =
  | 'unreachable'
  | 'timed_out'
  | 'bad_answer'
  | 'issuer_mismatch'
  | 'insecure_url'
  | 'turned_away'

/** Why the issuer could not be asked. It is for the operator: what the caller reads is a 503. */
export class IssuerError extends Error {
  override readonly name = 'IssuerError'
  readonly code: IssuerErrorCode

  /** `cause` carries `{ expected, actual }` where a comparison failed, or the underlying error. */
  constructor(code: IssuerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Why a token is not accepted. What the facts quote comes from a stranger until `bad_signature`. */
export type TokenRefusal =
  | { readonly kind: 'malformed'; readonly part: TokenPart; readonly why: string }
  | { readonly kind: 'critical_header'; readonly actual: unknown }
  | { readonly kind: 'wrong_type'; readonly expected: readonly string[]; readonly actual: unknown }
  | { readonly kind: 'unsupported_algorithm'; readonly actual: unknown }
  | { readonly kind: 'unknown_key'; readonly keyId: string | undefined }
  | { readonly kind: 'ambiguous_key'; readonly keyId: string | undefined }
  | { readonly kind: 'wrong_algorithm'; readonly expected: string; readonly actual: string }
  | { readonly kind: 'bad_signature'; readonly keyId: string | undefined }
  /** Of a verifier for several issuers: the token says that it is from none of them. */
  | { readonly kind: 'unknown_issuer'; readonly expected: readonly string[] }
  | { readonly kind: 'revoked' }
  /** What is revoked is not known just now, and then only younger tokens are taken. */
  | {
      readonly kind: 'not_young'
      readonly maxAgeSeconds: number
      readonly iat: number | undefined
      readonly now: number
    }
  /** The issuer was asked, and says that it is not good, without a reason (RFC 7662 §2.2). */
  | { readonly kind: 'inactive' }
  | ClaimRefusal
  | KeysUnavailable
  | IntrospectionUnavailable
  | RevocationsUnavailable

export type TokenPart = 'token' | 'header' | 'payload' | 'signature'

/** Why the claims of a token that the issuer did sign are not accepted. */
export type ClaimRefusal =
  | { readonly kind: 'missing_claim'; readonly claim: string }
  | { readonly kind: 'malformed_claim'; readonly claim: string; readonly expected: string }
  | { readonly kind: 'wrong_issuer'; readonly expected: string; readonly actual: string }
  | {
      readonly kind: 'wrong_audience'
      readonly expected: readonly string[]
      readonly actual: readonly string[]
    }
  | { readonly kind: 'expired'; readonly exp: number; readonly now: number }
  | {
      readonly kind: 'not_yet_valid'
      readonly claim: 'nbf' | 'iat'
      readonly value: number
      readonly now: number
    }
  | { readonly kind: 'sender_constrained' }
  | { readonly kind: 'not_an_access_token'; readonly claim: string }

/** Nothing can be said about the token, because the issuer's keys cannot be had. */
export interface KeysUnavailable {
  readonly kind: 'keys_unavailable'
  /** When the next attempt is due. */
  readonly retryAfterSeconds: number
  readonly cause: Error | undefined
}

/** Nothing can be said about the token, because the issuer cannot be asked about it. */
export interface IntrospectionUnavailable {
  readonly kind: 'introspection_unavailable'
  readonly retryAfterSeconds: number
  readonly cause: Error | undefined
}

/** Whether the token has been revoked cannot be said. */
export interface RevocationsUnavailable {
  readonly kind: 'revocations_unavailable'
  readonly retryAfterSeconds: number
  readonly cause: Error | undefined
}

/** Why whoever sent a token is not shown to be whom it was issued to, or has to show it again. */
export type SenderRefusal =
  | {
      readonly kind: 'invalid_dpop_proof'
      /** What of the proof is wrong: `form`, or a member of its header or payload. */
      readonly part: DpopProofPart
      readonly expected: unknown
      readonly actual: unknown
    }
  /** The proof holds no nonce of ours, or an old one. `nonce`: the one to use. */
  | { readonly kind: 'use_dpop_nonce'; readonly nonce: string }
  /** Whether a proof is new cannot be said, because the store of used ones does not answer. */
  | {
      readonly kind: 'replays_unavailable'
      readonly retryAfterSeconds: number
      readonly cause: Error | undefined
    }
  | {
      readonly kind: 'insufficient_user_authentication'
      /** One of these would do; empty: any. */
      readonly acrValues: readonly string[]
      /** How long ago the person may have signed in at most. */
      readonly maxAgeSeconds: number | undefined
    }

export type DpopProofPart =
  | 'form'
  | 'typ'
  | 'alg'
  | 'crit'
  | 'jwk'
  | 'signature'
  | 'jti'
  | 'htm'
  | 'htu'
  | 'iat'
  | 'ath'

/** Why a request is not let through. */
export type Refusal =
  | TokenRefusal
  | SenderRefusal
  | { readonly kind: 'no_token' }
  | { readonly kind: 'malformed_request'; readonly why: string }
  | {
      readonly kind: 'insufficient_scope'
      readonly needed: readonly string[]
      readonly missing: readonly string[]
    }
  | { readonly kind: 'insufficient_role'; readonly oneOf: readonly string[] }
  /** The route wants a token that is bound to its sender, and this one is not. */
  | { readonly kind: 'not_sender_constrained'; readonly expected: string }
  /** What the route's schema of claims says about them. */
  | { readonly kind: 'wrong_claims'; readonly issues: readonly string[] }
  /** The route's own rule says that this is not theirs. */
  | { readonly kind: 'not_owner' }

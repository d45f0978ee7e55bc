export { createVerifier } from './verifier.ts'
export type {
  CacheOptions,
  CommonVerifierOptions,
  IssuerOptions,
  SeveralIssuersOptions,
  VerifierOptions,
} from './verifier.ts'
export { createSharedSecretVerifier } from './shared-secret.ts'
export type { SharedSecretOptions } from './shared-secret.ts'
export type { Revocations } from './authority.ts'
export type {
  Authenticated,
  AuthenticateOptions,
  ConnectionMemo,
  IssuerState,
  MaybePromise,
  Verifier,
  VerifyOptions,
} from './token-verifier.ts'
export type { Check, CheckName, Decision, Source, Trace } from './decision.ts'
export { createGuard } from './guard.ts'
export type { Guard, GuardDecision, GuardOptions } from './guard.ts'
export type { RoutePolicy } from './policy.ts'
export type { Binding, SenderOptions } from './sender.ts'
export type { ClaimsSchema, SchemaIssue, SchemaResult } from './schema.ts'
export { fromAuthorization, fromBodyField, fromHeader, fromOneOf } from './extractors.ts'
export type { FoundToken, RequestFacts, TokenExtractor } from './extractors.ts'
export { assertProtected, createProtect, publicRoute } from './koa.ts'
export type { AuthState, Protect, ProtectOptions, RouterLike } from './koa.ts'
export { createCounters } from './counters.ts'
export type { Counters } from './counters.ts'
export type { AccessTokenClaims, Auth } from './claims.ts'
export type { Clock } from './clock.ts'
export { IssuerError } from './errors.ts'
export type {
  ClaimRefusal,
  IssuerErrorCode,
  KeysUnavailable,
  Refusal,
  Result,
  TokenPart,
  TokenRefusal,
} from './errors.ts'

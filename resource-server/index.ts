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
export { createIntrospectionVerifier } from './introspection.ts'
export type { IntrospectionOptions } from './introspection.ts'
export type {
  FollowedRevocations,
  Pulse,
  Revocations,
  RevocationState,
  WatchedKeys,
} from './revocations.ts'
export { createRevocationFeed } from './revocation-feed.ts'
export type { RevocationFeed, RevocationFeedOptions } from './revocation-feed.ts'
export type { FeedClientOptions, PrivateJwk } from './feed-client.ts'
export type { Authorize } from './authorization.ts'
export { young } from './staleness.ts'
export type { StaleRule, StaleRuleName, StaleView, Young } from './staleness.ts'
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
export type { Guard, GuardDecision, GuardOptions, PolicyWithSchema } from './guard.ts'
export type { RoutePolicy } from './policy.ts'
export type { Binding, SenderOptions } from './sender.ts'
export type { CertificateHeader } from './certificate.ts'
export type { RefusalAnswer, Scheme } from './challenge.ts'
export { createDpopVerifier } from './dpop.ts'
export type { DpopOptions, DpopRequest, DpopVerifier } from './dpop.ts'
export type { ProofAlgorithm } from './proof-key.ts'
export { createDpopNonces } from './nonce.ts'
export type { DpopNonceOptions, DpopNonces } from './nonce.ts'
export { createMemoryReplayStore, createRedisReplayStore } from './replay.ts'
export type {
  MemoryReplayStoreOptions,
  RedisClient,
  RedisReplayStoreOptions,
  ReplayStore,
} from './replay.ts'
export { describeProtectedResource } from './metadata.ts'
export type { ProtectedResource, ProtectedResourceOptions } from './metadata.ts'
export type { ClaimsSchema, SchemaIssue, SchemaResult } from './schema.ts'
export { fromAuthorization, fromBodyField, fromHeader, fromOneOf } from './extractors.ts'
export type { FoundToken, RequestFacts, TokenExtractor } from './extractors.ts'
export { assertProtected, createProtect, publicRoute } from './koa.ts'
export type { AuthState, Protect, ProtectOptions, RouterLike } from './koa.ts'
export { createCounters } from './counters.ts'
export type { Counters } from './counters.ts'
export type { AccessTokenClaims, Auth } from './claims.ts'
export { listDetails } from './details.ts'
export type { AuthorizationDetail } from './details.ts'
export type { Clock } from './clock.ts'
export { IssuerError } from './errors.ts'
export type {
  ClaimRefusal,
  DpopProofPart,
  IntrospectionUnavailable,
  IssuerErrorCode,
  KeysUnavailable,
  Refusal,
  Result,
  RevocationsUnavailable,
  SenderRefusal,
  TokenPart,
  TokenRefusal,
} from './errors.ts'

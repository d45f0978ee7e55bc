export { createVerifier } from './verifier.ts'
export type {
  CacheOptions,
  CommonVerifierOptions,
  IssuerOptions,
  SeveralIssuersOptions,
  VerifierOptions,
} from './verifier.ts'
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
export { createProtect } from './koa.ts'
export type { AuthState, Protect, ProtectOptions, RoutePolicy } from './koa.ts'
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

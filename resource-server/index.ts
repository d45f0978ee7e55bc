export { createVerifier } from './verifier.ts'
export type { Verifier, VerifierOptions, VerifyOptions } from './verifier.ts'
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

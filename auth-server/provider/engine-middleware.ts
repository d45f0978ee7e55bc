import type { KoaContextWithOIDC } from 'oidc-provider'

export type Next = () => Promise<unknown>
/** What runs around the engine's own routes. */
export type EngineMiddleware = (ctx: KoaContextWithOIDC, next: Next) => Promise<void>

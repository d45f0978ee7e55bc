import type { KoaContextWithOIDC, Provider } from 'oidc-provider'

/** A grant that the engine does not have (RFC 6749 §4.5). */
export interface CustomGrant {
  /** The `grant_type` on the wire. */
  readonly name: string
  /** The parameters that it reads; others never reach it. */
  readonly parameters: readonly string[]
  /** Those of them that may come more than once. */
  readonly repeatable?: readonly string[]
  /** Answers by `issueToken`, or throws an error of the engine. The client is authenticated. */
  readonly handle: (ctx: KoaContextWithOIDC) => Promise<void>
}

export function registerGrants(provider: Provider, grants: readonly CustomGrant[]): void {
  for (const { name, parameters, repeatable = [], handle } of grants) {
    provider.registerGrantType(
      name,
      (ctx) => handle(ctx as unknown as KoaContextWithOIDC),
      [...parameters],
      [...repeatable],
    )
  }
}

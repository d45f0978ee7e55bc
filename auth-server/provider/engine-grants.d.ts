/** Undocumented, and so without types of its own: see `internals.ts`. */
declare module 'oidc-provider/lib/helpers/grants.js' {
  import type { X509Certificate } from 'node:crypto'
  import type { KoaContextWithOIDC, Provider } from 'oidc-provider'

  export interface DpopProof {
    readonly thumbprint: string
    readonly jti: string
    readonly iat: number
  }

  /** `undefined` where the request has no proof. Checked once a request, however often it is called. */
  export function validateDpop(
    provider: Provider,
    ctx: KoaContextWithOIDC,
  ): Promise<DpopProof | undefined>
  export function checkDpopReplay(
    provider: Provider,
    ctx: KoaContextWithOIDC,
    proof: DpopProof,
    clientId: string,
  ): Promise<void>
  /** Of a client whose tokens are bound to a certificate; throws where the request shows none. */
  export function checkMtlsCert(
    provider: Provider,
    ctx: KoaContextWithOIDC,
  ): X509Certificate | undefined
  export function checkDpopRequired(
    provider: Provider,
    ctx: KoaContextWithOIDC,
    proof: DpopProof | undefined,
  ): void
}

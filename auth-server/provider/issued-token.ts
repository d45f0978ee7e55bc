import { createLocalJWKSet, jwtVerify, type JWTPayload } from 'jose'
import type { AccountStore } from '../accounts/account.ts'
import type { ClientStore } from '../clients/client.ts'
import { ACCOUNT_ID_PREFIX, DIRECT_ACCESS_CLIENT } from '../config/built-in.ts'
import type { Result } from '../errors.ts'
import type { PublicJwk } from '../keys/keyset.ts'
import type { Revocable, RevocationStore, RevokedKind } from '../revocation/revocation.ts'
import type { Catalogue, Resource } from '../scopes/catalogue.ts'

/** The claims of an access token that this server has signed (RFC 9068 §2.2). */
export interface IssuedClaims extends JWTPayload {
  readonly sub: string
  readonly aud: string | string[]
  readonly client_id: string
  readonly jti: string
  readonly scope: string
  readonly iat: number
  readonly exp: number
  /** Of a token that hangs on a grant: the row key of that grant. */
  readonly grant_id?: string
  /** Of a token that hangs on a session. */
  readonly sid?: string
  /** The key that it is bound to (RFC 7800). */
  readonly cnf?: Readonly<Record<string, unknown>>
}

export interface IssuedToken {
  readonly claims: IssuedClaims
  /** The API that it is for. */
  readonly resource: Resource
  /** The key that it is signed with. */
  readonly keyId: string | undefined
}

/** Why a token that was issued is worth nothing any longer. */
export type TokenEnd =
  | { readonly kind: 'revoked'; readonly what: RevokedKind }
  | { readonly kind: 'gone'; readonly what: 'account' | 'client' }

/** Reads JWT access tokens of this server, for the endpoints that take them back. */
export interface IssuedTokens {
  /**
   * The token, if this server has signed it as an access token for an API that it knows, and it has not
   * expired. Whether it was revoked is another question. Tokens of a shared secret are never read: the
   * API that has the secret can make them.
   */
  verify(token: unknown): Promise<IssuedToken | undefined>
  /** Whether what it hangs on is still there. */
  checkLife(token: IssuedToken): Promise<Result<true, TokenEnd>>
}

export interface IssuedTokenCollaborators {
  readonly revocations: Pick<RevocationStore, 'findEnd'>
  readonly accounts: Pick<AccountStore, 'findById'>
  readonly clients: Pick<ClientStore, 'findById'>
  readonly catalogue: Catalogue
}

export interface IssuedTokenOptions {
  readonly issuer: string
  readonly keys: readonly PublicJwk[]
  /** The audience that stands beside an API's: see `access-token.ts`. */
  readonly userinfoAudience: string
}

/** In characters. A longer one could not be taken back, so no client is given one: see `token-requests.ts`. */
export const MOST_CHARACTERS = 8192
const TEXTS = ['sub', 'client_id', 'jti', 'scope'] as const
const OPTIONAL_TEXTS = ['grant_id', 'sid'] as const

export function createIssuedTokens(
  collaborators: IssuedTokenCollaborators,
  { issuer, keys, userinfoAudience }: IssuedTokenOptions,
): IssuedTokens {
  const { revocations, accounts, clients, catalogue } = collaborators
  const keySet = createLocalJWKSet({ keys: keys.map((key) => ({ ...key })) })
  const expected = {
    issuer,
    algorithms: [...new Set(keys.map(({ alg }) => alg))],
    requiredClaims: [...TEXTS, 'aud', 'iat', 'exp'],
  }

  const findRevocation = async ({ claims, keyId }: IssuedToken) => {
    const token = { issuedAt: claims.iat * 1000 }
    const end = await revocations.findEnd(listSubjects(claims, keyId), token)
    return end && ({ kind: 'revoked', what: end.kind } as const)
  }
  const findLoss = async (id: string) => {
    if (id === DIRECT_ACCESS_CLIENT) return undefined
    const what = isAccountId(id) ? 'account' : 'client'
    const found = await (what === 'account' ? accounts.findById(id) : clients.findById(id))
    return found?.disabled === false ? undefined : ({ kind: 'gone', what } as const)
  }

  return {
    async verify(token) {
      if (!looksLikeJwt(token)) return undefined
      const signed = await verifySignature(token, keySet, expected)
      if (!signed || !hasClaims(signed.payload)) return undefined
      const { payload: claims, kid: keyId } = signed
      const resource = findResource(catalogue, claims.aud, userinfoAudience)
      // RFC 9068 §2.1. Where it is `JWT`, only the audience tells an access token from other JWTs.
      return resource && resource.tokenType === signed.typ ? { claims, resource, keyId } : undefined
    },
    async checkLife(token) {
      const { claims } = token
      const ends: readonly (TokenEnd | undefined)[] = await Promise.all([
        findRevocation(token),
        ...[...new Set([claims.client_id, claims.sub])].map(findLoss),
      ])
      const reason = ends.find((end) => end !== undefined)
      return reason ? { ok: false, reason } : { ok: true, value: true }
    },
  }
}

/** True for what can only be a JWT: the engine's own tokens have no dots. */
export function looksLikeJwt(token: unknown): token is string {
  return (
    typeof token === 'string' && token.length <= MOST_CHARACTERS && token.split('.').length === 3
  )
}

/** Whether the subject of a token is a person: ids of clients never look like it. */
export function isAccountId(subject: string): boolean {
  return subject.startsWith(ACCOUNT_ID_PREFIX)
}

/** What a token is bound to (RFC 7800): a key (RFC 9449 §6) or a certificate (RFC 8705 §3.1). */
export interface Binding {
  readonly kind: 'jkt' | 'x5t#S256'
  readonly thumbprint: string
}

/** The binding of a token; `false` for one that nobody here can check. */
export function readBinding(cnf: IssuedClaims['cnf']): Binding | undefined | false {
  if (cnf === undefined) return undefined
  const [[kind, thumbprint] = [], ...others] = Object.entries(cnf)
  if (kind !== 'jkt' && kind !== 'x5t#S256') return false
  return typeof thumbprint === 'string' && others.length === 0 && { kind, thumbprint }
}

/** One text for each binding, to be compared. */
export function nameBinding({ kind, thumbprint }: Binding): string {
  return `${kind}:${thumbprint}`
}

async function verifySignature(
  token: string,
  keySet: ReturnType<typeof createLocalJWKSet>,
  expected: Parameters<typeof jwtVerify>[2],
): Promise<{ payload: JWTPayload; typ: string | undefined; kid: string | undefined } | undefined> {
  try {
    const { payload, protectedHeader } = await jwtVerify(token, keySet, expected)
    return { payload, typ: protectedHeader.typ, kid: protectedHeader.kid }
  } catch {
    // Whatever is wrong with it, it is no token of ours.
    return undefined
  }
}

function hasClaims(payload: JWTPayload): payload is IssuedClaims {
  const isText = (claim: string) => typeof payload[claim] === 'string' && payload[claim] !== ''
  return (
    TEXTS.every(isText) &&
    OPTIONAL_TEXTS.every((claim) => payload[claim] === undefined || isText(claim)) &&
    (payload['cnf'] === undefined ||
      (typeof payload['cnf'] === 'object' && payload['cnf'] !== null))
  )
}

function findResource(
  { resources }: Catalogue,
  aud: string | string[],
  userinfoAudience: string,
): Resource | undefined {
  const [audience, ...others] = [aud].flat().filter((one) => one !== userinfoAudience)
  if (others.length > 0) return undefined
  return [...resources.values()].find((resource) => resource.audience === audience)
}

/** Everything that can end a token. */
export function listSubjects(
  { jti, sid, grant_id: grantId, sub, client_id: clientId }: IssuedClaims,
  keyId: string | undefined,
): readonly Revocable[] {
  return [
    ['token', jti],
    ...(sid === undefined ? [] : [['session', sid] as const]),
    ...(grantId === undefined ? [] : [['grant', grantId] as const]),
    [isAccountId(sub) ? 'user' : 'client', sub],
    ...(clientId === sub ? [] : [['client', clientId] as const]),
    ...(keyId === undefined ? [] : [['key', keyId] as const]),
    ['all', ''],
  ]
}

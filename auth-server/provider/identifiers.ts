import { createHash, createHmac } from 'node:crypto'

/**
 * How identifiers are kept: never as they are. Tokens, codes and session ids carry 126 bits and more,
 * so a plain hash hides them; a user code is short enough to guess, so its hash is keyed; a grant's
 * hash is keyed because it is public, as the claim `grant_id`.
 */
export interface Identifiers {
  /** The row key of an identifier, or of what `reattach` made of a row key. */
  key(model: string, id: string): string
  grantId(id: string): string
  /** The keyed hash of a user code, or of what `reattach` made of one. */
  userCode(code: string): string
  /** The successor of a refresh token, so that every retry of a refresh comes to the same one. */
  successor(refreshToken: string): string
}

export interface IdentifierKeys {
  readonly grantId: Buffer
  readonly userCode: Buffer
  readonly refreshSuccessor: Buffer
}

/** Marks an identifier that is only known by its row key, after a look-up by something else. */
const BY_KEY = '~'

export function createIdentifiers(keys: IdentifierKeys): Identifiers {
  const grantId = (id: string) => hmac(keys.grantId, id)
  return {
    key(model, id) {
      if (id.startsWith(BY_KEY)) return id.slice(BY_KEY.length)
      return model === 'Grant' ? grantId(id) : hashToken(model, id)
    },
    grantId,
    userCode: (code) => (isForged(code) ? code.slice(BY_KEY.length) : hmac(keys.userCode, code)),
    successor: (refreshToken) => hmac(keys.refreshSuccessor, refreshToken),
  }
}

/** The row key of whatever is no grant. */
export function hashToken(model: string, id: string): string {
  return createHash('sha256').update(`${model}\0${id}`).digest('base64url')
}

/** The identifier to give the engine for a row whose real identifier is not known. */
export function reattach(key: string): string {
  return BY_KEY + key
}

/** True for an identifier that came from outside and pretends to be a row key. */
export function isForged(id: string): boolean {
  return id.startsWith(BY_KEY)
}

function hmac(key: Buffer, text: string): string {
  return createHmac('sha256', key).update(text).digest('base64url')
}

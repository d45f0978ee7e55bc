import type { Auth } from './claims.ts'

/** What somebody has agreed to in detail. What its other members mean, its type says. */
export interface AuthorizationDetail {
  readonly type: string
  readonly [member: string]: unknown
}

/**
 * What a token says of one type of `authorization_details`; empty where it says nothing of it. A claim
 * that has not the form of the specification says nothing at all.
 *
 * Does not compare their members with what the request is about: only the API knows what they mean. Of
 * several objects, each is a permission of its own; members of two must not be mixed.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9396.html#section-9.1 RFC 9396 §9.1}
 */
export function listDetails(
  { claims }: Pick<Auth, 'claims'>,
  type: string,
): readonly AuthorizationDetail[] {
  const details = Object.hasOwn(claims, 'authorization_details')
    ? claims['authorization_details']
    : undefined
  if (!Array.isArray(details) || !details.every(isDetail)) return []
  return details.filter((detail) => detail.type === type)
}

function isDetail(value: unknown): value is AuthorizationDetail {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.hasOwn(value, 'type') &&
    typeof (value as { type: unknown }).type === 'string'
  )
}

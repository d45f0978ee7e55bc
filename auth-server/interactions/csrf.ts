import { createHmac, timingSafeEqual } from 'node:crypto'

/** Ties a form to what it was shown for, so that no other page can send it. */
export interface Csrf {
  issue(binding: readonly string[]): string
  isValid(token: string, binding: readonly string[]): boolean
}

/**
 * Tokens are an HMAC of what the form is bound to. The first part is the interaction, which is only
 * found for the browser that started it (`provider/own-interactions.ts`): the token of another browser
 * is for an interaction that this one does not have. On a person's own pages it is the session.
 */
export function createCsrf(key: Buffer): Csrf {
  const digest = (binding: readonly string[]) =>
    createHmac('sha256', key).update(JSON.stringify(binding)).digest()
  return {
    issue: (binding) => digest(binding).toString('base64url'),
    isValid(token, binding) {
      const given = Buffer.from(token, 'base64url')
      const expected = digest(binding)
      return given.length === expected.length && timingSafeEqual(given, expected)
    },
  }
}

/**
 * Whether a browser says that the form was sent from a page of `origin`. Programs say nothing: then
 * the token alone decides. `Origin: null` is what a page sends whose referrer policy hides it, and
 * what a sandboxed frame sends; Sec-Fetch-Site tells the two apart.
 *
 * @see {@link https://fetch.spec.whatwg.org/#append-a-request-origin-header Fetch, "append a request Origin header"}
 */
export function isSentFrom(
  origin: string,
  headers: { readonly origin: string; readonly secFetchSite: string },
): boolean {
  const { secFetchSite } = headers
  if (secFetchSite !== '' && secFetchSite !== 'same-origin') return false
  if (headers.origin === 'null') return secFetchSite === 'same-origin'
  return headers.origin === '' || headers.origin === origin
}

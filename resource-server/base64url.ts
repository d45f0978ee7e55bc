/**
 * Decodes base64url as RFC 7515 writes it, or answers `undefined`. Node's decoder skips what it does
 * not know and ignores spare bits, so that many texts give the same bytes: only the one is taken that
 * the bytes give back.
 */
export function decodeCanonical(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}

import { exportJWK, generateKeyPair, SignJWT, type JWK, type JWTPayload } from 'jose'

export const PUBLISHER = 'https://publisher.example'

/** Who publishes apps, and signs what they are: the authorization server takes its word. */
export interface Publisher {
  readonly jwk: JWK
  /** @see {@link https://www.rfc-editor.org/rfc/rfc7591.html#section-2.3 RFC 7591 §2.3} */
  state(claims: JWTPayload): Promise<string>
}

export async function createPublisher(): Promise<Publisher> {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  return {
    jwk: { ...(await exportJWK(publicKey)), kid: 'publisher', alg: 'ES256' },
    state: (claims) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'ES256', kid: 'publisher' })
        .setIssuer(PUBLISHER)
        .setIssuedAt()
        .setExpirationTime('1h')
        .sign(privateKey),
  }
}

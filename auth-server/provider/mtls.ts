import { errors, type Configuration } from 'oidc-provider'
import { readPresented } from '../certificates/presented.ts'
import { describeSubject, matchesSubject } from '../certificates/subject.ts'
import type { Clock } from '../clock.ts'
import { CLIENT_AUTH_METHODS, usesCertificate, type ClientAuthMethod } from '../config/built-in.ts'
import { BACKCHANNEL_PATH } from './ciba.ts'
import { recordOf } from './clients.ts'
import { DEVICE_AUTHORIZATION_PATH } from './device.ts'

/** How certificates reach this server. */
export interface MtlsSettings {
  /** Where clients show them. */
  readonly origin: string
  /** Whether anybody is trusted to have signed them. */
  readonly judgesChains: boolean
}

/** Where clients may show a certificate, by the names of the metadata (RFC 8705 §5). */
const PATHS = {
  token_endpoint: '/token',
  pushed_authorization_request_endpoint: '/request',
  introspection_endpoint: '/introspect',
  revocation_endpoint: '/revoke',
  userinfo_endpoint: '/userinfo',
  device_authorization_endpoint: DEVICE_AUTHORIZATION_PATH,
  backchannel_authentication_endpoint: BACKCHANNEL_PATH,
}

/** All that is served at the origin for certificates: no page, and nothing that a browser would open. */
export const MTLS_PATHS: ReadonlySet<string> = new Set(Object.values(PATHS))

export function listMtlsAliases(origin: string): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(PATHS).map(([name, path]) => [name, origin + path]))
}

/** The methods by which clients can prove who they are here. */
export function listAuthMethods(mtls: MtlsSettings | undefined): ClientAuthMethod[] {
  return CLIENT_AUTH_METHODS.filter((method) => {
    if (!usesCertificate(method)) return true
    return mtls !== undefined && (method !== 'tls_client_auth' || mtls.judgesChains)
  })
}

/**
 * What the engine asks of certificates. That the client has the key is what TLS proves, and whether an
 * authority is trusted what the connection or the proxy has found out. Does not check revocation lists.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8705.html#section-2 RFC 8705 §2}
 */
export function createMtls(
  mtls: MtlsSettings | undefined,
  clock: Clock,
): NonNullable<NonNullable<Configuration['features']>['mTLS']> {
  return {
    // On in any case: a client whose tokens have to be bound gets none where no certificate reaches us.
    enabled: true,
    certificateBoundAccessTokens: true,
    selfSignedTlsClientAuth: mtls !== undefined,
    tlsClientAuth: mtls?.judgesChains === true,
    getCertificate: (ctx) => readPresented(ctx.req)?.certificate,
    certificateAuthorized(ctx) {
      const presented = readPresented(ctx.req)
      if (!presented?.isTrusted) return false
      const { validFromDate, validToDate } = presented.certificate
      const now = clock.now()
      return validFromDate.getTime() <= now && now <= validToDate.getTime()
    },
    certificateSubjectMatches(ctx) {
      const presented = readPresented(ctx.req)
      const client = ctx.oidc.client && recordOf(ctx.oidc.client)
      if (!presented || !client?.certificate) return false
      if (matchesSubject(presented.certificate, client.certificate)) return true
      const [[member, value] = []] = Object.entries(client.certificate)
      const shown = describeSubject(presented.certificate)
      // For the log: whoever asks learns no more than that it was refused.
      throw new errors.InvalidClientAuth(`expected ${member} ${value}, got ${shown}`)
    },
  }
}

import type { AdapterPayload, Client as EngineClient, KoaContextWithOIDC } from 'oidc-provider'
import type { Client } from '../clients/client.ts'
import { toClientMetadata } from '../clients/client-metadata.ts'
import { findSector } from '../config/sector.ts'
import { isOidcScope, type Catalogue } from '../scopes/catalogue.ts'

/** The member of the engine's client metadata that carries our own record of the client. */
export const RECORD = 'portreeve_client'

/** Our client in the engine's terms (RFC 7591 §2). The secret is its hash: see `internals.ts`. */
export function toMetadata(
  client: Client,
  { details }: Pick<Catalogue, 'details'>,
): AdapterPayload {
  // What the engine is given it reads and hashes at each request.
  const {
    secretHash: _secretHash,
    selfDescription: _description,
    softwareStatement: _statement,
    ...record
  } = client
  return {
    ...toClientMetadata(client),
    ...describeCertificate(client),
    // The engine takes no client with a type that there is no longer.
    authorization_details_types: client.authorizationDetails?.filter((type) => details.has(type)),
    ...(isSignedOnly(client) && { response_modes: SIGNED_RESPONSE_MODES }),
    // A missing scope would allow every one of OpenID Connect's: `openid` is what signing in means.
    scope: [...new Set(['openid', ...client.scopes.filter(isOidcScope)])].join(' '),
    ...describeCiba(client),
    ...describeSubjects(client),
    ...(client.secretHash === undefined ? {} : { client_secret: client.secretHash }),
    [RECORD]: record,
  }
}

/** The engine knows these only where certificates reach it. */
function describeCertificate({ certificate, certificateBound }: Client): Partial<AdapterPayload> {
  const { subjectDn, sanDns, sanUri, sanIp, sanEmail } = certificate ?? {}
  return {
    ...(certificateBound === true && { tls_client_certificate_bound_access_tokens: true }),
    ...(subjectDn !== undefined && { tls_client_auth_subject_dn: subjectDn }),
    ...(sanDns !== undefined && { tls_client_auth_san_dns: sanDns }),
    ...(sanUri !== undefined && { tls_client_auth_san_uri: sanUri }),
    ...(sanIp !== undefined && { tls_client_auth_san_ip: sanIp }),
    ...(sanEmail !== undefined && { tls_client_auth_san_email: sanEmail }),
  }
}

const SIGNED_RESPONSE_MODES = ['jwt', 'query.jwt', 'fragment.jwt', 'form_post.jwt']

/** What is to be encrypted is so in these alone. */
function isSignedOnly({ signedResponses, encryption }: Client): boolean {
  return signedResponses === 'required' || encryption?.response !== undefined
}

/** The sector is for us to find (`clients/subject.ts`): the engine would fetch the whole list each time. */
function describeSubjects(client: Client): AdapterPayload {
  if (client.subjectType !== 'pairwise') return {}
  return {
    subject_type: 'pairwise',
    sector_identifier_uri: `https://${findSector(client) ?? 'none.invalid'}/`,
  }
}

/**
 * The engine takes no http on loopback. What it has here is only for it to know that there is a place:
 * `notify.ts` calls the client.
 */
function describeCiba({ grants, ciba, algorithms }: Client): AdapterPayload {
  if (!grants.includes('ciba')) return {}
  const { mode = 'poll', notificationUri } = ciba ?? {}
  return {
    backchannel_token_delivery_mode: mode,
    backchannel_authentication_request_signing_alg: algorithms?.request,
    ...(notificationUri === undefined
      ? {}
      : { backchannel_client_notification_endpoint: notificationUri.replace(/^http:/i, 'https:') }),
  }
}

/** Our record of a client that the engine has loaded. */
export function recordOf(client: EngineClient): Omit<Client, 'secretHash'> {
  const record = client[RECORD]
  if (typeof record !== 'object' || record === null) {
    throw new TypeError(`client ${client.clientId} was not loaded from the client store`)
  }
  return record as Omit<Client, 'secretHash'>
}

/** Our record of the client that this request comes from. */
export function clientOf(ctx: KoaContextWithOIDC): Omit<Client, 'secretHash'> | undefined {
  return ctx.oidc.client && recordOf(ctx.oidc.client)
}

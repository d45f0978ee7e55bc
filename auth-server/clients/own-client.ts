import type { Client, ClientStore } from './client.ts'
import { OWN_CLIENT_ID } from '../config/built-in.ts'

/** Where the browser comes back to after it was sent to sign in for a page of this server. */
export const OWN_CALLBACK = '/account/signed-in'

/**
 * This server as a client of itself: whoever opens a page of their own signs in as for any app, by the
 * same steps. It gets no tokens: what it wants is the session that the sign-in leaves behind.
 */
function createOwnClient(issuer: string): Client {
  return {
    id: OWN_CLIENT_ID,
    name: 'Your account',
    applicationType: 'web',
    grants: ['authorization_code'],
    authMethod: 'none',
    secretHash: undefined,
    redirectUris: [`${issuer}${OWN_CALLBACK}`],
    postLogoutRedirectUris: [],
    scopes: ['openid'],
    defaultScopes: [],
    defaultResource: undefined,
    firstParty: true,
    pkce: 'required',
    dpop: 'allowed',
    par: 'allowed',
    introspects: [],
    exchange: [],
    assertionIssuers: [],
    claimsInIdToken: false,
    origins: [],
    disabled: false,
    owner: 'file',
    createdAt: 0,
    updatedAt: 0,
  }
}

/** The same clients and this server itself, which nobody can change. */
export function withOwnClient(clients: ClientStore, issuer: string): ClientStore {
  const own = createOwnClient(issuer)
  return {
    ...clients,
    findById: async (id) => (id === own.id ? own : clients.findById(id)),
  }
}

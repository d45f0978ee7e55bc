/** One person, two apps, three APIs: who takes part where access is taken away. For `run` alone. */

export const PHONE_CLIENT = 'planner-phone'
export const LAPTOP_CLIENT = 'planner-laptop'
/** One of each API. */
export const PLANNER_SCOPES = ['notes:read', 'orders:use', 'invoices:use'] as const
export const ERIN = { username: 'erin', secret: 'ERIN_PASSWORD' } as const

export function describePlanner(): unknown[] {
  return [
    { id: PHONE_CLIENT, name: 'The planner on your phone' },
    { id: LAPTOP_CLIENT, name: 'The planner on your laptop' },
  ].map((app) => ({
    ...app,
    applicationType: 'native',
    authMethod: 'none',
    redirectUris: ['http://127.0.0.1/callback'],
    postLogoutRedirectUris: ['http://127.0.0.1/signed-out'],
    scopes: ['openid', 'offline_access', ...PLANNER_SCOPES],
  }))
}

export function describeErin(): unknown {
  return {
    username: ERIN.username,
    password: { env: ERIN.secret },
    roles: ['reader', 'customer'],
    profile: { name: 'Erin Evans' },
  }
}

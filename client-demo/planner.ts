/** One person, two apps, three APIs: who takes part where access is taken away. For `run` alone. */

export const PHONE = { id: 'planner-phone', name: 'The planner on your phone' } as const
export const LAPTOP = { id: 'planner-laptop', name: 'The planner on your laptop' } as const
/** One of each API. */
export const PLANNER_SCOPES = ['notes:read', 'orders:use', 'invoices:use'] as const
export const ERIN = { username: 'erin', secret: 'ERIN_PASSWORD' } as const

export function describePlanner(): unknown[] {
  return [PHONE, LAPTOP].map((app) => ({
    ...app,
    applicationType: 'native',
    authMethod: 'none',
    redirectUris: ['http://127.0.0.1/callback'],
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

import { describe, expect, expectTypeOf, test } from 'vitest'
import type { AuditEvent } from './audit/audit.ts'
import { createEvents, TREATMENTS, type EventName, type Events } from './events.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics/metrics.ts'

type Facts<Name extends EventName> = Parameters<Events[Name]>[0]

/** What an event leaves: its line, its line in the metrics, and its entry in the audit log. */
interface Trace {
  readonly event: string
  readonly level: 'info' | 'warn'
  readonly metric: string
  readonly audit: Omit<AuditEvent, 'event'> | undefined
}

type Case<Name extends EventName> = readonly [facts: Facts<Name>, trace: Trace]

/** At least one for each event: one that is not decided upon here does not compile. */
const CASES: { readonly [Name in EventName]: readonly Case<Name>[] } = {
  signedIn: [
    [
      { accountId: 'acc_a', clientId: 'web' },
      {
        event: 'signed_in',
        level: 'info',
        metric: 'portreeve_signed_in_total 1',
        audit: { by: 'user', accountId: 'acc_a', clientId: 'web' },
      },
    ],
  ],
  signInRefused: [
    [
      { reason: 'wrong_password', accountId: 'acc_a' },
      refusedSignIn('wrong_password', {
        by: 'stranger',
        accountId: 'acc_a',
        facts: { reason: 'wrong_password' },
      }),
    ],
    [
      { reason: 'disabled', accountId: 'acc_a' },
      refusedSignIn('disabled', {
        by: 'stranger',
        accountId: 'acc_a',
        facts: { reason: 'disabled' },
      }),
    ],
    [{ reason: 'unknown_user' }, refusedSignIn('unknown_user', undefined)],
    [{ reason: 'throttled' }, refusedSignIn('throttled', undefined)],
    [{ reason: 'throttled', accountId: 'acc_a' }, refusedSignIn('throttled', undefined)],
    [{ reason: 'busy', accountId: 'acc_a' }, refusedSignIn('busy', undefined)],
  ],
  signedOut: [
    [{ accountId: 'acc_a' }, signedOut({ by: 'user', accountId: 'acc_a', clientId: undefined })],
    [{ clientId: 'web' }, signedOut(undefined)],
    [
      { accountId: 'acc_a', sessions: 3 },
      signedOut({ by: 'user', accountId: 'acc_a', clientId: undefined, facts: { sessions: 3 } }),
    ],
  ],
  sessionDeleted: [
    [{ accountId: 'acc_a' }, deletedSession({ by: 'server', accountId: 'acc_a' })],
    [{}, deletedSession(undefined)],
  ],
  logoutDelivered: [
    [
      { clientId: 'web', accountId: 'acc_a', attempts: 2 },
      {
        event: 'logout_delivered',
        level: 'info',
        metric: 'portreeve_logout_delivered_total 1',
        audit: { by: 'server', accountId: 'acc_a', clientId: 'web' },
      },
    ],
  ],
  logoutPostponed: [
    [
      { clientId: 'web', accountId: 'acc_a', attempts: 1, reason: 'timeout' },
      {
        event: 'logout_postponed',
        level: 'warn',
        metric: 'portreeve_logout_postponed_total{reason="timeout"} 1',
        audit: undefined,
      },
    ],
  ],
  logoutGivenUp: [
    [
      { clientId: 'web', accountId: 'acc_a', attempts: 1, reason: 'refused' },
      {
        event: 'logout_given_up',
        level: 'warn',
        metric: 'portreeve_logout_given_up_total{reason="refused"} 1',
        audit: {
          by: 'server',
          accountId: 'acc_a',
          clientId: 'web',
          facts: { reason: 'refused', attempts: 1 },
        },
      },
    ],
  ],
  consentGiven: [
    [
      { accountId: 'acc_a', clientId: 'web', scopes: ['openid', 'notes:read'] },
      {
        event: 'consent_given',
        level: 'info',
        metric: 'portreeve_consent_given_total 1',
        audit: {
          by: 'user',
          accountId: 'acc_a',
          clientId: 'web',
          facts: { scopes: ['openid', 'notes:read'] },
        },
      },
    ],
  ],
  consentWithdrawn: [
    [
      { accountId: 'acc_a', clientId: 'web' },
      {
        event: 'consent_withdrawn',
        level: 'info',
        metric: 'portreeve_consent_withdrawn_total 1',
        audit: { by: 'user', accountId: 'acc_a', clientId: 'web' },
      },
    ],
  ],
  consentRefused: [
    [
      { accountId: 'acc_a', clientId: 'web' },
      refusedConsent({ by: 'user', accountId: 'acc_a', clientId: 'web' }),
    ],
    [{ clientId: 'web' }, refusedConsent(undefined)],
  ],
  tokenIssued: [
    [
      { grantType: 'refresh_token', clientId: 'web', accountId: 'acc_a', scope: 'openid' },
      {
        event: 'token_issued',
        level: 'info',
        metric: 'portreeve_token_issued_total{grant_type="refresh_token"} 1',
        audit: {
          by: 'client',
          accountId: 'acc_a',
          clientId: 'web',
          facts: { grantType: 'refresh_token', scope: 'openid' },
        },
      },
    ],
    [
      {
        grantType: 'urn:portreeve:params:oauth:grant-type:api-key',
        clientId: 'robot',
        accountId: 'acc_a',
        scope: 'notes:read',
        keyId: 'key_1',
      },
      {
        event: 'token_issued',
        level: 'info',
        metric:
          'portreeve_token_issued_total{grant_type="urn:portreeve:params:oauth:grant-type:api-key"} 1',
        audit: {
          by: 'client',
          accountId: 'acc_a',
          clientId: 'robot',
          facts: {
            grantType: 'urn:portreeve:params:oauth:grant-type:api-key',
            scope: 'notes:read',
            keyId: 'key_1',
          },
        },
      },
    ],
    [
      { grantType: 'urn:somebody:s-own', clientId: 'robot' },
      {
        event: 'token_issued',
        level: 'info',
        metric: 'portreeve_token_issued_total{grant_type="other"} 1',
        audit: {
          by: 'client',
          accountId: undefined,
          clientId: 'robot',
          facts: { grantType: 'urn:somebody:s-own', scope: undefined },
        },
      },
    ],
  ],
  tokenExchanged: [
    [
      {
        clientId: 'gateway',
        accountId: 'acc_a',
        subject: 'acc_a',
        actor: 'gateway',
        from: 'https://gateway.example/',
        resource: 'https://notes.example/',
        scope: 'notes:read',
      },
      {
        event: 'token_exchanged',
        level: 'info',
        metric: 'portreeve_token_exchanged_total 1',
        audit: {
          by: 'client',
          accountId: 'acc_a',
          clientId: 'gateway',
          facts: {
            subject: 'acc_a',
            actor: 'gateway',
            from: 'https://gateway.example/',
            resource: 'https://notes.example/',
            scope: 'notes:read',
          },
        },
      },
    ],
  ],
  tokenRevoked: [
    [
      { kind: 'RefreshToken', clientId: 'web', accountId: 'acc_a', grantId: 'g' },
      {
        event: 'token_revoked',
        level: 'info',
        metric: 'portreeve_token_revoked_total{kind="RefreshToken"} 1',
        audit: {
          by: 'client',
          accountId: 'acc_a',
          clientId: 'web',
          facts: { kind: 'RefreshToken', grantId: 'g' },
        },
      },
    ],
  ],
  requestRefused: [
    [
      { endpoint: 'token', error: 'invalid_grant', clientId: 'web', detail: 'used already' },
      refusedRequest('endpoint="token",error="invalid_grant"'),
    ],
    [
      { endpoint: '/auth/8s7dfg87sd6f', error: 'temporarily_unavailable' },
      refusedRequest('endpoint="authorization",error="temporarily_unavailable"'),
    ],
    [
      { endpoint: '/what/ever', error: 'InvalidSomething' },
      refusedRequest('endpoint="other",error="other"'),
    ],
  ],
  clientAuthenticationRefused: [
    [
      { clientId: 'web', reason: 'wrong_secret' },
      {
        event: 'client_authentication_refused',
        level: 'warn',
        metric: 'portreeve_client_authentication_refused_total{reason="wrong_secret"} 1',
        audit: { by: 'stranger', clientId: 'web', facts: { reason: 'wrong_secret' } },
      },
    ],
    [
      { clientId: 'web', reason: 'throttled' },
      {
        event: 'client_authentication_refused',
        level: 'warn',
        metric: 'portreeve_client_authentication_refused_total{reason="throttled"} 1',
        audit: undefined,
      },
    ],
    [
      { clientId: 'web', reason: 'same_wrong_secret' },
      {
        event: 'client_authentication_refused',
        level: 'warn',
        metric: 'portreeve_client_authentication_refused_total{reason="same_wrong_secret"} 1',
        audit: undefined,
      },
    ],
  ],
  apiKeyMade: [
    [
      {
        keyId: 'key_1',
        accountId: 'acc_a',
        resource: 'https://notes.example/',
        scopes: ['notes:read'],
        by: 'user',
      },
      {
        event: 'api_key_made',
        level: 'info',
        metric: 'portreeve_api_key_made_total{by="user"} 1',
        audit: {
          by: 'user',
          accountId: 'acc_a',
          facts: { keyId: 'key_1', resource: 'https://notes.example/', scopes: ['notes:read'] },
        },
      },
    ],
  ],
  apiKeyRevoked: [
    [
      { keyId: 'key_1', accountId: 'acc_a', by: 'operator' },
      {
        event: 'api_key_revoked',
        level: 'info',
        metric: 'portreeve_api_key_revoked_total{by="operator"} 1',
        audit: { by: 'operator', accountId: 'acc_a', facts: { keyId: 'key_1' } },
      },
    ],
  ],
  apiKeyRefused: [
    [
      { reason: 'expired', keyId: 'key_1', accountId: 'acc_a', clientId: 'web' },
      refusedKey('expired', {
        by: 'stranger',
        accountId: 'acc_a',
        clientId: 'web',
        facts: { reason: 'expired', keyId: 'key_1' },
      }),
    ],
    [
      { reason: 'unknown', clientId: 'web' },
      refusedKey('unknown', {
        by: 'stranger',
        accountId: undefined,
        clientId: 'web',
        facts: { reason: 'unknown', keyId: undefined },
      }),
    ],
    [{ reason: 'mistyped', clientId: 'web' }, refusedKey('mistyped', undefined)],
    [{ reason: 'throttled', clientId: 'web' }, refusedKey('throttled', undefined)],
  ],
  revocationUnusable: [
    [
      { clientId: 'api', name: 'log:7', detail: 'a reason', others: 0 },
      {
        event: 'revocation_unusable',
        level: 'warn',
        metric: 'portreeve_revocation_unusable_total 1',
        audit: undefined,
      },
    ],
  ],
  deviceCodeRefused: [
    [
      { reason: 'unknown' },
      {
        event: 'device_code_refused',
        level: 'warn',
        metric: 'portreeve_device_code_refused_total{reason="unknown"} 1',
        audit: undefined,
      },
    ],
  ],
  cibaRequested: [
    [
      { clientId: 'desk', accountId: 'acc_a', outcome: 'waits' },
      {
        event: 'ciba_requested',
        level: 'info',
        metric: 'portreeve_ciba_requested_total{outcome="waits"} 1',
        audit: {
          by: 'client',
          accountId: 'acc_a',
          clientId: 'desk',
          facts: { outcome: 'waits' },
        },
      },
    ],
  ],
  cibaApproved: [
    [
      { accountId: 'acc_a', clientId: 'desk', scopes: ['openid'] },
      {
        event: 'ciba_approved',
        level: 'info',
        metric: 'portreeve_ciba_approved_total 1',
        audit: { by: 'user', accountId: 'acc_a', clientId: 'desk', facts: { scopes: ['openid'] } },
      },
    ],
  ],
  cibaRefused: [
    [
      { accountId: 'acc_a', clientId: 'desk' },
      {
        event: 'ciba_refused',
        level: 'info',
        metric: 'portreeve_ciba_refused_total 1',
        audit: { by: 'user', accountId: 'acc_a', clientId: 'desk' },
      },
    ],
  ],
  cibaNotified: [
    [
      { clientId: 'desk', outcome: 'told', detail: '204' },
      {
        event: 'ciba_notified',
        level: 'info',
        metric: 'portreeve_ciba_notified_total{outcome="told"} 1',
        audit: undefined,
      },
    ],
    [
      { clientId: 'desk', outcome: 'something new', detail: '' },
      {
        event: 'ciba_notified',
        level: 'info',
        metric: 'portreeve_ciba_notified_total{outcome="other"} 1',
        audit: undefined,
      },
    ],
  ],
  accessRevoked: [
    [
      { kind: 'user', subject: 'acc_a', place: 7, by: 'operator' },
      {
        event: 'access_revoked',
        level: 'warn',
        metric: 'portreeve_access_revoked_total{kind="user"} 1',
        audit: {
          by: 'operator',
          accountId: 'acc_a',
          clientId: undefined,
          facts: { kind: 'user', subject: 'acc_a', place: 7 },
        },
      },
    ],
  ],
  credentialReused: [
    [
      { kind: 'RefreshToken', grantId: 'g', clientId: 'web', accountId: 'acc_a' },
      {
        event: 'credential_reused',
        level: 'warn',
        metric: 'portreeve_credential_reused_total{kind="RefreshToken"} 1',
        audit: {
          by: 'client',
          accountId: 'acc_a',
          clientId: 'web',
          facts: { kind: 'RefreshToken', grantId: 'g' },
        },
      },
    ],
  ],
  objectChanged: [
    [
      { kind: 'user', action: 'disabled', id: 'acc_a', by: 'operator' },
      changedObject('user', 'operator', {
        accountId: 'acc_a',
        clientId: undefined,
        facts: { kind: 'user', action: 'disabled', id: 'acc_a' },
      }),
    ],
    [
      { kind: 'client', action: 'added', id: 'web', by: 'file' },
      changedObject('client', 'file', {
        accountId: undefined,
        clientId: 'web',
        facts: { kind: 'client', action: 'added', id: 'web' },
      }),
    ],
    [
      { kind: 'key', action: 'added', id: 'kid', algorithm: 'ES256', by: 'server' },
      changedObject('key', 'server', {
        accountId: undefined,
        clientId: undefined,
        facts: { kind: 'key', action: 'added', id: 'kid', algorithm: 'ES256' },
      }),
    ],
  ],
}

function refusedSignIn(reason: string, audit: Trace['audit']): Trace {
  const metric = `portreeve_sign_in_refused_total{reason="${reason}"} 1`
  return { event: 'sign_in_refused', level: 'warn', metric, audit }
}

function signedOut(audit: Trace['audit']): Trace {
  return { event: 'signed_out', level: 'info', metric: 'portreeve_signed_out_total 1', audit }
}

function deletedSession(audit: Trace['audit']): Trace {
  const metric = 'portreeve_session_deleted_total 1'
  return { event: 'session_deleted', level: 'info', metric, audit }
}

function refusedConsent(audit: Trace['audit']): Trace {
  const metric = 'portreeve_consent_refused_total 1'
  return { event: 'consent_refused', level: 'info', metric, audit }
}

function refusedKey(reason: string, audit: Trace['audit']): Trace {
  const metric = `portreeve_api_key_refused_total{reason="${reason}"} 1`
  return { event: 'api_key_refused', level: 'warn', metric, audit }
}

function refusedRequest(labels: string): Trace {
  const metric = `portreeve_request_refused_total{${labels}} 1`
  return { event: 'request_refused', level: 'warn', metric, audit: undefined }
}

function changedObject(
  kind: string,
  by: 'file' | 'operator' | 'server',
  audit: Omit<AuditEvent, 'event' | 'by'>,
): Trace {
  const metric = `portreeve_object_changed_total{kind="${kind}",by="${by}"} 1`
  return { event: 'object_changed', level: 'info', metric, audit: { by, ...audit } }
}

const all = (Object.keys(CASES) as EventName[]).flatMap((name) =>
  CASES[name].map(([facts, trace]) => ({ name, facts, ...trace })),
)

function start() {
  const lines: string[] = []
  const log = createLog('debug', { write: (line) => void lines.push(line) })
  const metrics = createMetrics()
  const recorded: AuditEvent[] = []
  const audit = { record: (event: AuditEvent) => void recorded.push(event) }
  const events = createEvents(log, { metrics, audit })
  return {
    announce(name: EventName, facts: object) {
      const announce = events[name] as (facts: object) => void
      announce(facts)
    },
    events,
    recorded,
    logged: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
    /** The counters of events that have counted anything. */
    async counted() {
      const names = Object.values(TREATMENTS).map(({ event }) => `portreeve_${event}_total`)
      const { text } = await metrics.render()
      return text
        .split('\n')
        .filter((line) => names.some((name) => line.startsWith(name)) && !line.endsWith(' 0'))
    },
  }
}

describe('an event', () => {
  test.each(all)(
    '$event is once in the log, once in the metrics, and audited where it belongs: $facts',
    async ({ name, facts, event, level, metric, audit }) => {
      const it = start()
      it.announce(name, facts)
      const expected = JSON.parse(JSON.stringify({ event, ...facts })) as object
      expect(it.logged()).toEqual([
        { level: level === 'info' ? 30 : 40, time: expect.any(Number), ...expected },
      ])
      expect(await it.counted()).toEqual([metric])
      expect(it.recorded).toEqual(audit === undefined ? [] : [{ event, ...audit }])
    },
  )

  test('is logged where nobody counts and nothing is audited', () => {
    const lines: string[] = []
    const events = createEvents(createLog('info', { write: (line) => void lines.push(line) }))
    events.signedIn({ accountId: 'acc_a' })
    expect(lines).toHaveLength(1)
  })

  test('has one name, and no two share it', () => {
    const names = Object.values(TREATMENTS).map(({ event }) => event)
    expect(new Set(names).size).toBe(Object.keys(start().events).length)
    for (const [name, { event }] of Object.entries(TREATMENTS)) {
      expect(event).toBe(name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`))
    }
  })

  test('takes no fact that is named like a secret', () => {
    type Named = { [Name in EventName]: keyof Facts<Name> }[EventName]
    type Secret =
      | 'password'
      | 'secret'
      | 'clientSecret'
      | 'code'
      | 'token'
      | 'accessToken'
      | 'refreshToken'
      | 'idToken'
      | 'cookie'
      | 'username'
    expectTypeOf<Extract<Named, Secret>>().toEqualTypeOf<never>()
  })
})

describe('the metrics of events', () => {
  test('have no more series than it takes, whatever strangers send', async () => {
    const it = start()
    for (let n = 0; n < 500; n += 1) {
      const text = `${n}-\u0000-"}\n-ü-${'x'.repeat(n)}`
      for (const { name, facts } of all) {
        const odd = Object.entries(facts).map(([member, value]) => [
          member,
          typeof value === 'string' && member !== 'by' && member !== 'kind' ? text : value,
        ])
        it.announce(name, Object.fromEntries(odd) as object)
      }
      it.events.credentialReused({ kind: text })
      it.events.requestRefused({ endpoint: `/${text}`, error: text })
      it.events.requestRefused({ endpoint: `/auth/${n}?${text}`, error: text, clientId: text })
    }
    const counted = await it.counted()
    expect(counted.length).toBeLessThan(40)
    expect(counted.join('\n')).not.toMatch(/ü|xx|\d-/)
  })
})

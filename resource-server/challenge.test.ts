import { validateHeaderValue } from 'node:http'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { describeRefusal, type ChallengeContext } from './challenge.ts'
import type { Refusal } from './errors.ts'

const METADATA = 'https://api.example/.well-known/oauth-protected-resource'
const both: ChallengeContext = {
  accepted: ['Bearer', 'DPoP'],
  dpopAlgorithms: ['ES256', 'EdDSA'],
  resourceMetadata: METADATA,
}
const stepUp: Refusal = {
  kind: 'insufficient_user_authentication',
  acrValues: ['urn:mfa', 'urn:passkey'],
  maxAgeSeconds: 300,
}
const badProof: Refusal = {
  kind: 'invalid_dpop_proof',
  part: 'htu',
  expected: 'https://api.example/secret-place',
  actual: 'https://elsewhere.example/',
}

const challengeOf = (refusal: Refusal, context?: ChallengeContext) =>
  describeRefusal(refusal, context).headers['WWW-Authenticate']

describe('a challenge', () => {
  test.each<readonly [string, Refusal, ChallengeContext | undefined, string]>([
    ['without a token', { kind: 'no_token' }, undefined, 'Bearer'],
    [
      'without a token, where both schemes are taken',
      { kind: 'no_token' },
      both,
      `Bearer resource_metadata="${METADATA}", DPoP algs="ES256 EdDSA", resource_metadata="${METADATA}"`,
    ],
    [
      'without a token, where a proof is needed',
      { kind: 'no_token' },
      { accepted: ['DPoP'], dpopAlgorithms: ['ES256'] },
      'DPoP algs="ES256"',
    ],
    [
      'for a bearer token that has expired, where both schemes are taken',
      { kind: 'expired', exp: 1, now: 2 },
      { ...both, scheme: 'Bearer', resourceMetadata: undefined },
      'Bearer error="invalid_token", DPoP algs="ES256 EdDSA"',
    ],
    [
      'for a token that was sent with a proof',
      { kind: 'expired', exp: 1, now: 2 },
      { ...both, scheme: 'DPoP', resourceMetadata: undefined },
      'Bearer, DPoP error="invalid_token", algs="ES256 EdDSA"',
    ],
    [
      'for a proof that does not fit, without what it should have been',
      badProof,
      { ...both, scheme: 'DPoP', accepted: ['DPoP'] },
      `DPoP error="invalid_dpop_proof", algs="ES256 EdDSA", resource_metadata="${METADATA}"`,
    ],
    [
      'for an unbound token, where a proof is needed',
      { kind: 'not_sender_constrained', expected: 'dpop' },
      { accepted: ['DPoP'], dpopAlgorithms: ['ES256'], scheme: 'Bearer' },
      'DPoP error="invalid_token", algs="ES256"',
    ],
    [
      'for a scope, with all that are needed',
      {
        kind: 'insufficient_scope',
        needed: ['notes:read', 'notes:write'],
        missing: ['notes:write'],
      },
      { resourceMetadata: METADATA },
      `Bearer error="insufficient_scope", scope="notes:read notes:write", resource_metadata="${METADATA}"`,
    ],
    [
      'for another way to sign in (RFC 9470)',
      stepUp,
      undefined,
      'Bearer error="insufficient_user_authentication", acr_values="urn:mfa urn:passkey", max_age="300"',
    ],
    [
      'for signing in again at once',
      { ...stepUp, acrValues: [], maxAgeSeconds: 0 },
      undefined,
      'Bearer error="insufficient_user_authentication", max_age="0"',
    ],
    [
      'with the reason, in development',
      { kind: 'wrong_claims', issues: [] },
      { explanation: 'say "no" \\ or not' },
      `Bearer error="invalid_token", error_description="say 'no' / or not"`,
    ],
  ])('%s', (_row, refusal, context, expected) => {
    expect(challengeOf(refusal, context)).toBe(expected)
  })

  test('has the status 401 for another way to sign in, 403 for a scope', () => {
    expect(describeRefusal(stepUp).status).toBe(401)
    const scope: Refusal = { kind: 'insufficient_scope', needed: ['a'], missing: ['a'] }
    expect(describeRefusal(scope).status).toBe(403)
  })

  test('for a nonce has it in DPoP-Nonce', () => {
    const answer = describeRefusal(
      { kind: 'use_dpop_nonce', nonce: 'n_0-x' },
      { ...both, scheme: 'DPoP' },
    )
    expect(answer).toMatchObject({
      status: 401,
      headers: { 'DPoP-Nonce': 'n_0-x' },
      body: { error: 'use_dpop_nonce' },
    })
    expect(answer.headers['WWW-Authenticate']).toContain('DPoP error="use_dpop_nonce", algs=')
  })

  test('is not made where nothing can be said: 503 with Retry-After', () => {
    const cause = new Error('redis://user:password@host is away')
    const answer = describeRefusal(
      { kind: 'replays_unavailable', retryAfterSeconds: 5, cause },
      both,
    )
    expect(answer.status).toBe(503)
    expect(answer.headers).toEqual({ 'Retry-After': '5', 'Cache-Control': 'no-store' })
    expect(JSON.stringify(answer)).not.toContain('password')
  })
})

interface Challenge {
  readonly scheme: string
  readonly parameters: Readonly<Record<string, string>>
}

/** As RFC 9110 §11.6.1 has it, and nothing else: throws for the rest. */
function parseChallenges(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = []
  const part = /(?:^|, )(?:([A-Za-z]+)(?: |(?=,|$)))?(?:([a-z_]+)="((?:[^"\\]|\\.)*)")?/y
  while (part.lastIndex < header.length) {
    const at = part.lastIndex
    const [found = '', scheme, name, value = ''] = part.exec(header) ?? []
    if (found === '') throw new Error(`no challenge at ${at} of ${header}`)
    if (scheme !== undefined) challenges.push({ scheme, parameters: {} })
    const parameters = challenges.at(-1)?.parameters ?? {}
    if (name === undefined) continue
    if (Object.hasOwn(parameters, name)) throw new Error(`${name} twice in ${header}`)
    parameters[name] = value.replaceAll(/\\(.)/g, '$1')
  }
  return challenges
}

describe('whatever the texts are', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.stringMatching(/^["\\,= \r\n\0a-z]{0,20}$/),
    fc.constantFrom(
      'x\r\nSet-Cookie: a=b',
      '", DPoP algs="none',
      '\\',
      '\\"',
      '\u{1F511}',
      '\uD800',
    ),
  )

  test('a header holds the challenges that it should, and no line break', () => {
    const property = fc.property(text, text, text, text, (scope, acr, metadata, explanation) => {
      const context = { ...both, scheme: 'DPoP', resourceMetadata: metadata, explanation } as const
      const scopeRefusal: Refusal = { kind: 'insufficient_scope', needed: [scope], missing: [] }
      const acrRefusal: Refusal = { ...stepUp, acrValues: [acr] }
      for (const [refusal, name, value] of [
        [scopeRefusal, 'scope', scope],
        [acrRefusal, 'acr_values', acr],
      ] as const) {
        const header = challengeOf(refusal, context) ?? ''
        validateHeaderValue('WWW-Authenticate', header)
        expect(header).toMatch(/^[\x20-\x7E]*$/)
        const [bearer, dpop, ...others] = parseChallenges(header)
        expect(others).toEqual([])
        expect(bearer).toEqual({
          scheme: 'Bearer',
          parameters: { resource_metadata: clean(metadata) },
        })
        expect(dpop?.scheme).toBe('DPoP')
        expect(dpop?.parameters).toMatchObject({ algs: 'ES256 EdDSA', [name]: clean(value) })
        expect(dpop?.parameters['error_description']).not.toMatch(/["\\]/)
      }
    })
    fc.assert(property)
  })

  test('a nonce is what a header of its kind may hold', () => {
    const property = fc.property(text, (nonce) => {
      const header = describeRefusal({ kind: 'use_dpop_nonce', nonce }, both).headers['DPoP-Nonce']
      expect(header).toMatch(/^[\x21\x23-\x5B\x5D-\x7E]*$/)
    })
    fc.assert(property)
  })
})

function clean(value: string): string {
  return value.replaceAll(/[^\x20-\x7E]/g, '?')
}

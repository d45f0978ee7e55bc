import { describe, expect, test } from 'vitest'
import { describeProtectedResource, type ProtectedResourceOptions } from './metadata.ts'

const MINIMAL = {
  resource: 'https://api.example/',
  authorizationServers: ['https://login.example'],
}

describe('the metadata of an API', () => {
  test('say what was said, in the words of RFC 9728', () => {
    const { document } = describeProtectedResource({
      ...MINIMAL,
      scopes: ['notes:read', 'notes:write'],
      name: 'Notes',
      documentationUrl: 'https://api.example/docs',
      policyUrl: 'https://api.example/policy',
      termsUrl: 'https://api.example/terms',
      dpopAlgorithms: ['ES256', 'EdDSA'],
      isDpopRequired: true,
      takesCertificates: false,
    })
    expect(document).toEqual({
      resource: 'https://api.example/',
      authorization_servers: ['https://login.example'],
      scopes_supported: ['notes:read', 'notes:write'],
      bearer_methods_supported: ['header'],
      resource_name: 'Notes',
      resource_documentation: 'https://api.example/docs',
      resource_policy_uri: 'https://api.example/policy',
      resource_tos_uri: 'https://api.example/terms',
      dpop_signing_alg_values_supported: ['ES256', 'EdDSA'],
      dpop_bound_access_tokens_required: true,
      tls_client_certificate_bound_access_tokens: false,
    })
  })

  test('say nothing of what was not said, and cannot be changed', () => {
    const { document } = describeProtectedResource(MINIMAL)
    expect(Object.keys(document)).toEqual([
      'resource',
      'authorization_servers',
      'bearer_methods_supported',
    ])
    expect(Object.isFrozen(document['authorization_servers'])).toBe(true)
  })

  test.each([
    ['https://api.example', '/.well-known/oauth-protected-resource'],
    ['https://api.example/', '/.well-known/oauth-protected-resource'],
    ['https://api.example/v1', '/.well-known/oauth-protected-resource/v1'],
    ['https://api.example/v1/', '/.well-known/oauth-protected-resource/v1/'],
    ['https://api.example?k=v', '/.well-known/oauth-protected-resource?k=v'],
    ['https://api.example/v1?k=v', '/.well-known/oauth-protected-resource/v1?k=v'],
  ])('of %s are at %s (§3.1)', (resource, path) => {
    const described = describeProtectedResource({ ...MINIMAL, resource })
    expect(described.path).toBe(path)
    expect(described.url).toBe(`https://api.example${path}`)
    // §3.3: a client compares it with what it knows, character by character.
    expect(described.document['resource']).toBe(resource)
  })

  test('may be of an API on this machine without TLS', () => {
    const { url } = describeProtectedResource({ ...MINIMAL, resource: 'http://127.0.0.1:3002/' })
    expect(url).toBe('http://127.0.0.1:3002/.well-known/oauth-protected-resource')
  })

  test.each<[string, Partial<Record<keyof ProtectedResourceOptions | 'scope', unknown>>]>([
    ['resource', { resource: 'http://api.example/' }],
    ['resource', { resource: 'https://api.example/#top' }],
    ['resource', { resource: 'https://user:secret@api.example/' }],
    ['resource', { resource: 'urn:api' }],
    ['resource', { resource: ' https://api.example/' }],
    ['resource', { resource: undefined }],
    ['authorizationServers', { authorizationServers: [] }],
    ['authorizationServers', { authorizationServers: ['http://login.example'] }],
    ['scopes', { scopes: ['notes:read', ''] }],
    ['documentationUrl', { documentationUrl: 'javascript:alert(1)' }],
    ['policyUrl', { policyUrl: '/policy' }],
    ['no option scope', { scope: 'notes:read' }],
  ])('are refused for a wrong %s: %j', (message, change) => {
    const options = { ...MINIMAL, ...change } as ProtectedResourceOptions
    const describeIt = () => describeProtectedResource(options)
    expect(describeIt).toThrow(TypeError)
    expect(describeIt).toThrow(message)
  })
})

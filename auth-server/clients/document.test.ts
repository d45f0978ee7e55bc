import { describe, expect, test } from 'vitest'
import { judgeDocumentUrl } from './document.ts'

const RULES = { issuer: 'https://id.example' }

describe('the URL of a document', () => {
  test.each([
    'https://app.example/',
    'https://app.example/client.json',
    'https://app.example:8443/client.json',
    'https://a.b.app.example/~me/client',
    'https://app.example/%7Eme/client',
    'https://xn--bcher-kva.example/client',
    'https://app.example/a//b',
  ])('%s is good', (url) => {
    expect(judgeDocumentUrl(url, RULES)).toBeUndefined()
  })

  test.each([
    'https://app.example',
    'HTTPS://app.example/',
    'https://App.example/',
    'https://bücher.example/client',
    'https://app。example/client',
    'https://app.example/./client',
    'https://app.example/a/..',
    'https://app.example/%2e%2E/client',
    'https:/app.example/client',
    'https:app.example/client',
    'https:\\\\app.example\\client',
    'https://app.example/client\t',
    ' https://app.example/client',
    'https://@app.example/client',
    'https://app.example:/client',
    'https://app.example:0/client',
    'https://app.example:25/client',
    'https://app.example:99999/client',
    'https://id.example/client',
    'https://localhost/client',
    'https://localhost:8443/client',
    'https://127.0.0.1/client',
    'https://0/client',
    'https://2130706433/client',
    'http://localhost/client',
    'blob:https://app.example/client',
    'file:///etc/passwd',
    'dyn_x:y',
    '',
  ])('%j is not', (url) => {
    expect(judgeDocumentUrl(url, RULES)).toEqual(expect.any(String))
  })

  test('on loopback is for a server there', () => {
    const local = { issuer: 'http://localhost:3000' }
    for (const url of [
      'http://localhost:3001/a',
      'http://127.0.0.1:3001/a',
      'http://[::1]:3001/a',
    ]) {
      expect(judgeDocumentUrl(url, local)).toBeUndefined()
      expect(judgeDocumentUrl(url, RULES)).toEqual(expect.any(String))
    }
    expect(judgeDocumentUrl('http://app.example/a', local)).toBe('an https URL')
    expect(judgeDocumentUrl('http://localhost:3000/a', local)).toMatch(/another server/)
    expect(judgeDocumentUrl('http://10.0.0.1:3001/a', local)).toBe('an https URL')
  })

  test('is of a host that may be used, where the operator says which', () => {
    const rules = { ...RULES, hosts: ['app.example', '*.example.org'] }
    for (const good of ['https://app.example/a', 'https://a.example.org/a']) {
      expect(judgeDocumentUrl(good, rules)).toBeUndefined()
    }
    for (const bad of [
      'https://example.org/a',
      'https://evilexample.org/a',
      'https://app.example.evil.example/a',
      'https://b.app.example/a',
    ]) {
      expect(judgeDocumentUrl(bad, rules)).toMatch(/may be used here/)
    }
  })
})

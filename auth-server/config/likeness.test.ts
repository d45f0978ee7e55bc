import { describe, expect, test } from 'vitest'
import { looksLike, mixesScripts } from './likeness.ts'

describe('a name', () => {
  test.each([
    'The Web App',
    'the-web-app',
    'THE WEB APP!',
    'Thé Wéb Äpp',
    'The  Web  App ™'.replace('™', '.'),
    'Тhe Wеb Арр',
    'Τhe Web App',
    'Ｔｈｅ Ｗｅｂ Ａｐｐ',
    'The VVeb App',
  ])('"%s" looks like The Web App', (name) => {
    expect(looksLike(name, 'The Web App')).toBe(true)
  })

  test.each(['The Web Map', 'Web App', 'アプリ', '...'])('"%s" does not', (name) => {
    expect(looksLike(name, 'The Web App')).toBe(false)
  })

  test('of signs alone looks like none', () => {
    expect(looksLike('***', '---')).toBe(false)
  })

  test.each(['Pаypal', 'Ηello', 'Аpp'])('"%s" mixes scripts', (name) => {
    expect(mixesScripts(name)).toBe(true)
  })

  test.each(['PayPal', 'Приложение', 'Εφαρμογή', 'アプリ App', '日本語 123'])(
    '"%s" does not',
    (name) => {
      expect(mixesScripts(name)).toBe(false)
    },
  )
})

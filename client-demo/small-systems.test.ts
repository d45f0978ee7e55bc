import { expect, test } from 'vitest'
import { describeDemo } from './configuration.ts'
import { makeSmallSecrets } from './small-systems.ts'

const PLACE = { issuer: 'http://127.0.0.1:3000', port: 3000, webUrl: 'http://localhost:3002' }

test('weak passwords and guessable keys are where flows run, and nowhere else', () => {
  const names = Object.keys(makeSmallSecrets())
  const started = describeDemo(PLACE)
  expect(Object.keys(started)).not.toContain('directAccess')
  expect(Object.keys(started)).not.toContain('signIn')
  for (const name of names) expect(JSON.stringify(started)).not.toContain(name)
  const run = describeDemo({ ...PLACE, callbackUrl: 'http://127.0.0.1:1/callback' })
  for (const name of names) expect(JSON.stringify(run)).toContain(name)
})

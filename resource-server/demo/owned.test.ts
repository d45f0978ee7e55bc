import { expect, test } from 'vitest'
import { systemClock } from '../clock.ts'
import { createOwnedThings } from './owned.ts'

test('one takes half of the room, whoever it is for, and leaves the other half', () => {
  const things = createOwnedThings<{ readonly item: string }>(systemClock)
  const make = (author: string, owner = author) => things.add(owner, author, { item: 'x' })
  const made = Array.from({ length: 1001 }, (_none, at) => make('mallory', `owner ${at}`))
  expect(made.filter((thing) => thing !== undefined)).toHaveLength(500)
  expect(make('alice')).toMatchObject({ owner: 'alice', item: 'x' })
  expect(make('mallory')).toBeUndefined()
})

test('many together leave room for one who comes new', () => {
  const things = createOwnedThings<{ readonly item: string }>(systemClock)
  const total = Array.from({ length: 5000 }, (_none, at) => {
    const author = `mallory ${at % 50}`
    return things.add(author, author, { item: 'x' })
  }).filter((thing) => thing !== undefined).length
  expect(total).toBeLessThan(1000)
  expect(things.add('alice', 'alice', { item: 'x' })).toMatchObject({ owner: 'alice' })
})

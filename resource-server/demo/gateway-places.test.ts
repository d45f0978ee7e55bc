import { expect, test } from 'vitest'
import { createPlaces, type Places } from './gateway-places.ts'

/** Takes as many places as there are for this holder. */
function takeAll(places: Places, service: string, holder: string): Disposable[] {
  const taken = places.take(service, holder)
  return taken.ok ? [taken.value, ...takeAll(places, service, holder)] : []
}

test('one gets half of the places, and whoever comes after them half of the rest', () => {
  const places = createPlaces(256)
  expect(takeAll(places, 'a', 'mallory')).toHaveLength(128)
  expect(takeAll(places, 'a', 'alice')).toHaveLength(64)
  expect(places.take('a', 'mallory')).toEqual({ ok: false, reason: 'share_taken' })
})

test('fifty who are greedy leave a place to one who is not', () => {
  const places = createPlaces(256)
  for (let round = 0; round < 256; round++) {
    for (let who = 0; who < 50; who++) places.take('a', `mallory ${who}`)
  }
  expect(places.take('a', 'alice').ok).toBe(true)
})

test('what somebody holds at one service counts at another', () => {
  const places = createPlaces(8)
  takeAll(places, 'a', 'mallory')
  expect(takeAll(places, 'b', 'mallory')).toHaveLength(2)
  expect(takeAll(places, 'b', 'alice')).toHaveLength(3)
})

test('a place that was given back is there again, and is given back once', () => {
  const places = createPlaces(1)
  const [place] = takeAll(places, 'a', 'alice')
  expect(places.take('a', 'bob')).toEqual({ ok: false, reason: 'all_taken' })
  place?.[Symbol.dispose]()
  place?.[Symbol.dispose]()
  expect(takeAll(places, 'a', 'bob')).toHaveLength(1)
  expect(places.take('a', 'carol')).toEqual({ ok: false, reason: 'all_taken' })
})

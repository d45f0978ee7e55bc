import { expect, test } from 'vitest'
import { startBeats, type BeatTaker, type SignedBeat } from './beats.ts'

const BEAT: SignedBeat = { text: 'signed', head: 1 }

function refuseFailure(error: unknown): void {
  throw error
}

function createTaker() {
  const turns: number[] = []
  const taker: BeatTaker = { take: (_beat, turn) => turns.push(turn) }
  return { taker, turns }
}

test('who comes is told at once, and with everybody else', async () => {
  await using beats = startBeats(async () => BEAT, refuseFailure)
  const { taker, turns } = createTaker()
  await beats.add(taker)
  expect(turns).toEqual([0])
  const told: BeatTaker[] = []
  await beats.tell((one) => told.push(one))
  expect(told).toEqual([taker])
})

test('who has gone while the first beat was signed is told nothing, and forgotten', async () => {
  const signed = Promise.withResolvers<SignedBeat>()
  await using beats = startBeats(() => signed.promise, refuseFailure)
  const { taker, turns } = createTaker()
  const added = beats.add(taker)
  beats.remove(taker)
  signed.resolve(BEAT)
  await added
  expect(turns).toEqual([])
  const told: BeatTaker[] = []
  await beats.tell((one) => told.push(one))
  expect(told).toEqual([])
})

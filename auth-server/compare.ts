import { timingSafeEqual } from 'node:crypto'

/** Whether two texts are one, in a time that tells only how long they are. */
export function isSameText(one: string, two: string): boolean {
  const [first, second] = [Buffer.from(one), Buffer.from(two)]
  return first.length === second.length && timingSafeEqual(first, second)
}

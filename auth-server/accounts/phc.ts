/** A salt of 8 to 64 bytes and a hash of 16 to 64, in base64 without padding, and nothing else. */
const ARGON2ID =
  /^\$argon2id\$v=19\$m=([1-9]\d{0,6}),t=([1-9]\d{0,2}),p=([1-9]\d?)\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/

/** In KiB. The most is taken as often as passwords are checked at once. */
const LEAST_MEMORY = 7168
const MOST_MEMORY = 131_072
const MOST_LANES = 8
/**
 * Memory in KiB times passes, which is what a hash costs. The least is what widespread libraries are
 * content with; the most, some eight times what this server takes itself, is the dearest of their
 * defaults.
 */
const LEAST_COST = 32_768
const MOST_COST = 300_000

export const HASH_HELP = `an argon2id hash (PHC) with m from ${LEAST_MEMORY} to ${MOST_MEMORY}, m times t from ${LEAST_COST} to ${MOST_COST}, p up to ${MOST_LANES}`

/**
 * Whether a password hash that was made elsewhere may be kept. One that is too dear would let whoever
 * sent it take the memory and the time of the server with every sign-in; one that is too cheap is
 * guessed as soon as it is stolen.
 *
 * @see {@link https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md PHC string format}
 * @see {@link https://www.rfc-editor.org/rfc/rfc9106.html RFC 9106}
 */
export function isBearableHash(phc: string): boolean {
  const [, memory, passes, lanes, salt = '', hash = ''] = ARGON2ID.exec(phc) ?? []
  if (memory === undefined) return false
  const cost = Number(memory) * Number(passes)
  return (
    isBetween(LEAST_MEMORY, Number(memory), MOST_MEMORY) &&
    isBetween(LEAST_COST, cost, MOST_COST) &&
    Number(lanes) <= MOST_LANES &&
    isCanonical(salt) &&
    isCanonical(hash)
  )
}

function isBetween(least: number, value: number, most: number): boolean {
  return least <= value && value <= most
}

/** Bits that belong to no byte are zero: one hash has one text. */
function isCanonical(text: string): boolean {
  return Buffer.from(text, 'base64').toString('base64').replace(/=+$/, '') === text
}

/** What is drawn as nothing, or as a space that is none, though Unicode has it as a letter or sign. */
const BLANK = String.raw`\p{Default_Ignorable_Code_Point}\u{2800}\u{1D159}\u{13441}\u{13442}`
const SEEN = String.raw`[[\p{L}\p{N}\p{P}\p{S}]--[${BLANK}]]`
/** As emoji and Japanese names are written: the form of the character before it. */
const FORM = String.raw`\p{Variation_Selector}?`
/** No script wants more on a letter. A pile of them covers the lines around it. */
const MOST_ACCENTS = 4
const ACCENTS = String.raw`[\p{M}--[${BLANK}]]{0,${MOST_ACCENTS}}`

/** Describes a name in the words of mistakes, and completes what a sentence says about it. */
export const NAME_RULE = `none of them invisible, and no more than ${MOST_ACCENTS} accents on a letter`

/** Any of what cannot be seen: what controls, orders or ends a line, and what is blank. */
export const UNSEEN: RegExp = new RegExp(String.raw`[\p{C}\p{Zl}\p{Zp}${BLANK}]`, 'gv')

/**
 * Whatever people are called, and call their things. It is read by others, on pages and terminals,
 * so it is on one line, and nothing in it hides, is turned around or covers what stands beside it.
 * Letters of several scripts that look alike are not told apart.
 */
export function namePattern(longest: number): RegExp {
  return new RegExp(
    `^(?=.{1,${longest}}$)(?=.*${SEEN})(?:${SEEN}${FORM}${ACCENTS}|\\p{Zs}${ACCENTS})+$`,
    'v',
  )
}

/** The same without spaces. */
export function usernamePattern(longest: number): RegExp {
  return new RegExp(`^(?=.{1,${longest}}$)(?:${SEEN}${FORM}${ACCENTS})+$`, 'v')
}

/** Letters of other scripts that are drawn as a Latin one is, or nearly so. */
const ALIKE: Readonly<Record<string, string>> = {
  ...pair('авеһіјкмнорѕтухԁԛѵԝӏ', 'abehijkmhopstyxdqvwl'),
  ...pair('αβεηικνορτυχω', 'abenikvoptuxw'),
  ...pair('ոօսհցո', 'nouhgn'),
  ...pair('ıȷɑɡƖ', 'ijagl'),
}
const SCRIPTS = ['Latin', 'Cyrillic', 'Greek', 'Armenian', 'Cherokee', 'Coptic'].map(
  (script) => new RegExp(String.raw`\p{Script=${script}}`, 'u'),
)

/**
 * Whether a reader may take one name for the other: accents, case, spaces, signs, and letters that look
 * alike make no difference. A help, no proof: nobody can tell every likeness.
 */
export function looksLike(one: string, other: string): boolean {
  const [first, second] = [outline(one), outline(other)]
  return first !== '' && first === second
}

/** Whether letters of scripts that look alike stand in one name, as nobody writes them. */
export function mixesScripts(name: string): boolean {
  return SCRIPTS.filter((script) => script.test(name)).length > 1
}

function outline(name: string): string {
  const plain = name.normalize('NFKD').replaceAll(/\p{M}/gu, '').toLowerCase()
  return Array.from(plain, (letter) => ALIKE[letter] ?? letter)
    .join('')
    .replaceAll(/[^\p{L}\p{N}|$]/gu, '')
    .replaceAll(/[1i|]/g, 'l')
    .replaceAll('0', 'o')
    .replaceAll(/[5$]/g, 's')
    .replaceAll('rn', 'm')
    .replaceAll('vv', 'w')
}

function pair(letters: string, latin: string): Record<string, string> {
  return Object.fromEntries(Array.from(letters, (letter, index) => [letter, latin[index] ?? '']))
}

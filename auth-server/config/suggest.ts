/** Names of the specifications, or guessed ones, and what they are called here. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  clientid: 'id',
  clientsecret: 'secret',
  clientname: 'name',
  granttypes: 'grants',
  tokenendpointauthmethod: 'authMethod',
  scope: 'scopes',
  aud: 'audience',
  defaultresourceindicator: 'defaultResource',
  corsorigins: 'origins',
  port: 'listen.port',
  host: 'listen.host',
  databaseurl: 'database.url',
  loglevel: 'log.level',
}

/**
 * The member that was probably meant, or `undefined`. `redirect_uris` is `redirectUris`; otherwise a
 * third of the letters may differ.
 */
export function suggestMember(written: string, members: readonly string[]): string | undefined {
  const plain = simplify(written)
  const same = members.find((member) => simplify(member) === plain)
  if (same !== undefined) return same
  const other = Object.hasOwn(OTHER_NAMES, plain) ? OTHER_NAMES[plain] : undefined
  if (other !== undefined && members.includes(other.split('.', 1)[0] ?? '')) return other
  const near = members
    .map((member) => ({ member, distance: countEdits(plain, simplify(member)) }))
    .filter(({ member, distance }) => distance <= Math.ceil(member.length / 3))
    .toSorted((one, two) => one.distance - two.distance)
  return near[0]?.member
}

function simplify(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, '')
    .slice(0, 64)
}

/** Insertions, deletions and substitutions between two short texts (Levenshtein). */
function countEdits(one: string, two: string): number {
  let previous = Array.from({ length: two.length + 1 }, (_, index) => index)
  for (const [row, letter] of one.split('').entries()) {
    const current = [row + 1]
    for (const [column, other] of two.split('').entries()) {
      const substitution = (previous[column] ?? 0) + (letter === other ? 0 : 1)
      const insertion = (current[column] ?? 0) + 1
      const deletion = (previous[column + 1] ?? 0) + 1
      current.push(Math.min(substitution, insertion, deletion))
    }
    previous = current
  }
  return previous.at(-1) ?? 0
}

/** Of one client: what is guessed at one pushes out nothing that others have sent. */
const MOST_OF_ONE = 100
/** About two megabytes. */
const MOST = 10_000

export interface WrongSecrets {
  has(clientId: string, fingerprint: string): boolean
  add(clientId: string, fingerprint: string): void
}

/**
 * Which secrets were wrong, by fingerprints that say nothing outside of this process. What was sent least
 * recently is forgotten first: of a client that has had many, then of the client that nobody has sent a
 * wrong one for the longest time.
 */
export function rememberWrong(): WrongSecrets {
  /** The most recent last, clients as well as fingerprints. */
  const known = new Map<string, Set<string>>()
  let count = 0
  const put = (clientId: string, fingerprint: string) => {
    const own = known.get(clientId) ?? new Set()
    count -= Number(own.delete(fingerprint))
    own.add(fingerprint)
    count += 1
    known.delete(clientId)
    known.set(clientId, own)
    return own
  }
  const forgetFirst = (clientId: string, own: Set<string>) => {
    for (const first of own) {
      own.delete(first)
      count -= 1
      break
    }
    if (own.size === 0) known.delete(clientId)
  }
  return {
    has(clientId, fingerprint) {
      if (!known.get(clientId)?.has(fingerprint)) return false
      put(clientId, fingerprint)
      return true
    },
    add(clientId, fingerprint) {
      const own = put(clientId, fingerprint)
      if (own.size > MOST_OF_ONE) forgetFirst(clientId, own)
      if (count <= MOST) return
      for (const [oldest, theirs] of known) {
        forgetFirst(oldest, theirs)
        break
      }
    },
  }
}

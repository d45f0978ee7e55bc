import { createVerifier, type Verifier, type VerifierOptions } from '@portreeve/resource-server'
import { pickExpectations, type Setup } from './setup.ts'

/** A verifier that keeps no tokens, and whether that had to be asked for. */
export interface Uncached {
  readonly verifier: Verifier
  readonly hasCache: boolean
}

export function createUncachedVerifier(setup: Setup): Uncached {
  const verifier = tryOptions(setup, { cache: false })
  return verifier
    ? { verifier, hasCache: true }
    : { verifier: createVerifier(pickExpectations(setup)), hasCache: false }
}

/** A verifier that has room for so many tokens, or `undefined` where it keeps none anyway. */
export function createRoomyVerifier(setup: Setup, maxTokens: number): Verifier | undefined {
  return tryOptions(setup, { cache: { maxTokens } })
}

/** A verifier of before the cache says that it has no such option. */
function tryOptions(setup: Setup, options: object): Verifier | undefined {
  try {
    const all: VerifierOptions = { ...pickExpectations(setup), ...options }
    return createVerifier(all)
  } catch (error) {
    const isUnknown = error instanceof TypeError && error.message.includes('has no option cache')
    if (isUnknown) return undefined
    throw error
  }
}

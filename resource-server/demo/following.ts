import {
  createRevocationFeed,
  createVerifier,
  type RevocationFeed,
  type Verifier,
  type VerifierOptions,
} from '../index.ts'
import type { Environment } from './environment.ts'
import { log } from './serve.ts'

/** How an API is told to follow what its issuer revokes. */
export const FOLLOW_USAGE = `  --feed-client ID           refuse at once what the issuer revokes: follow its feed as this client,
                             whose secret is in the environment variable FEED_SECRET
  --feed-receiver NAME       what it calls itself there, after each start the same (default: random)
`
export const FOLLOW_OPTIONS = {
  'feed-client': { type: 'string' },
  'feed-receiver': { type: 'string' },
} as const

export interface FollowValues {
  readonly 'feed-client'?: string | undefined
  readonly 'feed-receiver'?: string | undefined
}

/** Whose tokens an API takes, and where it hears which of them are over. The verifier ends first. */
export interface Followed {
  readonly verifier: Verifier
  /** `undefined` where it hears nothing, and takes tokens until they expire. */
  readonly feed: RevocationFeed | undefined
}

/** Throws a `TypeError` that names the option. Call it last: a feed holds a connection from the start. */
export function openVerifier(
  options: VerifierOptions & { readonly issuer: string },
  { 'feed-client': clientId, 'feed-receiver': receiver }: FollowValues,
  { FEED_SECRET: clientSecret = '' }: Environment,
): Followed {
  if (clientId === undefined) {
    if (receiver !== undefined) throw new TypeError('--feed-receiver needs --feed-client')
    return { verifier: createVerifier(options), feed: undefined }
  }
  if (clientSecret === '')
    throw new TypeError('FEED_SECRET: set it to the secret of the client of the feed')
  const { issuer } = options
  const name = receiver === undefined ? {} : { receiver }
  const feed = createRevocationFeed({ issuer, clientId, clientSecret, ...name, onFault: logFault })
  try {
    return { verifier: createVerifier({ ...options, revocations: feed }), feed }
  } catch (error) {
    void feed[Symbol.asyncDispose]()
    throw error
  }
}

function logFault(error: Error): void {
  log({ event: 'revocations_not_heard', error })
}

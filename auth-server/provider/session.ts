import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { isSignInOver, type Account, type AccountStore } from '../accounts/account.ts'
import { OWN_CALLBACK } from '../clients/own-client.ts'
import { OWN_CLIENT_ID } from '../config/built-in.ts'
import type { EngineHost } from './host.ts'
import type { LastUses } from './last-use.ts'

/** Who is signed in at a browser. */
export interface SignedInPerson {
  /** Names the session. The browser never learns it. */
  readonly sessionUid: string
  readonly account: Account
  /** Milliseconds since the epoch, in whole seconds: when they proved who they are. */
  readonly signedInAt: number
  /** How they did, as tokens say it (RFC 9470, RFC 8176). */
  readonly acr: string | undefined
  readonly amr: readonly string[]
}

/** The engine's side of the pages that people have of their own. */
export interface Sessions {
  /** `undefined` where nobody is signed in, or whoever is may not act any more. */
  find(req: IncomingMessage, res: ServerResponse): Promise<SignedInPerson | undefined>
  /** Where to send a browser to sign in. It comes back to `OWN_CALLBACK` with the `state`. */
  signInUrl(state: string, options?: SignInOptions): string
}

export interface SignInOptions {
  /** How long ago the sign-in may be. Default: as long as the session lives. */
  readonly maxAgeSeconds?: number
}

export interface SessionCollaborators {
  readonly host: EngineHost
  readonly accounts: Pick<AccountStore, 'findById'>
  readonly lastUses: LastUses
}

export function createSessions(
  { host, accounts, lastUses }: SessionCollaborators,
  { issuer }: { readonly issuer: string },
): Sessions {
  return {
    async find(req, res) {
      const provider = host.provider()
      const { cookies, ip } = provider.createContext(req, res)
      const id = cookies.get(provider.cookieName('session'), { signed: true })
      const session = id === undefined ? undefined : await provider.Session.find(id)
      if (session?.accountId === undefined) return undefined
      const account = await accounts.findById(session.accountId)
      const { uid, loginTs = 0, acr, amr = [] } = session
      // As `configuration.ts` judges it: the page and the sign-in agree.
      if (!account || account.disabled || isSignInOver(account, loginTs)) return undefined
      const visitor = { address: ip, userAgent: req.headers['user-agent'] ?? '' }
      await lastUses.record({ kind: 'session', id: uid }, visitor)
      return { sessionUid: uid, account, signedInAt: loginTs * 1000, acr, amr }
    },
    signInUrl(state, { maxAgeSeconds } = {}) {
      const url = new URL('/auth', issuer)
      const parameters = {
        client_id: OWN_CLIENT_ID,
        redirect_uri: `${issuer}${OWN_CALLBACK}`,
        response_type: 'code',
        scope: 'openid',
        // Nobody has its verifier: the code is for nothing.
        code_challenge: randomBytes(32).toString('base64url'),
        code_challenge_method: 'S256',
        state,
        ...(maxAgeSeconds === undefined ? {} : { max_age: String(maxAgeSeconds) }),
      }
      url.search = new URLSearchParams(parameters).toString()
      return url.href
    },
  }
}

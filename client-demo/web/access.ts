import type { ApiAnswer, AskApi } from './api.ts'
import type { Clock } from './clock.ts'
import type { Issuer } from './issuer.ts'
import type { Session } from './sessions.ts'

const FRESH_FOR_MS = 5000

export interface Access {
  ask(session: Session, method: string, path: string, body?: object): Promise<ApiAnswer>
  renew(session: Session): Promise<void>
}

/** The API with a session's access token, which is renewed as needed. */
export function createAccess(clock: Clock, issuer: Issuer, askApi: AskApi): Access {
  /** Requests that want a new token share one refresh: a second one would look like a replay. */
  const renew = (session: Session) => {
    session.renewal ??= exchange(session).finally(() => {
      session.renewal = undefined
    })
    return session.renewal
  }
  const exchange = async (session: Session) => {
    session.tokens = await issuer.refresh(session.tokens, session.person.subject)
  }

  return {
    renew,
    async ask(session, method, path, body) {
      if (session.tokens.expiresAt - clock.now() < FRESH_FOR_MS) await renew(session)
      const { accessToken } = session.tokens
      const answer = await askApi(accessToken, method, path, body)
      if (answer.status !== 401) return answer
      // Revoked perhaps, or the clocks differ: a new one settles it, or the session is over.
      if (session.tokens.accessToken === accessToken) await renew(session)
      return askApi(session.tokens.accessToken, method, path, body)
    },
  }
}

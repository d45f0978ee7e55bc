import { hasForm, type Page } from '../../browser.ts'
import type { Username } from '../../configuration.ts'
import { makeRequest, type AuthorizationRequest, type Tokens } from '../../oauth.ts'
import { obtainTokens, receiveAnswer } from '../../people.ts'
import type { CodeStage } from './stage.ts'

export const SCOPES = 'openid profile email notes:read notes:write'

const PATIENCE_WITH_A_PERSON_SECONDS = 300

export function ask(
  { world, client }: CodeStage,
  more: Readonly<Record<string, string>> = {},
): Promise<AuthorizationRequest> {
  return makeRequest(world, client.get(), { scope: SCOPES, ...more })
}

export function receiveAnswerOf({ world, openBrowser, stopped }: CodeStage): Promise<URL> {
  const patience = openBrowser ? { seconds: PATIENCE_WITH_A_PERSON_SECONDS } : {}
  return receiveAnswer(world, { ...patience, stopped })
}

/** From nothing to tokens, for somebody who is asked for consent as well. */
export async function obtain(
  { world, client, browsers }: CodeStage,
  username: Exclude<Username, 'alice'>,
): Promise<{ readonly tokens: Tokens; readonly consent: Page }> {
  const browser = browsers[username]
  const parameters = { scope: SCOPES }
  const { tokens, consent } = await obtainTokens(world, client.get(), browser, username, parameters)
  if (!consent) throw new TypeError('there was no consent page')
  return { tokens, consent }
}

/** Sends Alice to the server and back, once she has a session there. */
export async function askAgain(
  stage: CodeStage,
  more: Readonly<Record<string, string>> = {},
): Promise<{ readonly request: AuthorizationRequest; readonly answer: URL; asked: string[] }> {
  const request = await ask(stage, more)
  const asked: string[] = []
  if (stage.openBrowser) {
    await stage.openBrowser(
      request.url.href,
      more['prompt'] === 'none' ? 'It comes back by itself.' : 'Agree once more.',
    )
  } else {
    const page = await stage.browsers.alice.get(request.url.href)
    if (hasForm(page, '/sign-in')) asked.push('sign-in')
    if (hasForm(page, '/consent')) {
      asked.push('consent')
      await stage.browsers.alice.submit(page, '/consent')
    }
  }
  return { request, answer: await receiveAnswerOf(stage), asked }
}

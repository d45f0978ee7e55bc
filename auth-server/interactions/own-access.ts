import type { Form } from '../form.ts'
import type { OwnAccessFacts } from './pages.ts'
import { NOT_FROM_HERE, type Problem } from './problem.ts'
import { PAGE, type AccountCollaborators, type Visit } from './visit.ts'

type Parts = AccountCollaborators

export const END_SESSION: string = `${PAGE}/sessions/end`
export const END_OTHERS: string = `${PAGE}/sessions/end-others`
export const REMOVE_APP: string = `${PAGE}/apps/remove`

type FormName = 'end-session' | 'end-others' | 'remove-app'

export async function describeOwnAccess(
  { access, csrf }: Parts,
  visit: Visit,
): Promise<OwnAccessFacts> {
  const { sessions, apps, ...more } = await access.list(visit.person)
  const issue = (form: FormName, id: string) => csrf.issue(bindingOf(visit, form, id))
  const hasOthers = more.hasMoreSessions || sessions.some(({ isCurrent }) => !isCurrent)
  return {
    ...more,
    sessions: sessions.map((one) => ({ ...one, token: issue('end-session', one.id) })),
    apps: apps.map((app) => ({ ...app, token: issue('remove-app', app.client.id) })),
    endOthersToken: hasOthers ? issue('end-others', '') : undefined,
  }
}

function bindingOf({ person }: Visit, form: FormName, id: string): string[] {
  return ['account', person.sessionUid, person.account.id, form, id]
}

/** Ends something that is the visitor's own. Answers why the form was not taken, if it was not. */
export type EndOwn = (parts: Parts, visit: Visit, form: Form) => Promise<Problem | undefined>

/**
 * None of this wants a fresh sign-in: whoever has to be rid of something has to be rid of it now. What
 * somebody at an open browser can do with it is a nuisance: whoever owns the account signs in again.
 *
 * What is over already is no problem: it is over, as was wanted. What belongs to somebody else has no
 * token here, and so the answer to it is the same whether or not it is there.
 */
function takeOwn(
  name: FormName,
  end: (parts: Parts, visit: Visit, id: string) => Promise<void>,
): EndOwn {
  return async (parts, visit, form) => {
    const id = name === 'end-others' ? '' : (form.get('id') ?? '')
    if (!parts.csrf.isValid(form.get('csrf') ?? '', bindingOf(visit, name, id)))
      return NOT_FROM_HERE
    await end(parts, visit, id)
    return undefined
  }
}

export const endSession: EndOwn = takeOwn('end-session', ({ access }, { person }, id) =>
  access.endSession(person, id),
)
export const endOthers: EndOwn = takeOwn('end-others', ({ access }, { person }) =>
  access.endOtherSessions(person),
)
export const removeApp: EndOwn = takeOwn('remove-app', ({ access }, { person }, id) =>
  access.withdrawConsent(person, id),
)

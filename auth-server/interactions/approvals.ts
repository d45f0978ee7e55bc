import { Router, type RouterContext } from '@koa/router'
import type { Middleware } from 'koa'
import type { WaitingRequest } from '../provider/approvals.ts'
import {
  open,
  REQUESTS,
  takeForm,
  type AccountCollaborators,
  type AccountOptions,
  type Act,
  type Visit,
} from './visit.ts'
import { NOT_FROM_HERE, type Problem } from './problem.ts'
import { answer, listAsked, refuseMethod, setPageHeaders } from './routes.ts'

type Parts = AccountCollaborators
type Decision = 'approve' | 'refuse'

const APPROVE = `${REQUESTS}/approve`
const REFUSE = `${REQUESTS}/refuse`

/** The page where people answer what applications elsewhere have asked them (CIBA). */
export function createApprovalRoutes(parts: Parts, { issuer }: AccountOptions): Middleware {
  const router = new Router({ strict: true, sensitive: true })
  const take = (act: Act) => open(parts, 'requests', takeForm(issuer, act, showRequests))
  router.use(setPageHeaders)
  router.get(REQUESTS, open(parts, 'requests', showRequests))
  router.all(REQUESTS, refuseMethod(parts, 'GET, HEAD'))
  router.post(APPROVE, take(approve))
  router.post(REFUSE, take(refuse))
  router.all([APPROVE, REFUSE], refuseMethod(parts, 'POST'))
  return router.routes() as Middleware
}

/** An answer is bound to what was asked when the page was made: one that has become untrue is none. */
function bindingOf({ person }: Visit, decision: Decision, request: WaitingRequest): string[] {
  const { sessionUid, account } = person
  return ['account', sessionUid, account.id, decision, request.id, ...listAsked(request)]
}

async function showRequests(
  parts: Parts,
  ctx: RouterContext,
  visit: Visit,
  problem?: Problem,
): Promise<void> {
  const { approvals, csrf, pages } = parts
  const { account } = visit.person
  const waiting = await approvals.list(account)
  const requests = waiting.map((request) => ({
    request,
    approveToken: csrf.issue(bindingOf(visit, 'approve', request)),
    refuseToken: csrf.issue(bindingOf(visit, 'refuse', request)),
  }))
  answer(ctx, problem?.status ?? 200, pages.requests({ account, requests, problem }))
}

const OVER: Problem = {
  status: 409,
  text: 'That request was answered already, has expired or was taken back, so nothing was done.',
  fields: [],
}

/** Does `answerIt` with the request that the form is about, which has to wait for this very person. */
function decide(
  decision: Decision,
  answerIt: (parts: Parts, visit: Visit, request: WaitingRequest) => Promise<boolean>,
): Act {
  return async (parts, ctx, visit, form) => {
    const waiting = await parts.approvals.list(visit.person.account)
    const request = waiting.find(({ id }) => id === form.get('id'))
    if (!request) {
      await showRequests(parts, ctx, visit, OVER)
    } else if (!parts.csrf.isValid(form.get('csrf') ?? '', bindingOf(visit, decision, request))) {
      await showRequests(parts, ctx, visit, NOT_FROM_HERE)
    } else if (await answerIt(parts, visit, request)) {
      const others = waiting.length - 1
      answer(
        ctx,
        200,
        parts.pages.requestEnd({ clientName: request.client.name, decision, others }),
      )
    } else {
      await showRequests(parts, ctx, visit, OVER)
    }
  }
}

const approve = decide(
  'approve',
  async ({ approvals }, { person }, request) =>
    request.isPossible && (await approvals.approve(person, request)),
)

const refuse = decide('refuse', ({ approvals }, { person }, request) =>
  approvals.refuse(person, request),
)

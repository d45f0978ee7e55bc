import { expect, test } from 'vitest'
import { runSteps, type OpenBrowser } from '../../client-demo/flow.ts'
import { codeFlow } from '../../client-demo/flows/code/flow.ts'
import type { Reporter, StepReport } from '../../client-demo/report.ts'
import { buildWorld } from '../../client-demo/world.ts'
import { createBrowser } from '../support/browser.ts'

test('the flow goes through a browser of the person’s own', async () => {
  const stopped = new AbortController().signal
  await using world = await buildWorld(stopped)
  const browser = createBrowser(world.issuer)
  const todos: string[] = []
  const openBrowser: OpenBrowser = async (url, todo) => {
    todos.push(todo)
    const [, password = ''] = /password (\w+)/.exec(todo) ?? []
    let page = await browser.get(url)
    const offers = (action: string) => page.text.includes(`${action}"`)
    if (offers('/sign-in')) {
      page = await browser.submit(page, '/sign-in', { username: 'alice', password })
    }
    if (offers('/consent')) page = await browser.submit(page, '/consent')
    if (offers('/confirm')) page = await browser.submit(page, '/confirm', { logout: 'yes' })
    const back = await fetch(page.location ?? 'none:')
    expect(await back.text()).toContain('You may close this window')
  }
  const reports: StepReport[] = []
  const reporter: Reporter = {
    prepare: () => {},
    start: () => {},
    step: (report) => void reports.push(report),
    end: () => {},
    summary: () => {},
    ask: () => {},
  }
  const stage = codeFlow.createStage(world, stopped, openBrowser)
  const collaborators = {
    flow: 'code',
    wire: world.wire,
    reporter,
    deaths: [world.died],
    stopped,
  }
  const end = await runSteps(stage, codeFlow.listSteps(stage), collaborators)
  expect(reports.filter(({ ok }) => !ok)).toEqual([])
  expect(end.ok).toBe(true)
  expect(reports.map(({ title }) => title)).toContain(
    'You sign in as Alice and agree, in your own browser',
  )
  expect(todos).toEqual([
    `Sign in as alice with the password ${world.secrets.ALICE_PASSWORD}, and agree.`,
    'Agree once more.',
    'Confirm that you sign out.',
    'It comes back by itself.',
  ])
})

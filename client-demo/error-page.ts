import { readAll, type Browser, type Page } from './browser.ts'
import { decodeJwt } from './claims.ts'
import type { StepNotes } from './flow.ts'
import { visit } from './people.ts'
import type { World } from './world.ts'

/** Where the server has nobody to send the person back to, it tells the person. */
export function checkErrorPage(
  { check }: StepNotes,
  page: Page,
  expected: string,
  what = '',
): void {
  const [error] = readAll(page, 'dl dd')
  check(`${what}status`, 400, page.status)
  check(`${what}error on the page`, expected, error)
}

/** Where it sends the person back to a client that wants signed answers, the refusal is signed as well. */
export async function checkSignedRefusal(
  world: World,
  browser: Browser,
  { check }: StepNotes,
  url: URL,
  expected: string,
): Promise<void> {
  const { answer, asked } = await visit(world, browser, url, 'alice')
  check('what Alice is asked', [], asked)
  const { claims } = decodeJwt(answer.searchParams.get('response') ?? '')
  check('error in the signed answer', expected, claims['error'])
}

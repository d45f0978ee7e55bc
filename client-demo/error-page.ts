import { readAll, type Page } from './browser.ts'
import type { StepNotes } from './flow.ts'

/** Where the server has nobody to send the person back to, it tells the person. */
export function checkErrorPage({ check }: StepNotes, page: Page, expected: string): void {
  const [error] = readAll(page, 'dl dd')
  check('status', 400, page.status)
  check('error on the page', expected, error)
}

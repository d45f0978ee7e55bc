import { readAll, type Page } from '../../browser.ts'
import type { StepNotes } from '../../flow.ts'

const ASKED = '.scopes li'
export const LEFT_OUT = '.left-out li'
const READ = 'Read your notes'
export const WRITE = 'Write, change and delete your notes'

/** What the consent page tells the person. */
export function noteConsent(page: Page, { fact, check }: StepNotes): void {
  const asked = readAll(page, ASKED)
  fact('the page asks', asked.join(' · '), '')
  const leftOut = readAll(page, LEFT_OUT)
  if (leftOut.length > 0) {
    fact('and leaves out', leftOut.join(' · '), '')
  }
  check('it asks for reading', true, asked.includes(READ))
}

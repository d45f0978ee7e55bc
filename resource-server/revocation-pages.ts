import { setImmediate as turn } from 'node:timers/promises'
import { IssuerError } from './errors.ts'
import type { FeedClient, PageAnswer } from './feed-client.ts'
import type { RevocationMessages } from './revocation-messages.ts'
import type { RevocationView } from './revocation-view.ts'

/** How long a restored or foreign log may make pages start anew, within one catching up. */
const MOST_RESTARTS = 3
/** All pages of one catching up: these, and one for so many entries. A good issuer has half as many. */
const LEAST_PAGES = 100
const ENTRIES_OF_A_PAGE = 1000
/** A request that is made now has left by then; else it would wait until the page before it is read. */
const TURNS_TO_SEND = 2

/**
 * Reads pages into the view, from where it stands or from the start, until there are no more. While one is
 * read, the issuer makes the next: the header says where that begins, and is believed for asking alone.
 *
 * Throws an `IssuerError` at the first that is of no use; what was read before it stays.
 */
export async function readPages(
  client: Pick<FeedClient, 'getPage'>,
  messages: Pick<RevocationMessages, 'readPage'>,
  view: RevocationView,
  maxEntries: number,
): Promise<void> {
  const mostPages = LEAST_PAGES + Math.ceil(maxEntries / ENTRIES_OF_A_PAGE)
  const ask = (place: number): AskedPage => {
    const answer = client.getPage(place)
    // Of one that is not waited for, nobody has to know.
    answer.catch(() => {})
    return { after: place, answer }
  }
  let restarts = 0
  let after: number | undefined = view.place?.applied ?? 0
  let asked = ask(after)
  for (let pages = 0; after !== undefined; pages += 1) {
    if (pages === mostPages) throw new IssuerError('bad_answer', ENDLESS)
    if (asked.after !== after) asked = ask(after)
    const { text, next } = await asked.answer
    if (next !== undefined) asked = ask(next)
    for (let count = 0; count < TURNS_TO_SEND; count += 1) await turn()
    const page = await messages.readPage(text)
    // Whoever else is waiting comes in between: each takes milliseconds.
    await turn()
    after = view.takePage(page, after)
    if (view.place !== undefined) continue
    restarts += 1
    if (restarts > MOST_RESTARTS) throw new IssuerError('bad_answer', RESTLESS)
  }
}

interface AskedPage {
  readonly after: number
  readonly answer: Promise<PageAnswer>
}

const ENDLESS = 'the pages of revocations do not come to an end'
const RESTLESS = 'the log of revocations became another one again and again'

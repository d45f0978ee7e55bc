import { performance } from 'node:perf_hooks'
import { parse, type HTMLElement } from 'node-html-parser'
import { CookieJar } from 'tough-cookie'
import type { Wire } from './wire.ts'

/** A browser without a window: it keeps cookies, follows redirects and sends forms. */
export interface Browser {
  get(url: string): Promise<Page>
  /**
   * Sends the form whose action ends in `action`, with its hidden fields and what is typed in. Of several,
   * `which` says the hidden fields of the one.
   */
  submit(page: Page, action: string, typed?: Typed, which?: Typed): Promise<Page>
  /** When the newest form was answered, by `performance.now()`: what it led to is not counted. */
  answeredAt(): number
}

type Typed = Readonly<Record<string, string>>

export interface Page {
  readonly url: string
  readonly status: number
  /** What a person reads. */
  readonly text: string
  readonly root: HTMLElement
}

const MOST_REDIRECTS = 10

export function createBrowser(wire: Wire): Browser {
  const jar = new CookieJar()
  let answeredAt = 0

  const request = async (url: string, body?: URLSearchParams): Promise<Response> => {
    const response = await wire.fetch(url, {
      method: body ? 'POST' : 'GET',
      headers: { accept: 'text/html', cookie: await jar.getCookieString(url) },
      body,
    })
    if (body) answeredAt = performance.now()
    for (const cookie of response.headers.getSetCookie()) await jar.setCookie(cookie, url)
    return response
  }

  const open = async (start: string, body?: URLSearchParams): Promise<Page> => {
    let url = start
    let response = await request(url, body)
    for (let count = 0; count < MOST_REDIRECTS; count += 1) {
      const location = response.headers.get('location')
      if (location === null) return readPage(url, response)
      await response.body?.cancel()
      url = new URL(location, url).href
      response = await request(url)
    }
    throw new Error(`more than ${MOST_REDIRECTS} redirects`)
  }

  return {
    get: (url) => open(url),
    submit(page, action, typed = {}, which = {}) {
      const form = page.root
        .querySelectorAll('form')
        .filter((candidate) => targetOf(candidate, page.url).pathname.endsWith(action))
        .find((candidate) => holds(readHiddenFields(candidate), which))
      if (!form) throw new Error(`there is no form for ${action} on the page: ${page.text}`)
      const body = new URLSearchParams({ ...readHiddenFields(form), ...typed })
      return open(targetOf(form, page.url).href, body)
    },
    answeredAt: () => answeredAt,
  }
}

function holds(fields: Typed, wanted: Typed): boolean {
  return Object.entries(wanted).every(([name, value]) => fields[name] === value)
}

/** Whether a page holds a form for `action`. */
export function hasForm(page: Page, action: string): boolean {
  return page.root
    .querySelectorAll('form')
    .some((form) => targetOf(form, page.url).pathname.endsWith(action))
}

/** What stands in the elements that a selector finds. */
export function readAll(page: Page, selector: string): string[] {
  return page.root.querySelectorAll(selector).map(({ text }) => text.trim())
}

async function readPage(url: string, response: Response): Promise<Page> {
  const root = parse(await response.text())
  const text = root.structuredText.replaceAll(/\s+/g, ' ').trim()
  return { url, status: response.status, text, root }
}

function targetOf(form: HTMLElement, base: string): URL {
  return new URL(form.getAttribute('action') ?? '', base)
}

function readHiddenFields(form: HTMLElement): Record<string, string> {
  const inputs = form.querySelectorAll('input[type=hidden]')
  return Object.fromEntries(
    inputs.map((input) => [input.getAttribute('name') ?? '', input.getAttribute('value') ?? '']),
  )
}

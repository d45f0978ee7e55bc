/** What a test needs of a browser: cookies by path, redirects one at a time, forms. */
export interface Browser {
  get(url: string, headers?: Record<string, string>): Promise<Page>
  /** Sends the form whose action ends in `action`, with `fields` beside its hidden ones. */
  submit(page: Page, action: string, fields?: Record<string, string>): Promise<Page>
  post(url: string, body: string, headers?: Record<string, string>): Promise<Page>
  cookies(): readonly Cookie[]
}

export interface Page {
  readonly url: string
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** Where it redirects to, absolute. */
  readonly location: string | undefined
}

interface Init {
  readonly method?: string
  readonly body?: string
  readonly headers?: Record<string, string>
}

interface Cookie {
  readonly name: string
  readonly value: string
  readonly path: string
}

const MAX_REDIRECTS = 10

/**
 * Follows redirects within `origin` and stops at the first one that leaves it. `always`: headers of every
 * request.
 */
export function createBrowser(
  origin: string,
  always: Readonly<Record<string, string>> = {},
): Browser {
  const jar = new Map<string, Cookie>()

  const request = async (url: string, init: Init = {}): Promise<Page> => {
    const { pathname } = new URL(url)
    const sent = [...jar.values()].filter(({ path }) => covers(path, pathname))
    const cookie = sent.map(({ name, value }) => `${name}=${value}`).join('; ')
    const headers = {
      accept: 'text/html',
      ...always,
      ...init.headers,
      ...(cookie ? { cookie } : {}),
    }
    const response = await fetch(url, { ...init, headers, redirect: 'manual' })
    for (const line of response.headers.getSetCookie()) keep(jar, line)
    const location = response.headers.get('location')
    return {
      url,
      status: response.status,
      headers: response.headers,
      text: await response.text(),
      location: location === null ? undefined : new URL(location, url).href,
    }
  }

  const follow = async (page: Page): Promise<Page> => {
    let current = page
    for (let count = 0; count < MAX_REDIRECTS; count += 1) {
      const { location } = current
      if (location === undefined || new URL(location).origin !== origin) return current
      current = await request(location)
    }
    throw new Error(`more than ${MAX_REDIRECTS} redirects, last to ${current.location}`)
  }

  const post = async (url: string, body: string, headers: Record<string, string> = {}) => {
    const type = { 'content-type': 'application/x-www-form-urlencoded' }
    return follow(await request(url, { method: 'POST', body, headers: { ...type, ...headers } }))
  }

  return {
    get: async (url, headers = {}) => follow(await request(url, { headers })),
    post,
    submit(page, action, fields = {}) {
      const form = readForm(page.text, action)
      const body = new URLSearchParams({ ...form.hidden, ...fields }).toString()
      return post(new URL(form.action, page.url).href, body)
    },
    cookies: () => [...jar.values()],
  }
}

function covers(cookiePath: string, path: string): boolean {
  return path === cookiePath || path.startsWith(cookiePath.replace(/\/?$/, '/'))
}

function keep(jar: Map<string, Cookie>, line: string): void {
  const [pair = '', ...attributes] = line.split(/;\s*/)
  const [, name = '', value = ''] = /^([^=]+)=(.*)$/.exec(pair) ?? []
  const attribute = (wanted: string) =>
    attributes.find((text) => text.toLowerCase().startsWith(`${wanted}=`))?.slice(wanted.length + 1)
  const path = attribute('path') ?? '/'
  const expires = attribute('expires')
  const gone = value === '' || (expires !== undefined && expires.includes('1970'))
  if (gone) jar.delete(`${path} ${name}`)
  else jar.set(`${path} ${name}`, { name, value, path })
}

export interface Form {
  readonly action: string
  readonly hidden: Readonly<Record<string, string>>
}

/** Reads the form whose action ends in `action` out of a page. */
export function readForm(html: string, action: string): Form {
  for (const [, attributes = '', inner = ''] of html.matchAll(/<form([^>]*)>([\s\S]*?)<\/form>/g)) {
    const target = unescapeHtml(/action="([^"]*)"/.exec(attributes)?.[1] ?? '')
    if (!target.endsWith(action)) continue
    const inputs = [...inner.matchAll(/<input[^>]*type="hidden"[^>]*>/g)].map(([tag]) => [
      unescapeHtml(/name="([^"]*)"/.exec(tag)?.[1] ?? ''),
      unescapeHtml(/value="([^"]*)"/.exec(tag)?.[1] ?? ''),
    ])
    return { action: target, hidden: Object.fromEntries(inputs) as Record<string, string> }
  }
  throw new Error(`no form for ${action} in: ${html.slice(0, 2000)}`)
}

function unescapeHtml(text: string): string {
  return text
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&')
}

import { bodyParser } from '@koa/bodyparser'
import type { Context } from 'koa'
import type { Result } from './errors.ts'

export type Form = ReadonlyMap<string, string>

/** Why a body was not read as a form, with the status that says so. */
export interface FormFault {
  readonly status: 400 | 413 | 415
  readonly text: string
}

const MAX_FORM_BYTES = 8 * 1024
const FORM = 'application/x-www-form-urlencoded'

/** The body as text, and only as text: what it means is for `parseForm`. */
const readText = bodyParser({
  enableTypes: ['text'],
  extendTypes: { text: [FORM] },
  textLimit: `${MAX_FORM_BYTES}b`,
})

/** Reads the body of a request as a form. */
export async function readForm(ctx: Context): Promise<Result<Form, FormFault>> {
  if (ctx.request.is(FORM) === false || !takesEncoding(ctx)) {
    return refuse(415, 'This page takes forms only.')
  }
  try {
    await readText(ctx, async () => {})
  } catch (error) {
    // The rest of the body stays unread: the connection is of no further use.
    ctx.set('Connection', 'close')
    const { status } = error as { status?: number }
    if (status === 413) return refuse(413, 'What was sent is too long.')
    if (status === 400) return refuse(400, 'What was sent did not arrive whole.')
    throw error
  }
  const body: unknown = ctx.request.body
  return parseForm(typeof body === 'string' ? body : '')
}

/**
 * Whether a body comes as it is: none is decompressed for a stranger. Names of codings have no case
 * (RFC 9110 §8.4.1), but the parser compares them exactly.
 */
export function takesEncoding({ req }: Pick<Context, 'req'>): boolean {
  const coding = req.headers['content-encoding']?.trim().toLowerCase() ?? ''
  delete req.headers['content-encoding']
  return coding === '' || coding === 'identity'
}

/**
 * Parses `application/x-www-form-urlencoded`. A name that stands there twice is refused, because two
 * readers could take different ones; so is text that is not UTF-8.
 */
export function parseForm(text: string): Result<Form, FormFault> {
  if (text.includes('\uFFFD') || !isDecodable(text)) {
    return refuse(400, 'What was sent is not readable text.')
  }
  const form = new Map<string, string>()
  for (const [name, value] of new URLSearchParams(text)) {
    if (form.has(name)) return refuse(400, 'A field was sent twice.')
    form.set(name, value)
  }
  return { ok: true, value: form }
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

function refuse(status: FormFault['status'], text: string) {
  return { ok: false, reason: { status, text } } as const
}

import { errors, type KoaContextWithOIDC } from 'oidc-provider'
import type { Client } from '../clients/client.ts'
import type { ClientDocuments, DocumentPurpose, DocumentRefusal } from '../clients/document.ts'
import { echo } from '../config/echo.ts'
import { assertNever, PortreeveError } from '../errors.ts'
import { toEngineError, TooManyAttempts } from './errors.ts'

type Context = Pick<KoaContextWithOIDC, 'ip' | 'set' | 'oidc'>

/**
 * Where a client comes of itself, so that its document is looked at. Everywhere else somebody shows what
 * it was given: a token, or the end of a session.
 */
const PURPOSES: Readonly<Record<string, DocumentPurpose>> = {
  authorization: 'authorization',
  resume: 'authorization',
  pushed_authorization_request: 'authorization',
  token: 'token',
}

/** Looks up a client for the engine, by the URL of its document. A refusal is thrown, as the engine's. */
export function createDocumentLookup(
  documents: ClientDocuments | undefined,
  currentContext: () => Context | undefined,
): (url: string) => Promise<Client | undefined> {
  const asked = new WeakMap<Context, Map<string, ReturnType<ClientDocuments['resolve']>>>()

  return async (url) => {
    const ctx = currentContext()
    const purpose = PURPOSES[ctx?.oidc.route ?? '']
    if (!documents || !ctx || !purpose) return documents?.find(url)
    // The engine looks again for where to send a refusal: for one request there is one answer.
    const known = asked.get(ctx) ?? new Map<string, ReturnType<ClientDocuments['resolve']>>()
    asked.set(ctx, known)
    const isAgain = known.has(url)
    const outcome = known.get(url) ?? documents.resolve(url, { purpose, address: ctx.ip })
    known.set(url, outcome)
    const resolved = await outcome
    if (resolved.ok) return resolved.value
    if (isAgain) return undefined
    const refusal = describeRefusal(url, resolved.reason, purpose, (seconds) =>
      ctx.set('Retry-After', String(seconds)),
    )
    if (refusal) throw refusal
    return undefined
  }
}

/** The words for whoever asks say nothing of what there is in the network of this server. */
function describeRefusal(
  url: string,
  reason: DocumentRefusal,
  purpose: DocumentPurpose,
  retryAfter: (seconds: number) => void,
): unknown {
  const detail = describeDocumentRefusal(url, reason)
  const refuse = (description: string) =>
    purpose === 'token'
      ? new errors.InvalidClientAuth(detail)
      : new errors.InvalidClient(description, detail)
  const busy = (cause: string) => toEngineError(new PortreeveError('busy', cause), retryAfter)
  switch (reason.kind) {
    case 'url':
      return refuse(`client_id: expected ${reason.expected}`)
    case 'unreadable':
      // What it was given may be good still: it tries again, and does not throw it away.
      if (purpose === 'token' && reason.isTransient) return busy(detail)
      return refuse('the document at the client_id could not be read')
    case 'metadata':
      return refuse(`the document at the client_id cannot be used: ${reason.description}`)
    case 'throttled':
      retryAfter(reason.retryAfterSeconds)
      return new TooManyAttempts(reason.retryAfterSeconds, 'apps that are not known here')
    case 'busy':
      return busy(detail)
    case 'unknown':
      return undefined
    default:
      return assertNever(reason)
  }
}

/** For operators. */
export function describeDocumentRefusal(url: string, reason: DocumentRefusal): string {
  switch (reason.kind) {
    case 'url':
      // Whoever asks has written it, at any length.
      return `expected ${reason.expected}, got ${echo(url)}`
    case 'unreadable':
      return `${url}: ${reason.detail}`
    case 'metadata':
      return `${url}: ${reason.description}`
    case 'throttled':
      return `${url}: too many documents that are not known here`
    case 'busy':
      return `${url}: too many documents are fetched at once`
    case 'unknown':
      return `${url}: nobody has agreed to it, or it is disabled`
    default:
      return assertNever(reason)
  }
}

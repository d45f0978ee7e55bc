import { IncomingMessage } from 'node:http'
import {
  readCertificateThumbprint,
  requireCertificateHeader,
  type CertificateHeader,
  type CertificateTrust,
} from './certificate.ts'
import type { Auth } from './claims.ts'
import type { Trace } from './decision.ts'
import type { DpopRequest, DpopVerifier } from './dpop.ts'
import type { Refusal } from './errors.ts'
import { readHeader, type FoundToken, type RequestFacts } from './extractors.ts'
import { refuseUnknownOptions } from './options.ts'
import { createProxyTrust, createRequestUrlReader, type RequestUrlReader } from './proxy.ts'
import { chain, type MaybePromise } from './token-verifier.ts'

/** How a request may prove that it comes from whom its token was issued to. */
export interface SenderOptions {
  /** Checks DPoP proofs. Without it, tokens that are bound to a DPoP key are refused. */
  readonly dpop?: DpopVerifier
  /** Where clients reach this API: the URL, or all of them. Needed with `dpop`: proofs name it. */
  readonly publicUrl?: string | readonly string[]
  /** Addresses, or ranges such as `10.0.0.0/8`, of proxies whose headers are believed. None by default. */
  readonly trustedProxies?: readonly string[]
  /** Where these proxies hand over the client's certificate. */
  readonly certificateHeader?: CertificateHeader
}

/** How a token may be bound to its sender: to a DPoP key (`jkt`), or to a certificate (`x5t#S256`). */
export type Binding = 'dpop' | 'certificate'

export interface SenderCheck {
  readonly dpop: DpopVerifier | undefined
  /**
   * Whether the request proves all that its token is bound to (`cnf`), and, where the route wants it,
   * that it is bound at all. A binding that is not known here cannot be proven, so it is refused.
   */
  check(
    auth: Auth,
    found: FoundToken,
    facts: RequestFacts,
    needed: readonly Binding[] | undefined,
    trace: Trace,
  ): MaybePromise<Refusal | undefined>
}

const OPTIONS = ['dpop', 'publicUrl', 'trustedProxies', 'certificateHeader']
const BINDINGS: Readonly<Record<string, Binding>> = { jkt: 'dpop', 'x5t#S256': 'certificate' }

/** Throws a `TypeError` that names the option. */
export function createSenderCheck(options: SenderOptions = {}): SenderCheck {
  refuseUnknownOptions('sender', options, OPTIONS)
  const { dpop, publicUrl, trustedProxies = [], certificateHeader: header } = options
  if (dpop !== undefined && !isDpopVerifier(dpop)) {
    throw new TypeError('sender.dpop: expected what createDpopVerifier makes')
  }
  if (header !== undefined) requireCertificateHeader(header)
  if (dpop !== undefined && publicUrl === undefined) {
    throw new TypeError('sender.publicUrl: is needed with sender.dpop: the URL that clients call')
  }
  if (header !== undefined && trustedProxies.length === 0) {
    throw new TypeError('sender.trustedProxies: expected who may write the certificateHeader')
  }
  const isTrustedProxy = createProxyTrust(trustedProxies)
  const trust = header && { isTrustedProxy, header }
  const readUrl =
    publicUrl === undefined ? undefined : createRequestUrlReader(publicUrl, isTrustedProxy)
  return {
    dpop,
    check(auth, found, facts, needed, trace) {
      const { cnf } = auth.claims
      if (!Object.hasOwn(auth.claims, 'cnf')) return checkUnbound(found, needed, trace)
      const bound = readBindings(cnf)
      if (bound === undefined || (needed && !needed.some((binding) => bound.has(binding)))) {
        trace?.push({ check: 'sender', passed: false, expected: needed ?? BINDINGS, received: cnf })
        return { kind: 'sender_constrained' }
      }
      const { certificate, dpop: thumbprint } = Object.fromEntries(bound)
      if (certificate !== undefined) {
        const refusal = checkCertificate(certificate, facts, trust, trace)
        if (refusal !== undefined) return refusal
      }
      if (thumbprint === undefined) return refuseScheme(found, trace)
      const holder = `${auth.issuer} ${auth.subject}`
      return checkProof({ thumbprint, holder }, found, facts, { dpop, readUrl }, trace)
    },
  }
}

function isDpopVerifier(dpop: Partial<DpopVerifier> | null): boolean {
  return typeof dpop?.verify === 'function' && typeof dpop.currentNonce === 'function'
}

/** What a token is bound to; `undefined` where that is not all known, or nothing. */
function readBindings(cnf: unknown): ReadonlyMap<Binding, string> | undefined {
  if (typeof cnf !== 'object' || cnf === null) return undefined
  const bound = new Map<Binding, string>()
  for (const [member, value] of Object.entries(cnf)) {
    const binding = Object.hasOwn(BINDINGS, member) ? BINDINGS[member] : undefined
    if (binding === undefined || typeof value !== 'string') return undefined
    bound.set(binding, value)
  }
  return bound.size === 0 ? undefined : bound
}

function checkUnbound(
  found: FoundToken,
  needed: readonly Binding[] | undefined,
  trace: Trace,
): Refusal | undefined {
  if (needed === undefined) return refuseScheme(found, trace)
  trace?.push({ check: 'sender', passed: false, expected: needed })
  return { kind: 'not_sender_constrained', expected: needed.join(' or ') }
}

/** Whoever sends a token as DPoP says that it is bound: without a key in it, no proof can fit it. */
function refuseScheme({ scheme }: FoundToken, trace: Trace): Refusal | undefined {
  if (scheme !== 'DPoP') return undefined
  trace?.push({ check: 'sender', passed: false, expected: 'a token with cnf.jkt after DPoP' })
  return { kind: 'not_sender_constrained', expected: 'dpop' }
}

function checkCertificate(
  expected: string,
  facts: RequestFacts,
  trust: CertificateTrust | undefined,
  trace: Trace,
): Refusal | undefined {
  const received = readCertificateThumbprint(facts, trust)
  const passed = received === expected
  trace?.push({ check: 'sender', passed, expected: { 'x5t#S256': expected }, received })
  return passed ? undefined : { kind: 'sender_constrained' }
}

/** RFC 9449 §7.1: such a token is never taken after `Bearer`, nor without exactly one proof. */
function checkProof(
  { thumbprint, holder }: { readonly thumbprint: string; readonly holder: string },
  { token, scheme }: FoundToken,
  facts: RequestFacts,
  { dpop, readUrl }: { dpop: DpopVerifier | undefined; readUrl: RequestUrlReader | undefined },
  trace: Trace,
): MaybePromise<Refusal | undefined> {
  const proof = readHeader(facts.rawHeaders, 'dpop')
  const conclude = (refusal: Refusal | undefined) => {
    const received = refusal ?? scheme
    trace?.push({ check: 'sender', passed: !refusal, expected: { jkt: thumbprint }, received })
    return refusal
  }
  if (dpop === undefined || readUrl === undefined || scheme !== 'DPoP') {
    return conclude({ kind: 'sender_constrained' })
  }
  if (typeof proof === 'object') {
    const actual = 'several headers DPoP'
    return conclude({ kind: 'invalid_dpop_proof', part: 'form', expected: 'one', actual })
  }
  const { method = '', url, originalUrl = url, headers, socket } = facts
  const asked: DpopRequest = {
    proof,
    method,
    url: readUrl({ url: originalUrl, headers, socket }),
    accessToken: token,
    thumbprint,
    holder,
  }
  const request = facts.request ?? (facts instanceof IncomingMessage ? facts : undefined)
  const before = request && PROVEN.get(request)
  if (before?.dpop === dpop && isSameRequest(before.asked, asked)) return conclude(undefined)
  return chain(dpop.verify(asked), (result) => {
    if (result.ok && request) PROVEN.set(request, { dpop, asked })
    return conclude(result.ok ? undefined : result.reason)
  })
}

/**
 * What a request has proven already. A guard for all routes and one for this route each look at the one
 * proof that there is, and it is not a replay that the second one sees.
 */
const PROVEN = new WeakMap<object, { readonly dpop: DpopVerifier; readonly asked: DpopRequest }>()

function isSameRequest(one: DpopRequest, other: DpopRequest): boolean {
  return (
    one.proof === other.proof &&
    one.method === other.method &&
    String(one.url) === String(other.url) &&
    one.accessToken === other.accessToken &&
    one.thumbprint === other.thumbprint
  )
}

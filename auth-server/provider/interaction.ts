import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Account } from '../accounts/account.ts'
import type { Client } from '../clients/client.ts'
import type { DetailInWords } from '../scopes/details.ts'

/** A scope in the words of the consent page. */
export interface ScopeInWords {
  readonly scope: string
  readonly description: string
  /** The name of the resource it belongs to; `undefined` for the scopes of OpenID Connect. */
  readonly resourceName: string | undefined
  /** The identifier of that resource. */
  readonly resource: string | undefined
}

/** A claim that is asked for by itself, in the words of the consent page. */
export interface ClaimInWords {
  readonly claim: string
  readonly description: string
}

/** What people are asked for. */
export interface Asked {
  /** What may be granted. */
  readonly asked: readonly ScopeInWords[]
  /** The same of claims that come with none of these scopes. */
  readonly claims: readonly ClaimInWords[]
  /** What was requested but is left out because the person's roles do not carry it. */
  readonly leftOut: readonly ScopeInWords[]
}

/** What an authorization request waits for, as the pages need it. */
export interface PendingInteraction extends Asked {
  /** The last segment of the page's path, bound to this browser by a signed cookie. */
  readonly uid: string
  readonly prompt: 'login' | 'select_account' | 'consent'
  readonly client: Client
  /** The host (or `custom.scheme:`) that the browser returns to; `undefined` where a device waits. */
  readonly returnTo: string | undefined
  /** The person of the current session, if any. */
  readonly account: Account | undefined
  /**
   * Why that person has to sign in once more: it is longer ago than the client allows, it asks for it
   * now, or for another person.
   */
  readonly again: 'too_old' | 'asked' | 'another' | undefined
  /** A username that the client suggests (`login_hint`), unverified. */
  readonly loginHint: string | undefined
  /** What is asked for in detail (RFC 9396). */
  readonly details: readonly DetailInWords[]
}

/** How a person has proven who they are. */
export interface Proof {
  readonly accountId: string
  /** Milliseconds since the epoch: `auth_time`. */
  readonly at: number
  /** RFC 8176 values, such as `pwd`. */
  readonly methods: readonly string[]
}

/**
 * The engine's side of the sign-in and consent pages. Whatever ends an interaction answers where to
 * redirect, or `undefined` where it was over already: two tabs may answer the same one.
 */
export interface Interactions {
  /** `undefined` where this browser has no such interaction: expired, finished, or another's. */
  find(req: IncomingMessage, res: ServerResponse): Promise<PendingInteraction | undefined>
  /** The person has proven who they are. */
  finishSignIn(req: IncomingMessage, res: ServerResponse, proof: Proof): Promise<string | undefined>
  /** The person goes on with the account that they are signed in to. */
  keepAccount(req: IncomingMessage, res: ServerResponse): Promise<string | undefined>
  /** The person agrees to all that they were shown, and to nothing where it is not the same any more. */
  finishConsent(
    req: IncomingMessage,
    res: ServerResponse,
    agreed: PendingInteraction,
  ): Promise<string | undefined>
  /** The person declines: ends in `access_denied` at the client. */
  cancel(req: IncomingMessage, res: ServerResponse): Promise<string | undefined>
}

/** Why the code of a device was not taken. */
export type DeviceCodeFault =
  | { readonly kind: 'missing' | 'unknown' | 'expired' | 'used' }
  /** The form was out of date, or came from another page. */
  | { readonly kind: 'form' }
  | { readonly kind: 'throttled'; readonly retryAfterSeconds: number }

/** How the request of a device has ended, for the person at the browser. */
export type DeviceEnd =
  | { readonly kind: 'done'; readonly clientName: string }
  | { readonly kind: 'cancelled' }
  /** `reason` is public text. */
  | { readonly kind: 'refused'; readonly reason: string }

/** What goes back to a client in a form (OAuth 2.0 Form Post Response Mode). */
export interface FormPost {
  readonly action: string
  readonly inputs: Readonly<Record<string, string>>
  readonly script: string
  readonly isRefusal: boolean
}

/** What the forms of a device's pages post, and where to. */
interface DeviceForm {
  readonly action: string
  readonly xsrf: string
  readonly userCode: string
}

/** The pages that the engine itself shows, as functions from facts to HTML. */
export interface EnginePages {
  /** `description` is public text; `requestId` is what the person may quote to the operator. */
  error(facts: { status: number; error: string; description: string; requestId: string }): string
  /** A form that posts `xsrf` to `action`, with `logout=yes` to sign out and without it to stay. */
  signOut(facts: { action: string; xsrf: string; clientName: string | undefined }): string
  signedOut(facts: { clientName: string | undefined }): string
  /** Shows pages of apps, which end their sessions, in frames, and goes on to `next` by itself. */
  tellingApps(facts: { frames: readonly string[]; next: string; seconds: number }): string
  /** Asks for the code that a device shows: a form that posts `xsrf` and `user_code`. */
  deviceCode(facts: DeviceForm & { fault: DeviceCodeFault | undefined }): string
  /** Asks whether it is this device: the same with `confirm=yes` to go on and `abort=yes` to refuse. */
  deviceConfirm(
    facts: DeviceForm & {
      clientName: string
      /** It has described itself: nobody has vouched for its name. */
      isDynamic: boolean
    } & Omit<Asked, 'leftOut'>,
  ): string
  deviceEnd(facts: DeviceEnd): string
  /**
   * A form that posts `inputs` to the client: by itself where `script`, which stands in the page as it
   * is, may run, and otherwise by its button.
   */
  formPost(facts: FormPost & { clientName: string | undefined; returnTo: string }): string
}

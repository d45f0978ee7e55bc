import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Eta } from 'eta/core'
import type { Account } from '../accounts/account.ts'
import type { ApiKey } from '../api-keys/api-key.ts'
import { formatTime } from '../clock.ts'
import { isLoopback } from '../config/uri-rules.ts'
import type { WaitingRequest } from '../provider/approvals.ts'
import type {
  Asked,
  EnginePages,
  PendingInteraction,
  ScopeInWords,
} from '../provider/interaction.ts'
import type { AllowedApp, OwnSession } from '../provider/own-access.ts'
import type { Assets } from './assets.ts'
import { listClientLinks } from './client-links.ts'
import { DONE_TEXTS, type Done } from './done.ts'
import { describeCodeFault, type Problem } from './problem.ts'

/** The CSRF token of each form. */
export interface FormTokens {
  readonly 'sign-in': string
  readonly 'keep-account': string
  readonly consent: string
  readonly cancel: string
}

interface FormFacts {
  readonly pending: PendingInteraction
  readonly tokens: FormTokens
  readonly problem: Problem | undefined
}

interface SignInFacts extends FormFacts {
  readonly username: string
}

interface KeyBounds {
  readonly resourceName: string
  /** Its scopes, in words. */
  readonly can: readonly string[]
}

/** What somebody has open and has allowed, with what it takes to end each. */
export interface OwnAccessFacts {
  readonly sessions: readonly (OwnSession & {
    /** The CSRF token of the form that ends it. */
    readonly token: string
  })[]
  readonly apps: readonly (AllowedApp & { readonly token: string })[]
  readonly hasMoreSessions: boolean
  readonly hasMoreApps: boolean
  /** The CSRF token of the form that ends all other sessions; `undefined` where there are none. */
  readonly endOthersToken: string | undefined
}

interface AccountFacts extends OwnAccessFacts {
  readonly account: Account
  /** How many requests of applications wait for an answer. */
  readonly waiting: number
  readonly keys: readonly (KeyBounds & {
    readonly key: ApiKey
    readonly isExpired: boolean
    /** The CSRF token of the form that revokes it. */
    readonly token: string
  })[]
  /** What has just been done here. */
  readonly done: Done | undefined
  readonly problem: Problem | undefined
}

interface RequestsFacts {
  readonly account: Account
  readonly requests: readonly {
    readonly request: WaitingRequest
    /** The CSRF tokens of its forms. */
    readonly approveToken: string
    readonly refuseToken: string
  }[]
  readonly problem: Problem | undefined
}

interface RequestEndFacts {
  readonly clientName: string
  readonly decision: 'approve' | 'refuse'
  /** How many wait still. */
  readonly others: number
}

/** A resource with the scopes that a person may give away. */
export interface GrantableResource {
  readonly identifier: string
  readonly name: string
  readonly scopes: readonly { readonly scope: string; readonly description: string }[]
}

interface ResourceChoice {
  readonly resources: readonly GrantableResource[]
  /** Where each of them leads to, as the parameter `resource`. */
  readonly path: string
}

export interface NewKeyFacts {
  readonly resource: GrantableResource
  readonly id: string
  /** The CSRF token. */
  readonly token: string
  readonly name: string
  readonly longestName: number
  /** The scopes that are chosen. */
  readonly ticked: ReadonlySet<string>
  /** A number of days, or `never`. */
  readonly expires: string
  readonly problem: Problem | undefined
}

interface MadeKeyFacts extends KeyBounds {
  /** The key itself, this once. */
  readonly key: string
  readonly stored: ApiKey
}

/** Every page, as a function from facts to HTML. */
export interface Pages extends EnginePages {
  signIn(facts: SignInFacts): string
  /** Asks whether it is the account that the person is signed in to, or another. */
  chooseAccount(facts: FormFacts): string
  consent(facts: FormFacts): string
  /** For an interaction that this browser does not have, or has no longer. */
  over(): string
  /** For whoever comes without an application. */
  home(): string
  /** Where a person is signed in, and what they have allowed and given to programs. */
  account(facts: AccountFacts): string
  chooseResource(facts: ResourceChoice): string
  newApiKey(facts: NewKeyFacts): string
  apiKeyMade(facts: MadeKeyFacts): string
  /** What applications elsewhere ask the person for. */
  requests(facts: RequestsFacts): string
  requestEnd(facts: RequestEndFacts): string
}

const VIEWS = path.join(import.meta.dirname, 'views')
const NAMES = [
  'layout',
  'home',
  'sign-in',
  'choose-account',
  'consent',
  'over',
  'error',
  'sign-out',
  'signed-out',
  'telling-apps',
  'account',
  'own-sessions',
  'allowed-apps',
  'choose-resource',
  'new-api-key',
  'api-key-made',
  'requests',
  'request-end',
  'device-code',
  'device-confirm',
  'device-end',
  'form-post',
] as const

/** Compiles the templates in `folder`. Throws for one that is missing or does not compile. */
export function createPages({ paths }: Assets, folder: string = VIEWS): Pages {
  const eta = new Eta({ autoEscape: true })
  const found = readdirSync(folder).filter((file) => file.endsWith('.eta'))
  for (const file of found) compile(eta, folder, file)
  const missing = NAMES.filter((name) => !found.includes(`${name}.eta`))
  if (missing.length > 0) throw new TypeError(`no ${missing.join(', ')} among the views`)
  const render = (name: (typeof NAMES)[number], facts: object) =>
    eta.render(`@${name}`, { ...facts, assets: paths })
  return {
    signIn: (facts) => render('sign-in', { ...facts, publisher: findPublisher(facts.pending) }),
    chooseAccount: (facts) =>
      render('choose-account', { ...facts, publisher: findPublisher(facts.pending) }),
    consent: (facts) =>
      render('consent', {
        ...facts,
        publisher: findPublisher(facts.pending),
        asked: groupAsked(facts.pending),
        leftOut: groupByResource(facts.pending.leftOut),
        ownPages: listClientLinks(facts.pending.client, facts.pending.returnTo),
      }),
    over: () => render('over', {}),
    home: () => render('home', {}),
    account: ({ apps, ...facts }) =>
      render('account', {
        ...facts,
        day,
        minute,
        doneText: facts.done && DONE_TEXTS[facts.done],
        apps: apps.map((app) => ({ ...app, groups: groupAsked(app) })),
      }),
    chooseResource: (facts) => render('choose-resource', facts),
    newApiKey: (facts) => render('new-api-key', facts),
    apiKeyMade: (facts) => render('api-key-made', { ...facts, day }),
    requests: ({ requests, ...facts }) =>
      render('requests', {
        ...facts,
        minute,
        requests: requests.map(({ request, ...tokens }) => ({
          ...tokens,
          ...request,
          asked: groupAsked(request),
          leftOut: groupByResource(request.leftOut),
        })),
      }),
    requestEnd: (facts) => render('request-end', facts),
    error: (facts) => render('error', facts),
    signOut: (facts) => render('sign-out', facts),
    signedOut: (facts) => render('signed-out', facts),
    tellingApps: (facts) => render('telling-apps', facts),
    deviceCode: ({ fault, ...facts }) =>
      render('device-code', { ...facts, problem: fault && { text: describeCodeFault(fault) } }),
    deviceConfirm: (facts) => render('device-confirm', { ...facts, asked: groupAsked(facts) }),
    deviceEnd: (facts) => render('device-end', facts),
    formPost: (facts) => render('form-post', facts),
  }
}

/** The host that a client has described itself on, and whether the browser goes on to another one. */
function findPublisher({
  client,
  returnTo,
}: PendingInteraction): { readonly host: string; readonly leadsElsewhere: boolean } | undefined {
  if (client.document === undefined) return undefined
  const { host } = new URL(client.id)
  const isOnDevice =
    client.applicationType === 'native' && returnTo !== undefined && isOfDevice(returnTo)
  return { host, leadsElsewhere: returnTo !== host && !isOnDevice }
}

/** A scheme of an app's own, or loopback: of those the page says something else. */
function isOfDevice(place: string): boolean {
  return place.endsWith(':') || isLoopback(new URL(`http://${place}`).hostname)
}

/** `2026-11-26` */
const day = (milliseconds: number) => formatTime(milliseconds).slice(0, 10)
/** `2026-11-26 09:30 UTC` */
const minute = (milliseconds: number) =>
  `${formatTime(milliseconds).slice(0, 16).replace('T', ' ')} UTC`

function compile(eta: Eta, folder: string, file: string): void {
  const text = readFileSync(path.join(folder, file), 'utf8')
  try {
    eta.loadTemplate(`@${path.basename(file, '.eta')}`, text)
  } catch (cause) {
    throw new TypeError(`the view ${file} does not compile`, { cause })
  }
}

interface ScopeGroup {
  readonly resource: string | undefined
  readonly name: string
  readonly scopes: readonly Pick<ScopeInWords, 'description'>[]
}

/** A claim by itself is about the person, like the scopes of OpenID Connect. */
function groupAsked({ asked, claims }: Pick<Asked, 'asked' | 'claims'>): ScopeGroup[] {
  const aboutPerson = asked.filter(({ resource }) => resource === undefined)
  const own = [...aboutPerson, ...claims].map(({ description }) => ({
    description,
    resource: undefined,
    resourceName: undefined,
  }))
  return groupByResource([...own, ...asked.filter(({ resource }) => resource !== undefined)])
}

type Grouped = Pick<ScopeInWords, 'description' | 'resource' | 'resourceName'>

/** In the order of the request: first what is about the person, then each API. */
function groupByResource(scopes: readonly Grouped[]): ScopeGroup[] {
  const groups = Map.groupBy(scopes, ({ resource }) => resource)
  return [...groups].map(([resource, members]) => ({
    resource,
    name: members[0]?.resourceName ?? 'Your account',
    scopes: members,
  }))
}

import { InvalidArgumentError, Option, type Command } from 'commander'
import type { ClientView, ClientWithSecret, NewClient } from '../admin/clients.ts'
import { ENCRYPTED_KINDS, type EncryptedKind } from '../config/built-in.ts'
import { clientSchema } from '../config/schema.ts'
import {
  collect,
  collectWords,
  withCommonOptions,
  type Cli,
  type CommonOptions,
  type Work,
} from './command.ts'
import { readSecretFromStdin, readSettings, requirePipe } from './input.ts'
import { addInviteCommands } from './invites.ts'
import type { Report } from './report.ts'
import { formatFields, harmless, type Style } from './style.ts'
import { formatTable } from './table.ts'

interface SecretOptions extends CommonOptions {
  readonly secretStdin?: boolean
}

type Grants = NonNullable<NewClient['grants']>

interface AddOptions extends SecretOptions {
  readonly name?: string
  readonly applicationType?: 'web' | 'native'
  readonly grant?: Grants
  readonly authMethod?: NonNullable<NewClient['authMethod']>
  readonly redirectUri?: readonly string[]
  readonly postLogoutUri?: readonly string[]
  readonly scope?: readonly string[]
  readonly defaultScope?: readonly string[]
  readonly defaultResource?: string
  readonly backchannelLogoutUri?: string
  readonly origin?: readonly string[]
  readonly firstParty?: boolean
  readonly pkceExempt?: boolean
  readonly claimsInIdToken?: boolean
  readonly requireDpop?: boolean
  readonly requirePar?: boolean
  readonly introspects?: readonly string[]
  readonly settings?: string
}

const SECRET_STDIN = '--secret-stdin'
const GRANTS = clientSchema.shape.grants.unwrap().element.options
const GRANT_HELP = `how it may get tokens; may be repeated (choices: ${GRANTS.map((grant) => `"${grant}"`).join(', ')})`

const EXAMPLES = `
Examples:
  A web application with a server:
    npx portreeve clients add shop --scope "openid profile" \\
      --redirect-uri https://shop.example/callback
  An application in the browser:
    npx portreeve clients add spa --auth-method none --scope openid \\
      --redirect-uri https://spa.example/ --origin https://spa.example
  An app on a person's own machine:
    npx portreeve clients add tool --auth-method none --scope openid \\
      --application-type native --redirect-uri http://127.0.0.1/callback
  A service without people:
    npx portreeve clients add robot --grant client_credentials \\
      --scope notes:read`

export function addClientCommands(program: Command, cli: Cli): void {
  const clients = program.command('clients').description('applications that ask for tokens')
  addAdd(clients, cli)
  addList(clients, cli)
  addShow(clients, cli)
  addRotate(clients, cli)
  addSwitch(clients, cli)
  addRemove(clients, cli)
  addInviteCommands(clients, cli)
}

function addAdd(clients: Command, cli: Cli): void {
  const methods = clientSchema.shape.authMethod.unwrap().options
  const types = clientSchema.shape.applicationType.unwrap().options
  const add = clients
    .command('add <id>')
    .description('add a client')
    .option('--redirect-uri <uri>', 'where people may be sent back to; may be repeated', collect)
    .option('--scope <scopes>', 'what it may be granted; may be repeated', collectWords)
    .option('--grant <grant>', GRANT_HELP, collectGrant)
    .addOption(
      new Option(
        '--auth-method <method>',
        'how it proves who it is (default: client_secret_basic)',
      ).choices(methods),
    )
    .option(SECRET_STDIN, 'read the secret from standard input instead of generating one')
    .option('--name <name>', 'what people read on the consent page (default: the id)')
    .addOption(new Option('--application-type <type>', 'what it is').choices(types))
    .option('--first-party', 'it is yours: people are not asked for consent')
    .option(
      '--post-logout-uri <uri>',
      'where people may be sent after signing out; may be repeated',
      collect,
    )
    .option('--backchannel-logout-uri <uri>', 'where it is told of sessions that ended')
    .option(
      '--origin <origin>',
      'whose scripts may call the token endpoint; may be repeated',
      collect,
    )
    .option(
      '--default-scope <scopes>',
      'assumed when a request names none; may be repeated',
      collectWords,
    )
    .option('--default-resource <uri>', 'the resource of a request that does not tell')
    .option('--pkce-exempt', 'only for software that cannot do PKCE')
    .option('--claims-in-id-token', 'for software that does not ask userinfo')
    .option('--require-dpop', 'it gets only tokens that are bound to a key of its own')
    .option('--require-par', 'it has to push its authorization requests')
    .option('--introspects <uri>', 'a resource that it is the API behind; may be repeated', collect)
    .option('--settings <file>', 'JSON with further members, as `clients` has in the configuration')
  withCommonOptions(add)
    .addHelpText('after', EXAMPLES)
    .action(async (id: string, options: AddOptions, command: Command) => {
      const readSecret = chooseSecret(cli, options, command)
      const work: Work = async (operations) => {
        const settings = options.settings === undefined ? {} : await readSettings(options.settings)
        const client = { ...readClient(id, options), ...settings, id }
        return reportSecret(
          'Added the client',
          await operations.clients.add(client, await readSecret()),
        )
      }
      await cli.operate(options, work, 'may be made')
    })
}

function readClient(id: string, options: AddOptions): NewClient {
  const { name, applicationType, grant, authMethod, defaultResource, backchannelLogoutUri } =
    options
  return {
    id,
    redirectUris: [...(options.redirectUri ?? [])],
    postLogoutRedirectUris: [...(options.postLogoutUri ?? [])],
    scopes: [...(options.scope ?? [])],
    defaultScopes: [...(options.defaultScope ?? [])],
    origins: [...(options.origin ?? [])],
    firstParty: options.firstParty === true,
    claimsInIdToken: options.claimsInIdToken === true,
    pkce: options.pkceExempt === true ? 'exempt' : 'required',
    dpop: options.requireDpop === true ? 'required' : 'allowed',
    par: options.requirePar === true ? 'required' : 'allowed',
    introspects: [...(options.introspects ?? [])],
    ...(name === undefined ? {} : { name }),
    ...(applicationType === undefined ? {} : { applicationType }),
    ...(grant === undefined ? {} : { grants: grant }),
    ...(authMethod === undefined ? {} : { authMethod }),
    ...(defaultResource === undefined ? {} : { defaultResource }),
    ...(backchannelLogoutUri === undefined ? {} : { backchannelLogoutUri }),
  }
}

/** `undefined` where one is to be generated. */
function chooseSecret(
  { world }: Cli,
  { secretStdin }: SecretOptions,
  command: Command,
): () => Promise<string | undefined> {
  if (!secretStdin) return async () => undefined
  requirePipe(world, command, SECRET_STDIN)
  return () => readSecretFromStdin(world, SECRET_STDIN)
}

function addList(clients: Command, cli: Cli): void {
  withCommonOptions(clients.command('list').description('list the clients')).action(
    (options: CommonOptions) =>
      cli.operate(options, async (operations) => {
        const list = await operations.clients.list()
        return {
          json: { clients: list },
          text: (style) =>
            list.length === 0
              ? 'No clients. Add one: npx portreeve clients add ID --redirect-uri URI'
              : formatTable(
                  [
                    { title: 'ID', gives: 'whole' },
                    { title: 'NAME', gives: 'wrap' },
                    'TYPE',
                    'METHOD',
                    'STATE',
                    'OWNER',
                  ],
                  list.map((client) => [
                    client.id,
                    client.name,
                    describeType(client),
                    client.authMethod,
                    describeState(client),
                    client.owner,
                  ]),
                  style,
                ),
        }
      }),
  )
}

function addShow(clients: Command, cli: Cli): void {
  withCommonOptions(clients.command('show <id>').description('show a client')).action(
    (id: string, options: CommonOptions) =>
      cli.operate(options, async (operations) => {
        const client = await operations.clients.show(id)
        return { json: { client }, text: (style) => formatClient(client, style) }
      }),
  )
}

interface RotateOptions extends SecretOptions {
  readonly revoke?: boolean
}

function addRotate(clients: Command, cli: Cli): void {
  const rotate = clients
    .command('rotate-secret <id>')
    .description('give a client another secret; the old one is refused at once')
    .option(SECRET_STDIN, 'read the secret from standard input instead of generating one')
    .option(
      '--revoke',
      'for a secret that somebody else may have: end what the client was issued, with the grants that people gave it',
    )
  withCommonOptions(rotate).action(async (id: string, options: RotateOptions, command: Command) => {
    const readSecret = chooseSecret(cli, options, command)
    const revokes = options.revoke === true
    await cli.operate(options, async (operations) => {
      const rotated = await operations.clients.rotateSecret(id, await readSecret(), { revokes })
      const done = revokes
        ? 'Revoked the tokens, and changed the secret, of'
        : 'Changed the secret of'
      return reportSecret(done, rotated)
    })
  })
}

function addSwitch(clients: Command, cli: Cli): void {
  const add = (name: string, done: string, description: string, disabled: boolean) =>
    withCommonOptions(clients.command(`${name} <id>`).description(description)).action(
      (id: string, options: CommonOptions) =>
        cli.operate(options, async (operations) => {
          const client = await operations.clients.setDisabled(id, disabled)
          return {
            json: { client },
            text: (style) =>
              `${style.good(done)} the client ${harmless(id)}.\n\n${formatClient(client, style)}`,
          }
        }),
    )
  const ends = 'keep a client out, and end what it was issued, with the grants that people gave it'
  add('disable', 'Disabled', ends, true)
  add('enable', 'Enabled', 'let a disabled client in again; it begins anew', false)
}

function addRemove(clients: Command, cli: Cli): void {
  const description = 'remove a client, with the grants that people gave it'
  withCommonOptions(clients.command('remove <id>').description(description)).action(
    (id: string, options: CommonOptions) =>
      cli.operate(options, async (operations) => {
        await operations.clients.remove(id)
        return {
          json: { removed: { id } },
          text: (style) => `${style.good('Removed')} the client ${harmless(id)}.`,
        }
      }),
  )
}

function reportSecret(done: string, { client, secret, warnings }: ClientWithSecret): Report {
  return {
    json: { client, ...(secret === undefined ? {} : { secret }) },
    warnings,
    text(style) {
      const parts = [`${style.good(done)} ${harmless(client.id)}.`, formatClient(client, style)]
      if (secret !== undefined) {
        parts.push(
          `  ${style.quiet('secret')}  ${style.secret(secret)}`,
          'The secret is shown this once: only its hash is kept. Give it to the app now.',
        )
      }
      return parts.join('\n\n')
    },
  }
}

function formatClient(client: ClientView, style: Style): string {
  const special = [
    ...(client.firstParty ? ['first party'] : []),
    ...(client.pkce === 'exempt' ? ['exempt from PKCE'] : []),
    ...(client.claimsInIdToken ? ['claims in the ID token'] : []),
    ...(client.dpop === 'required' ? ['tokens bound to its key (DPoP)'] : []),
    ...(client.par === 'required' ? ['pushed requests only (PAR)'] : []),
    ...(client.certificateBound ? ['tokens bound to its certificate (mTLS)'] : []),
    ...(client.subjectType === 'pairwise' ? ['people under names of its own (pairwise)'] : []),
    ...(client.profile === undefined ? [] : [`profile ${client.profile}`]),
  ]
  const optional: readonly (readonly [string, readonly string[]])[] = [
    ['after signing out', client.postLogoutRedirectUris],
    ['told of logouts', listText(client.backchannelLogoutUri)],
    ['default scopes', client.defaultScopes],
    ['default resource', listText(client.defaultResource)],
    ['origins', client.origins],
    ['API behind', client.introspects],
    ['page at logouts', listText(client.frontchannelLogoutUri)],
    ['certificate of', listCertificate(client)],
    ['keys', [...listText(client.jwksUri), ...listKeys(client)]],
    ['asks elsewhere', listCiba(client)],
    ['encrypted', listEncrypted(client)],
    ['exchanges for', client.exchange.map(({ resource }) => resource)],
    ['special', special],
  ]
  return formatFields(
    [
      ['client id', client.id],
      ['name', client.name],
      ['state', describeState(client)],
      ['type', describeType(client)],
      ['grants', client.grants.join(', ')],
      ['method', `${client.authMethod}${client.hasSecret ? ' (secret set)' : ''}`],
      ['redirect URIs', client.redirectUris],
      ['scopes', client.scopes.join(' ') || 'none'],
      ...optional.filter(([, values]) => values.length > 0),
      ['owner', client.owner],
      ['created', client.createdAt],
      ['changed', client.updatedAt],
    ],
    style,
  )
}

const ENCRYPTED_NAMES: Readonly<Record<EncryptedKind, string>> = {
  idToken: 'ID tokens',
  userinfo: 'userinfo',
  response: 'authorization responses',
  introspection: 'introspection',
}

function listEncrypted({ encryption = {} }: ClientView): string[] {
  return ENCRYPTED_KINDS.flatMap((kind) => {
    const { algorithm, content } = encryption[kind] ?? {}
    return algorithm === undefined ? [] : [`${ENCRYPTED_NAMES[kind]}: ${algorithm}, ${content}`]
  })
}

function listText(text: string | undefined): string[] {
  return text === undefined ? [] : [text]
}

function listCertificate({ certificate = {} }: ClientView): string[] {
  return Object.entries(certificate).flatMap(([member, value]) =>
    value === undefined ? [] : [`${member} ${value}`],
  )
}

function listKeys({ jwks }: ClientView): string[] {
  return (jwks?.keys ?? []).map(({ kty, kid, alg, x5c }) =>
    [kty, alg, kid, x5c && 'with its certificate']
      .filter((part) => typeof part === 'string')
      .join(' '),
  )
}

function listCiba({ ciba }: ClientView): string[] {
  if (!ciba) return []
  return [ciba.notificationUri === undefined ? ciba.mode : `${ciba.mode} ${ciba.notificationUri}`]
}

/**
 * What is stored says how its redirect URIs are judged, and is `web` where nothing was said: of a client
 * that sends nobody anywhere it says nothing.
 */
function describeType({ applicationType, grants }: ClientView): string {
  if (grants.includes('authorization_code')) return applicationType
  // These have people sign in, elsewhere.
  if (grants.includes('device_code')) return 'device'
  return grants.includes('ciba') ? 'ciba' : 'service'
}

function describeState({ disabled }: ClientView): string {
  return disabled ? 'disabled' : 'active'
}

function collectGrant(value: string, before: Grants = []): Grants {
  const grant = GRANTS.find((known) => known === value)
  if (grant) return [...before, grant]
  throw new InvalidArgumentError(`Allowed choices are ${GRANTS.join(', ')}.`)
}

import { z } from 'zod'

const SECRET_HELP = 'a secret is { env: "NAME" } or { file: "path" }, never the secret itself'

/** Where a secret comes from. The secret itself never stands in the configuration. */
const secretSource = z.union(
  [z.strictObject({ env: z.string().min(1) }), z.strictObject({ file: z.string().min(1) })],
  { error: SECRET_HELP },
)

const name = z.string().min(1).max(200)
/** Characters of RFC 6749 §3.3 `scope-token`. */
const scopeToken = z
  .string()
  .regex(
    /^[\x21\x23-\x5B\x5D-\x7E]{1,128}$/,
    'a scope has 1 to 128 printable characters, no space, " or \\',
  )
const roleName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9_.:-]{0,63}$/i, 'a role is 1 to 64 of a-z 0-9 _ . : -')
const absoluteUri = z
  .string()
  .max(2048)
  .refine((text) => URL.canParse(text) && !text.includes('#'), 'an absolute URI without a fragment')
const seconds = z.number().int()

const resource = z.strictObject({
  identifier: absoluteUri,
  audience: z.string().min(1).max(2048).optional(),
  name,
  scopes: z.record(scopeToken, z.strictObject({ description: z.string().min(1).max(300) })),
  accessTokenTtlSeconds: seconds.min(1).max(86_400).default(600),
  algorithm: z.enum(['ES256', 'RS256', 'PS256', 'EdDSA']).default('ES256'),
  tokenType: z.enum(['at+jwt', 'JWT']).default('at+jwt'),
  rolesClaim: z.boolean().default(false),
})

const client = z.strictObject({
  id: z
    .string()
    .regex(/^[A-Za-z0-9._~-]{1,128}$/, 'a client id is 1 to 128 of A-Z a-z 0-9 . _ ~ -'),
  name: name.optional(),
  applicationType: z.enum(['web', 'native']).default('web'),
  grants: z
    .array(z.enum(['authorization_code', 'refresh_token', 'client_credentials']))
    .min(1)
    .default(['authorization_code', 'refresh_token']),
  authMethod: z
    .enum(['client_secret_basic', 'client_secret_post', 'none'])
    .default('client_secret_basic'),
  secret: secretSource.optional(),
  redirectUris: z.array(absoluteUri).default([]),
  postLogoutRedirectUris: z.array(absoluteUri).default([]),
  scopes: z.array(scopeToken).default([]),
  defaultScopes: z.array(scopeToken).default([]),
  defaultResource: absoluteUri.optional(),
  firstParty: z.boolean().default(false),
  pkce: z.enum(['required', 'exempt']).default('required'),
  claimsInIdToken: z.boolean().default(false),
  origins: z.array(z.string()).default([]),
})

const profile = z.strictObject({
  name: name.optional(),
  givenName: name.optional(),
  familyName: name.optional(),
  preferredUsername: name.optional(),
  email: z.email().max(254).optional(),
  emailVerified: z.boolean().optional(),
  picture: z.url().optional(),
  locale: z.string().max(35).optional(),
})

const user = z.strictObject({
  username: z
    .string()
    .regex(/^[^\s\p{C}]{1,100}$/u, 'a username is 1 to 100 visible characters without spaces'),
  password: secretSource.optional(),
  roles: z.array(roleName).default([]),
  groups: z.array(name).default([]),
  profile: profile.default({}),
})

const limit = z.strictObject({ attempts: z.number().int().min(1), windowSeconds: seconds.min(1) })

/** The one schema of the configuration. Unknown members are mistakes. */
export const configSchema = z.strictObject({
  /** The issuer's URL as clients see it: scheme, host and port, no path. */
  issuer: z.string().default('http://localhost:3000'),
  listen: z
    .strictObject({
      host: z.string().min(1).default('127.0.0.1'),
      port: z.number().int().min(0).max(65_535).default(3000),
    })
    .prefault({}),
  /** Peers whose X-Forwarded-* headers are believed: addresses or CIDR ranges. */
  trustedProxies: z.array(z.string()).default([]),
  database: z.strictObject({ url: z.string().default('sqlite:portreeve.sqlite') }).prefault({}),
  /** The root key (32 bytes, base64url) that seals signing keys and derives every other server key. */
  rootKey: secretSource.default({ file: 'portreeve.key' }),
  roles: z.record(roleName, z.strictObject({ scopes: z.array(scopeToken) })).default({}),
  resources: z.array(resource).default([]),
  clients: z.array(client).default([]),
  users: z.array(user).default([]),
  tokens: z
    .strictObject({
      authorizationCodeTtlSeconds: seconds.min(5).max(600).default(60),
      idTokenTtlSeconds: seconds.min(60).max(86_400).default(3600),
      refreshTokenTtlSeconds: seconds.min(60).max(31_536_000).default(1_209_600),
      /** How long a retry of a refresh gets the same successor. 0 turns it off. */
      refreshRetryWindowSeconds: seconds.min(0).max(300).default(30),
      sessionTtlSeconds: seconds.min(60).max(31_536_000).default(1_209_600),
      interactionTtlSeconds: seconds.min(60).max(86_400).default(3600),
    })
    .prefault({}),
  /** How often one may guess wrong before waiting. */
  signIn: z
    .strictObject({
      perAccount: limit.default({ attempts: 10, windowSeconds: 900 }),
      perAddress: limit.default({ attempts: 50, windowSeconds: 900 }),
      overall: limit.default({ attempts: 1000, windowSeconds: 60 }),
      /** Password hashes computed at once, and how many more may wait. */
      hashConcurrency: z.number().int().min(1).max(64).default(2),
      hashQueue: z.number().int().min(0).max(10_000).default(64),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
    })
    .prefault({}),
})

/** What an operator writes. */
export type ConfigInput = z.input<typeof configSchema>
/** What the program reads: every default filled in. */
export type Config = z.output<typeof configSchema>
export type SecretSource = z.output<typeof secretSource>
export type ClientConfig = Config['clients'][number]
export type UserConfig = Config['users'][number]
export type ResourceConfig = Config['resources'][number]
export type SigningAlgorithm = ResourceConfig['algorithm']
/** Who declared an object: the configuration file (read-only to the CLI) or an operator. */
export type Owner = 'file' | 'operator'

/** Gives an editor completion and type checks in `portreeve.config.ts`. */
export function defineConfig(config: ConfigInput): ConfigInput {
  return config
}

import { z } from 'zod'
import {
  ACR_VALUES,
  ASSERTION_ALGORITHMS,
  CLIENT_AUTH_METHODS,
  CLIENT_ENCRYPTION_ALGORITHMS,
  CLIENT_SIGNING_ALGORITHMS,
  CONTENT_ENCRYPTIONS,
  GRANT_TYPES,
  REQUEST_ALGORITHMS,
  REGISTRABLE_AUTH_METHODS,
  type GrantType,
} from './built-in.ts'
import { NAME_RULE, namePattern, usernamePattern } from './name.ts'

/** No access token and no ID token lives longer, whatever is configured. */
export const LONGEST_TOKEN_SECONDS = 86_400

/** What is signed with a secret that an API shares, in place of a key of this server. */
export const SECRET_ALGORITHMS = ['HS256', 'HS512'] as const

const SECRET_HELP = '{ env: "NAME" } or { file: "path" }, never the secret itself'

/** Where a secret comes from. The secret itself never stands in the configuration. */
const secretSource = z.union(
  [
    z.strictObject({
      env: text(/^[A-Za-z_][A-Za-z0-9_]{0,199}$/, 'the name of a variable'),
    }),
    z.strictObject({ file: z.string().min(1).max(4096) }),
  ],
  { error: SECRET_HELP },
)

/** A text of one pattern. `words` say what is expected, in mistakes and in the reference. */
function text(pattern: RegExp, words: string): z.ZodString {
  return z.string().regex(pattern, words).meta({ title: words })
}

const name = text(namePattern(200), `a text of 1 to 200 characters, ${NAME_RULE}`)
/** Characters of RFC 6749 §3.3 `scope-token`. */
const scopeToken = text(
  /^[\x21\x23-\x5B\x5D-\x7E]{1,128}$/,
  'a scope of 1 to 128 printable characters without space, " or \\',
)
const roleName = text(
  /^[a-z0-9][a-z0-9_.:-]{0,63}$/i,
  'a role of 1 to 64 characters: a-z A-Z 0-9 _ . : -',
)
const URI_HELP = 'an absolute URI of at most 2048 characters, without spaces or a fragment'
/** The URL parser drops spaces and line breaks: comparing exactly needs them refused instead. */
const absoluteUri = z
  .string()
  .refine((uri) => /^[\x21\x22\x24-\x7E]{1,2048}$/.test(uri) && URL.canParse(uri), URI_HELP)
  .meta({ title: URI_HELP })
const PAGE_HELP = 'the address of a page, of at most 2048 characters, without spaces'
/** What a browser opens: unlike other addresses it may point into the page. */
export const pageUri: z.ZodString = z
  .string()
  .regex(/^https?:\/\/[\x21\x23-\x3B\x3D\x3F-\x7E]{1,2040}$/, PAGE_HELP)
  .meta({ title: PAGE_HELP })
const seconds = z.number().int()
const username = text(
  usernamePattern(100),
  `a username of 1 to 100 characters without spaces, ${NAME_RULE}`,
)
const clientId = text(
  /^[A-Za-z0-9._~-]{1,128}$/,
  'a client id of 1 to 128 characters: a-z A-Z 0-9 . _ ~ -',
)

const CLAIM_HELP =
  '{ value: a text, number or boolean }, { from: "username", "client_id" or "client_name" } or { firstRoleOf: a list of roles }'
/** What a claim says that an API wants beyond those of RFC 9068. */
const ownClaim = z
  .union(
    [
      z.strictObject({ value: z.union([z.string().max(1000), z.number(), z.boolean()]) }),
      z.strictObject({ from: z.enum(['username', 'client_id', 'client_name']) }),
      z.strictObject({ firstRoleOf: z.array(roleName).min(1) }),
    ],
    { error: CLAIM_HELP },
  )
  .meta({ title: CLAIM_HELP })

const detailMember = z.strictObject({
  name: name.describe('What people read before its value.'),
  type: z
    .enum(['text', 'number', 'enum', 'list'])
    .describe('`enum` is one of the `values`, `list` some of them.'),
  values: z.array(name).min(1).max(50).optional().describe('Of an `enum` or a `list`.'),
  required: z.boolean().default(true).describe('Whether it may be left out.'),
})

const detailType = z.strictObject({
  description: name.describe('What people read on the consent page.'),
  scope: scopeToken.describe(
    'The scope of the resource that goes with it: who may not have it may not have these details.',
  ),
  members: z
    .record(
      text(/^[A-Za-z][A-Za-z0-9_]{0,63}$/, 'the name of a member: 1 to 64 of a-z A-Z 0-9 _'),
      detailMember,
    )
    .describe('What its objects say beside `type`, in the order that people read.'),
})

const resource = z.strictObject({
  identifier: absoluteUri.describe(
    'The URI that clients name as `resource` (RFC 8707). It need not answer.',
  ),
  audience: text(
    /^[\x21-\x7E]{1,2048}$/,
    'an audience of 1 to 2048 printable characters without spaces',
  )
    .optional()
    .describe('The `aud` of its tokens. The identifier where absent.'),
  name: name.describe('What people read on the consent page.'),
  scopes: z
    .record(
      scopeToken,
      z.strictObject({ description: name.describe('What people read on the consent page.') }),
    )
    .describe('Every scope that this API understands.'),
  accessTokenTtlSeconds: seconds
    .min(1)
    .max(LONGEST_TOKEN_SECONDS)
    .default(600)
    .describe('How long its access tokens live.'),
  algorithm: z
    .enum(['ES256', 'RS256', 'PS256', 'EdDSA', ...SECRET_ALGORITHMS])
    .default('ES256')
    .describe(
      'What its access tokens are signed with. HS256 and HS512 are for an API that checks nothing else: whoever holds its secret can make its tokens.',
    ),
  secret: secretSource
    .optional()
    .describe(
      'Where the secret comes from that an API with HS256 (32 bytes at least) or HS512 (64) shares with this server.',
    ),
  issuer: text(/^[\x21-\x7E]{1,2048}$/, 'a name of 1 to 2048 printable characters without spaces')
    .optional()
    .describe('The `iss` of its tokens where it has a secret: a name, which need be no URL.'),
  tokenType: z
    .enum(['at+jwt', 'JWT'])
    .default('at+jwt')
    .describe(
      'The `typ` of its access tokens: `JWT` for a decoder that refuses `at+jwt` (RFC 9068).',
    ),
  rolesClaim: z
    .boolean()
    .default(false)
    .describe("Whether its access tokens carry the person's roles as `roles`."),
  claims: z
    .record(
      text(
        /^[A-Za-z][A-Za-z0-9_.:/-]{0,127}$/,
        'the name of a claim: 1 to 128 of a-z A-Z 0-9 _ . : / -',
      ),
      ownClaim,
    )
    .default({})
    .describe(
      'Claims of its own, by name. `{ value }` is the same for all; `{ from }` says who the token is about or for; `{ firstRoleOf }` is the first of these roles that the person has. Whoever holds a token reads them.',
    ),
  authorizationDetails: z
    .record(
      text(/^[\x21\x23-\x5B\x5D-\x7E]{1,200}$/, 'a type of 1 to 200 printable characters'),
      detailType,
    )
    .optional()
    .describe(
      'Types of `authorization_details` that it understands (RFC 9396): what people agree to in detail, each time.',
    ),
})

const exchangeRule = z.strictObject({
  resource: absoluteUri.describe('The resource that the new token is for.'),
  scopes: z
    .array(scopeToken)
    .optional()
    .describe('The most that it may carry. Where absent, what the old token carries.'),
  subjects: z
    .array(z.enum(['person', 'service']))
    .min(1)
    .describe('Whom the old token may be about.'),
  from: z.array(absoluteUri).min(1).describe('The resources that the old token may be for.'),
  mode: z
    .array(z.enum(['impersonation', 'delegation']))
    .min(1)
    .describe('`delegation` says in the new token who acts (`act`), `impersonation` does not.'),
})

const JWK_HELP = 'a public key as a JWK (RFC 7517): an object with kty'
const publicJwk = z
  .record(z.string(), z.unknown(), JWK_HELP)
  .refine(({ kty }) => typeof kty === 'string', JWK_HELP)

const jwkSet = z.strictObject({
  keys: z
    .array(publicJwk)
    .min(1)
    .max(20)
    .describe('Each a JWK (RFC 7517 §4), none of them private.'),
})

const clientSigning = z.enum(CLIENT_SIGNING_ALGORITHMS).optional()

function encrypted(what: string) {
  return z
    .strictObject({
      algorithm: z.enum(CLIENT_ENCRYPTION_ALGORITHMS).describe(`Of ${what}`),
      content: z
        .enum(CONTENT_ENCRYPTIONS)
        .default('A128CBC-HS256')
        .describe('What they are encrypted with.'),
    })
    .optional()
    .describe(`Of ${what}`)
}

const cibaSettings = z.strictObject({
  mode: z
    .enum(['poll', 'ping'])
    .default('poll')
    .describe('`ping` tells it when the person has decided, so that it need not ask before.'),
  notificationUri: absoluteUri
    .optional()
    .describe('Where it is told so, with `ping`: https, or http on loopback. See `outbound`.'),
})

const CERTIFICATE_HELP =
  'exactly one of subjectDn, sanDns, sanUri, sanIp and sanEmail (RFC 8705 §2.1.2)'
const certificateSubject = z
  .strictObject({
    subjectDn: z
      .string()
      .max(1000)
      .optional()
      .describe('Its distinguished name as RFC 4514 writes it, such as `CN=robot,O=Example,C=DE`.'),
    sanDns: z.string().max(255).optional().describe('A DNS name among its alternative names.'),
    sanUri: z.string().max(2048).optional().describe('A URI there. Compared exactly.'),
    sanIp: z.string().max(64).optional().describe('An address there.'),
    sanEmail: z.string().max(254).optional().describe('An e-mail address there.'),
  })
  .refine(
    (subject) => Object.values(subject).filter((one) => one !== undefined).length === 1,
    CERTIFICATE_HELP,
  )
  .meta({ title: CERTIFICATE_HELP })

export const clientSchema = z.strictObject({
  id: clientId.describe('The `client_id`. Public.'),
  name: name.optional().describe('What people read on the consent page. The id where absent.'),
  applicationType: z
    .enum(['web', 'native'])
    .default('web')
    .describe(
      "`native` for what runs on a person's own machine: it may use custom schemes, and any port on loopback (RFC 8252).",
    ),
  grants: z
    .array(z.enum(Object.keys(GRANT_TYPES) as [GrantType, ...GrantType[]]))
    .min(1)
    .default(['authorization_code', 'refresh_token'])
    .describe('How it may get tokens.'),
  authMethod: z
    .enum(CLIENT_AUTH_METHODS)
    .default('client_secret_basic')
    .describe(
      "How it proves who it is. `private_key_jwt` by a signature (RFC 7523), so that this server keeps nothing secret of it. `tls_client_auth` by a certificate of an authority that `mtls` trusts, `self_signed_tls_client_auth` by one that is among its own keys (RFC 8705). `none` for a public client: a browser's or a native app.",
    ),
  certificate: certificateSubject
    .optional()
    .describe('What its certificate has to say of it, with the authMethod `tls_client_auth`.'),
  certificateBound: z
    .boolean()
    .optional()
    .describe(
      'Gives it no token that is not bound to the certificate of its connection (RFC 8705). See `mtls`.',
    ),
  secret: secretSource
    .optional()
    .describe(
      'Where its secret comes from. Needed by `client_secret_basic` and `client_secret_post`.',
    ),
  jwks: jwkSet.optional().describe('Its public keys, as a JWK Set.'),
  jwksUri: absoluteUri
    .optional()
    .describe(
      'Where its public keys are, so that it can change them by itself: https, or http on loopback. They are fetched again after a minute, or as long as the answer may be cached, where a key is not known.',
    ),
  redirectUris: z
    .array(absoluteUri)
    .default([])
    .describe('Where people may be sent back to. Compared exactly.'),
  postLogoutRedirectUris: z
    .array(absoluteUri)
    .default([])
    .describe('Where people may be sent after signing out. Compared exactly.'),
  links: z
    .strictObject({
      home: pageUri.optional().describe('What it is.'),
      terms: pageUri.optional().describe('Its terms of use.'),
      policy: pageUri.optional().describe('What it does with what it learns of people.'),
    })
    .optional()
    .describe(
      'Its pages that people may read before they agree, shown on the consent page: https, or http on loopback.',
    ),
  backchannelLogoutUri: absoluteUri
    .optional()
    .describe(
      'Where this server tells it of sessions that ended (OpenID Connect Back-Channel Logout): https, or http on loopback.',
    ),
  frontchannelLogoutUri: absoluteUri
    .optional()
    .describe(
      'A page of its own that ends its session in the browser, opened in a frame when the person signs out here (OpenID Connect Front-Channel Logout). On the origin of a redirect URI. Browsers that keep the cookies of other sites out of frames make it useless: prefer `backchannelLogoutUri`.',
    ),
  scopes: z
    .array(scopeToken)
    .default([])
    .describe(
      "Every scope it may ever be granted, OpenID Connect's included. With those go the claims that it may ask for one by one.",
    ),
  defaultScopes: z.array(scopeToken).default([]).describe('Assumed when a request names no scope.'),
  defaultResource: absoluteUri
    .optional()
    .describe('The resource of a request that neither names one nor asks for scopes of one.'),
  firstParty: z
    .boolean()
    .default(false)
    .describe(
      'Belongs to you: people are not asked for consent. On loopback and custom schemes they always are.',
    ),
  pkce: z
    .enum(['required', 'exempt'])
    .default('required')
    .describe('`exempt` only for a client with a secret whose software cannot do PKCE.'),
  dpop: z
    .enum(['allowed', 'required'])
    .default('allowed')
    .describe(
      '`required` gives it no token that is not bound to a key of its own (DPoP, RFC 9449). Its proofs have to carry a nonce of this server.',
    ),
  par: z
    .enum(['allowed', 'required'])
    .default('allowed')
    .describe(
      '`required` takes its authorization requests only where it has pushed them before (PAR, RFC 9126).',
    ),
  profile: z
    .enum(['fapi2'])
    .optional()
    .describe(
      '`fapi2` holds it to the FAPI 2.0 Security Profile: whatever is weaker is refused, here and on the wire.',
    ),
  signedRequests: z
    .enum(['allowed', 'required'])
    .optional()
    .describe(
      '`required` takes its authorization requests only where they are signed with one of its keys (JAR, RFC 9101). Where absent, it may sign them.',
    ),
  authorizationDetails: z
    .array(z.string())
    .optional()
    .describe('The types of `authorization_details` that it may ask for (RFC 9396).'),
  signedResponses: z
    .enum(['allowed', 'required'])
    .optional()
    .describe(
      '`required` answers its authorization requests only as signed JWTs (JARM): it has to ask for `response_mode=jwt` or one of its kind. Where absent, it may.',
    ),
  algorithms: z
    .strictObject({
      idToken: clientSigning.describe(
        'Of its ID tokens and logout tokens. Where absent, `RS256`, or `ES256` with the profile `fapi2`.',
      ),
      userinfo: clientSigning.describe('Of what userinfo answers. Where absent, JSON is answered.'),
      response: clientSigning.describe(
        'Of authorization responses (JARM) that it asks for. Where absent, the same.',
      ),
      request: z
        .enum(REQUEST_ALGORITHMS)
        .optional()
        .describe('Of the requests that it signs itself (JAR, CIBA). Where absent, any of these.'),
      assertion: z
        .enum(ASSERTION_ALGORITHMS)
        .optional()
        .describe('Of what it proves itself with, with `private_key_jwt`. Where absent, the same.'),
      introspection: clientSigning.describe(
        'Of what it is told about tokens, where it asks for that signed (RFC 9701). Where absent, `RS256`, or `ES256` with the profile `fapi2`.',
      ),
    })
    .optional()
    .describe('What is signed with, for it and by it.'),
  encryption: z
    .strictObject({
      idToken: encrypted('its ID tokens and logout tokens.'),
      userinfo: encrypted(
        'what userinfo answers, after it was signed as `algorithms` say, or else as its ID tokens.',
      ),
      response: encrypted(
        'authorization responses (JARM). It is given no others, as by `signedResponses`.',
      ),
      introspection: encrypted(
        'what it is told about tokens. It has to ask for that signed (RFC 9701), and is told nothing otherwise.',
      ),
    })
    .optional()
    .describe(
      'What is encrypted for it, to a key in `jwks` or at `jwksUri` that fits, after it was signed. Where no key fits, or none can be fetched, it is given nothing.',
    ),
  introspects: z
    .array(absoluteUri)
    .default([])
    .describe(
      'The resources that it is the API behind: it may ask about tokens for them (RFC 7662), and exchange them.',
    ),
  exchange: z
    .array(exchangeRule)
    .max(100)
    .default([])
    .describe(
      'What it may exchange tokens for (RFC 8693), with the grant `token_exchange`: tokens that were issued to it, and tokens for what it `introspects`.',
    ),
  assertionIssuers: z
    .array(z.string().max(2048))
    .max(20)
    .default([])
    .describe(
      'Whose assertions it may get tokens for (RFC 7523), with the grant `jwt_bearer`: issuers among `trustedIssuers`.',
    ),
  ciba: cibaSettings
    .optional()
    .describe(
      'How it learns what people have decided elsewhere (CIBA), with the grant `ciba`. Where absent, it asks.',
    ),
  subjectType: z
    .enum(['public', 'pairwise'])
    .optional()
    .describe(
      "`pairwise` has it know people by a `sub` that no client of another host knows them by (OpenID Connect Core §8). It may have no scope of a resource: an API goes by the account's id. Where absent, `public`. A change gives its people other names there.",
    ),
  sectorIdentifierUri: absoluteUri
    .optional()
    .describe(
      'Its host is what pairwise subjects are for, where the redirect URIs have several hosts, or are those of a native app. It is your word: nothing is fetched from there. A client that registers itself has to list its redirect URIs there, as JSON.',
    ),
  defaultMaxAgeSeconds: seconds
    .min(0)
    .max(31_536_000)
    .optional()
    .describe(
      'How long ago people may have signed in where its request does not say (`max_age`): after that they do so again.',
    ),
  defaultAcrValues: z
    .array(z.enum(ACR_VALUES))
    .min(1)
    .optional()
    .describe('How they have to have signed in where its request does not say (`acr_values`).'),
  authTimeInIdToken: z
    .boolean()
    .optional()
    .describe('Says in each of its ID tokens when the person signed in (`auth_time`).'),
  claimsInIdToken: z
    .boolean()
    .default(false)
    .describe('Puts the claims of the granted scopes into the ID token as well as at userinfo.'),
  origins: z
    .array(z.string())
    .default([])
    .describe(
      'Origins whose scripts may call the token endpoint (CORS), such as `https://app.example`.',
    ),
})

/** Another server whose word is taken. */
const declaredIssuer = {
  issuer: text(
    /^[\x21-\x7E]{1,2048}$/,
    'a name of 1 to 2048 printable characters without spaces',
  ).describe('What it calls itself: the `iss` of what it signs, compared exactly.'),
  jwks: jwkSet.optional().describe('Its public keys, as a JWK Set.'),
  jwksUri: absoluteUri
    .optional()
    .describe('Where its public keys are: https, or http on loopback. See `outbound`.'),
}

const trustedIssuer = z.strictObject({
  ...declaredIssuer,
  profile: z
    .enum(['id-jag', 'plain'])
    .default('id-jag')
    .describe(
      '`id-jag` takes what an identity provider makes for one app at this server (Identity Assertion JWT Authorization Grant). `plain` takes any JWT for this server that is good by RFC 7523.',
    ),
  accountClaim: z
    .enum(['sub', 'email', 'preferred_username'])
    .default('sub')
    .describe(
      'Which of its claims is the username of the person here. It can name anybody: whom you trust so may act for all of your people.',
    ),
  scopes: z.array(scopeToken).min(1).describe('The most that tokens for its assertions may carry.'),
  longestSeconds: seconds
    .min(10)
    .max(3600)
    .default(300)
    .describe('How long its assertions may live.'),
})

const profile = z.strictObject({
  name: name.optional().describe('The claim `name`.'),
  givenName: name.optional().describe('The claim `given_name`.'),
  familyName: name.optional().describe('The claim `family_name`.'),
  preferredUsername: name
    .optional()
    .describe('The claim `preferred_username`. The username where absent.'),
  email: z.email('an e-mail address').max(254).optional().describe('The claim `email`.'),
  emailVerified: z
    .boolean()
    .optional()
    .describe("Your word that the address is this person's: the claim `email_verified`."),
  picture: z
    .url({ protocol: /^https?$/, error: 'an http or https URL' })
    .max(2048)
    .optional()
    .describe('The claim `picture`.'),
  locale: text(/^[A-Za-z0-9-]{1,35}$/, 'a language tag such as en or pt-BR')
    .optional()
    .describe('The claim `locale`, such as `pt-BR`.'),
})

export const userSchema = z.strictObject({
  username: username.describe('What the person types. Upper and lower case are the same.'),
  password: secretSource
    .optional()
    .describe('Where the password comes from. Without one the person cannot sign in by password.'),
  roles: z.array(roleName).default([]).describe('What the person may do: see `roles`.'),
  groups: z.array(name).default([]).describe('The claim `groups`. Means nothing to this server.'),
  profile: profile.prefault({}).describe('Claims about the person.'),
})

const limit = z.strictObject({
  attempts: z.number().int().min(1).describe('How many wrong guesses.'),
  windowSeconds: seconds.min(1).describe('Within how long.'),
})

/** Another place to listen. */
function place(port: number) {
  return z
    .strictObject({
      host: text(/^[^\s\p{C}]{1,255}$/u, 'an address or a host name')
        .default('127.0.0.1')
        .describe('The address to listen on.'),
      port: z
        .number()
        .int()
        .min(0)
        .max(65_535)
        .default(port)
        .describe('The port there. 0 takes a free one.'),
    })
    .prefault({})
}

const directAccess = z.strictObject({
  listen: place(8000).describe('Where passwords and API keys are taken.'),
  password: z
    .strictObject({
      resource: absoluteUri.describe(
        'The identifier of the resource that `POST /getToken` gives tokens for, to who sends `username` and `password`.',
      ),
      revealUnknownUsers: z
        .boolean()
        .default(false)
        .describe(
          'Answers 404 for a username that nobody has, in place of 401: strangers learn who exists.',
        ),
    })
    .optional()
    .describe('A token for a password.'),
  apiKey: z
    .strictObject({
      resource: absoluteUri.describe(
        'The identifier of the resource that `/api/v3/auth` gives tokens for, to who sends an `api-key`.',
      ),
      demonstrationKeys: z
        .array(
          z.strictObject({
            secret: secretSource.describe('Where the key comes from: it may be short.'),
            user: username.describe('Whose key it is.'),
          }),
        )
        .default([])
        .describe('Keys that anyone could guess, for a server on loopback.'),
    })
    .optional()
    .describe('A token for an API key.'),
  unauthenticated: z
    .strictObject({
      listen: place(8080).describe('Where. On loopback.'),
      resource: absoluteUri.describe(
        'The identifier of the resource with a secret that `GET /` gives tokens for, to any program on this machine.',
      ),
      client: clientId.describe('The id of the client that these tokens are for.'),
    })
    .optional()
    .describe('A token for nothing.'),
})

const HEADER_HELP = 'the name of a header, such as Client-Cert'
const mtls = z.strictObject({
  origin: z
    .string()
    .optional()
    .describe(
      'Where clients reach it: https, a host of its own or a port of its own, no path. Where absent, the host of the issuer and the port it listens on.',
    ),
  listener: z
    .strictObject({
      ...place(3443).unwrap().shape,
      certificate: z
        .string()
        .min(1)
        .max(4096)
        .describe('The file with its certificate and those that it was signed by, as PEM.'),
      key: secretSource.describe('Where its private key comes from, as PEM.'),
      authorities: z
        .string()
        .min(1)
        .max(4096)
        .optional()
        .describe(
          'The file with the certificates of the authorities whose clients `tls_client_auth` lets in, as PEM. Where absent, no client may use that method.',
        ),
    })
    .optional()
    .describe('Where this server itself speaks TLS, and asks each client for its certificate.'),
  proxy: z
    .strictObject({
      ...place(3443).unwrap().shape,
      certificateHeader: text(/^[A-Za-z][A-Za-z0-9-]{0,63}$/, HEADER_HELP).describe(
        'The header in which one of `trustedProxies` hands over the certificate of its client. The proxy has to set it on each request.',
      ),
      format: z
        .enum(['rfc9440', 'escaped-pem'])
        .describe(
          "How it is written there: `rfc9440` as `Client-Cert` is, `escaped-pem` as nginx's `$ssl_client_escaped_cert`.",
        ),
      verifiedHeader: text(/^[A-Za-z][A-Za-z0-9-]{0,63}$/, HEADER_HELP)
        .optional()
        .describe(
          "The header that says `SUCCESS` where the proxy has found that an authority of the client's is trusted, as nginx's `$ssl_client_verify`. Where absent, no client may use `tls_client_auth`.",
        ),
    })
    .optional()
    .describe(
      'A proxy speaks TLS, and passes on what clients show to a place of its own: host and port, plain HTTP, that it sends nothing else to.',
    ),
})

const registeredGrant = z.enum([
  'authorization_code',
  'refresh_token',
  'device_code',
  'client_credentials',
])

const statementIssuer = z.strictObject({
  ...declaredIssuer,
  scopes: z
    .array(scopeToken)
    .default([])
    .describe(
      'What its apps may be granted beside `registration.scopes`, where the statement itself names it.',
    ),
  grants: z
    .array(registeredGrant)
    .default([])
    .describe(
      'How they may get tokens beside `registration.grants`, where the statement itself names it.',
    ),
})

const softwareStatements = z.strictObject({
  issuers: z
    .array(statementIssuer)
    .min(1)
    .max(20)
    .describe('Whose statements are taken. Those of others are refused.'),
  required: z
    .boolean()
    .default(false)
    .describe('Whether everyone who registers has to show one, the invited as well.'),
})

const registration = z.strictObject({
  access: z
    .enum(['invited', 'stated', 'open'])
    .default('invited')
    .describe(
      'Who may register a client: whoever was invited (`portreeve clients invite`), whoever was invited or shows a software statement, or anybody.',
    ),
  softwareStatements: softwareStatements
    .optional()
    .describe(
      'What others have signed about apps (RFC 7591 §2.3): what a statement says of an app goes before what the app says of itself. Whoever has a copy of one can show it. Absent, they are passed over.',
    ),
  grants: z
    .array(registeredGrant)
    .min(1)
    .default(['authorization_code', 'refresh_token'])
    .describe('How such clients may get tokens.'),
  authMethods: z
    .array(z.enum(REGISTRABLE_AUTH_METHODS))
    .min(1)
    .default([...REGISTRABLE_AUTH_METHODS])
    .describe('How they may prove who they are.'),
  applicationTypes: z
    .array(z.enum(['web', 'native']))
    .min(1)
    .default(['web', 'native'])
    .describe('What they may be.'),
  scopes: z
    .array(scopeToken)
    .min(1)
    .default(['openid', 'profile', 'email'])
    .describe('The most that they may be granted. A client that names no scope gets all of these.'),
  redirectHosts: z
    .array(z.string().max(255))
    .min(1)
    .optional()
    .describe(
      'Where they may send people back to: hosts such as `app.example`, or `*.example.org` for all below it. Anywhere where absent.',
    ),
  mostClients: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(1000)
    .describe('How many of them there may be.'),
  perAddress: limit
    .default({ attempts: 20, windowSeconds: 3600 })
    .describe('How often one address may register a client, or change one.'),
  unusedTtlSeconds: seconds
    .min(60)
    .max(31_536_000)
    .default(604_800)
    .describe('After how long one that never got a token is removed.'),
})

const clientDocuments = z.strictObject({
  hosts: z
    .array(z.string().max(255))
    .min(1)
    .optional()
    .describe(
      'Where such documents may be: hosts such as `app.example`, or `*.example.org` for all below it. Anywhere where absent.',
    ),
  grants: z
    .array(z.enum(['authorization_code', 'refresh_token']))
    .min(1)
    .default(['authorization_code', 'refresh_token'])
    .describe('How such clients may get tokens. What else a document says is left out.'),
  authMethods: z
    .array(z.enum(['none', 'private_key_jwt']))
    .min(1)
    .default(['none', 'private_key_jwt'])
    .describe('How they may prove who they are.'),
  applicationTypes: z
    .array(z.enum(['web', 'native']))
    .min(1)
    .default(['web', 'native'])
    .describe('What they may be.'),
  scopes: z
    .array(scopeToken)
    .min(1)
    .default(['openid', 'profile', 'email'])
    .describe(
      'The most that they may be granted. A document that names no scope gets all of these.',
    ),
  redirectHosts: z
    .array(z.string().max(255))
    .min(1)
    .optional()
    .describe('Where they may send people back to, written as `hosts` are. Anywhere where absent.'),
  perAddress: limit
    .default({ attempts: 15, windowSeconds: 600 })
    .describe('How often one address may have a document fetched that is not known here.'),
  perHost: limit
    .default({ attempts: 150, windowSeconds: 600 })
    .describe(
      'How often documents that are not known here are fetched from one host. Where it is no more than `perAddress`, one stranger can keep out apps of that host which nobody has agreed to yet.',
    ),
})

/** The one schema of the configuration. Unknown members are mistakes. */
export const configSchema = z.strictObject({
  issuer: z
    .string()
    .default('http://localhost:3000')
    .describe(
      "The server's URL as clients see it: scheme, host and port, no path. Where absent, `http://localhost:` and the port it listens on.",
    ),
  listen: z
    .strictObject({
      host: text(/^[^\s\p{C}]{1,255}$/u, 'an address or a host name')
        .default('127.0.0.1')
        .describe('The address to listen on.'),
      port: z
        .number()
        .int()
        .min(0)
        .max(65_535)
        .default(3000)
        .describe('The port to listen on. 0 takes a free one.'),
    })
    .prefault({})
    .describe("Where the server listens. It speaks plain HTTP: TLS is the proxy's."),
  trustedProxies: z
    .array(z.string())
    .default([])
    .describe('Peers whose `X-Forwarded-*` headers are believed: addresses or CIDR ranges.'),
  mtls: mtls
    .optional()
    .describe(
      'Clients that prove who they are by a certificate, and tokens that are bound to one (RFC 8705). Either `listener` or `proxy`. Absent, no certificate is looked at.',
    ),
  outbound: z
    .strictObject({
      networks: z
        .array(z.string())
        .default([])
        .describe(
          'CIDR ranges of private or otherwise special addresses that may be called as well, such as `10.0.0.0/8`. Loopback is among them where the issuer is on loopback. They are for clients that the operator has made or invited, not for those of `clientDocuments`, nor for those that register themselves where `registration.access` is not `invited`.',
        ),
    })
    .prefault({})
    .describe(
      'Where this server fetches what a client names, such as its `jwksUri`: from public addresses, by https, without following redirects.',
    ),
  database: z
    .strictObject({
      url: z
        .string()
        .default('sqlite:portreeve.sqlite')
        .describe(
          '`sqlite:PATH`, `sqlite::memory:` for one that ends with the server, or `postgres://USER@HOST/DATABASE` (15 or later). A password belongs into `DATABASE_URL`, not into the file.',
        ),
    })
    .prefault({})
    .describe('Where everything is kept.'),
  redis: z
    .strictObject({
      url: z
        .string()
        .describe(
          '`redis://HOST:PORT/NUMBER`, or `rediss:` with TLS (Redis 7 or later). A password belongs into `REDIS_URL`, not into the file.',
        ),
    })
    .optional()
    .describe(
      'Where sessions and whatever else may expire is kept, and guesses are counted for all instances. Absent, sessions are in the database, and each process counts for itself.',
    ),
  rootKey: secretSource
    .default({ file: 'portreeve.key' })
    .describe(
      'The root key (32 bytes, base64url) that derives every other server key, and seals the signing keys unless `keys.encryptionKey` does. A file that does not exist is made at the first start.',
    ),
  keys: z
    .strictObject({
      // Three months are what services that rotate by themselves do. Others (Hydra, Keycloak) leave it to
      // a person, and their keys are as old as the installation. Nobody has to notice: a new key is
      // announced long before it signs, and the old one stays until its last token is dead.
      rotateEveryDays: z
        .number()
        .int()
        .min(0)
        .max(3650)
        .default(90)
        .describe(
          'How long a signing key signs before the server announces its successor. 0 leaves it to `portreeve keys rotate`, for verifiers that pin a key.',
        ),
      encryptionKey: secretSource
        .optional()
        .describe(
          'The key (32 bytes, base64url) that seals the signing keys in the database. Absent, it is derived from the root key. `portreeve keys reseal` changes it.',
        ),
    })
    .prefault({})
    .describe('What tokens are signed with.'),
  roles: z
    .record(
      roleName,
      z.strictObject({
        scopes: z.array(scopeToken).describe('What a person with this role may be granted.'),
      }),
    )
    .default({})
    .describe(
      'What people may do. `everyone` is the role that each person has without being given it.',
    ),
  resources: z.array(resource).default([]).describe('The APIs that tokens are for.'),
  clients: z.array(clientSchema).default([]).describe('The applications that ask for tokens.'),
  registration: registration
    .optional()
    .describe(
      'Clients that register themselves (Dynamic Client Registration, RFC 7591). People are always asked for consent, and told that nobody has checked the app. Absent, there are none: those that have registered before go on.',
    ),
  clientDocuments: clientDocuments
    .optional()
    .describe(
      'Clients that nobody has registered, whose id is the URL of a document that describes them (OAuth Client ID Metadata Document). People are always asked for consent, shown the host, and told that nobody has checked the app. Absent, there are none.',
    ),
  trustedIssuers: z
    .array(trustedIssuer)
    .max(100)
    .default([])
    .describe('Other servers whose word about people is taken.'),
  users: z.array(userSchema).default([]).describe('The people who sign in.'),
  tokens: z
    .strictObject({
      authorizationCodeTtlSeconds: seconds
        .min(5)
        .max(600)
        .default(60)
        .describe('How long an authorization code may be redeemed.'),
      idTokenTtlSeconds: seconds
        .min(60)
        .max(LONGEST_TOKEN_SECONDS)
        .default(3600)
        .describe('How long ID tokens live.'),
      refreshTokenTtlSeconds: seconds
        .min(60)
        .max(31_536_000)
        .default(1_209_600)
        .describe('How long a refresh token may stay unused.'),
      refreshRetryWindowSeconds: seconds
        .min(0)
        .max(300)
        .default(30)
        .describe('How long a retry of a refresh gets the same successor. 0 turns it off.'),
      sessionTtlSeconds: seconds
        .min(60)
        .max(31_536_000)
        .default(1_209_600)
        .describe('How long a person stays signed in.'),
      interactionTtlSeconds: seconds
        .min(60)
        .max(86_400)
        .default(3600)
        .describe('How long a person may take to sign in and consent.'),
    })
    .prefault({})
    .describe('How long things live.'),
  signIn: z
    .strictObject({
      perAccount: limit
        .default({ attempts: 10, windowSeconds: 900 })
        .describe('Wrong guesses at one account or client.'),
      perAddress: limit
        .default({ attempts: 50, windowSeconds: 900 })
        .describe('Wrong guesses from one address.'),
      overall: limit
        .default({ attempts: 1000, windowSeconds: 60 })
        .describe('Wrong guesses at the whole server.'),
      shortestPassword: z
        .number()
        .int()
        .min(1)
        .max(64)
        .default(8)
        .describe(
          'How many characters the password of a declared user has at least. Fewer than 8 only on loopback.',
        ),
      hashConcurrency: z
        .number()
        .int()
        .min(1)
        .max(64)
        .default(2)
        .describe('How many password hashes are computed at once.'),
      hashQueue: z
        .number()
        .int()
        .min(0)
        .max(10_000)
        .default(64)
        .describe('How many more may wait. Further sign-ins are told to try again.'),
    })
    .prefault({})
    .describe('How often one may guess wrong before waiting.'),
  directAccess: directAccess
    .optional()
    .describe(
      'Tokens without OAuth, for programs of old that know nothing else. Absent, there are none.',
    ),
  log: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error', 'silent'])
        .default('info')
        .describe('The least that is written.'),
    })
    .prefault({})
    .describe('Lines of JSON on standard error.'),
  metrics: z
    .strictObject({
      host: text(/^[^\s\p{C}]{1,255}$/u, 'an address or a host name')
        .default('127.0.0.1')
        .describe(
          'The address where Prometheus gets `/metrics`, apart from everything else. Nothing is counted where `metrics` is absent; `{}` takes the defaults.',
        ),
      port: z
        .number()
        .int()
        .min(0)
        .max(65_535)
        .default(9464)
        .describe('The port there. 0 takes a free one.'),
    })
    .optional()
    .describe('Where Prometheus gets `/metrics`. Absent, there are none.'),
})

/** What an operator writes. */
export type ConfigInput = z.input<typeof configSchema>
/** What the program reads: every default filled in. */
export type Config = z.output<typeof configSchema>
export type SecretSource = z.output<typeof secretSource>
export type ClientConfig = Config['clients'][number]
export type UserConfig = Config['users'][number]
export type ResourceConfig = Config['resources'][number]

/** A client as the rules see it, whoever declares it. */
export type CheckedClient = Omit<ClientConfig, 'secret'> & {
  /** Whether a secret comes with it. */
  readonly hasSecret: boolean
}
export type DirectAccessConfig = NonNullable<Config['directAccess']>
export type SecretAlgorithm = (typeof SECRET_ALGORITHMS)[number]
/** What the server has a key of its own for. */
export type SigningAlgorithm = Exclude<ResourceConfig['algorithm'], SecretAlgorithm>
/** Who declared an object: the configuration file (read-only to the CLI) or an operator. */
export type Owner = 'file' | 'operator'
/** `dynamic`: it has registered itself (RFC 7591). `document`: it is described at the URL of its id. */
export type ClientOwner = Owner | 'dynamic' | 'document'
export type RegistrationConfig = NonNullable<Config['registration']>
export type SoftwareStatementsConfig = NonNullable<RegistrationConfig['softwareStatements']>
export type ClientDocumentsConfig = NonNullable<Config['clientDocuments']>

export function isSecretAlgorithm(
  algorithm: ResourceConfig['algorithm'],
): algorithm is SecretAlgorithm {
  return SECRET_ALGORITHMS.some((known) => known === algorithm)
}

/** Gives an editor completion and type checks in `portreeve.config.ts`. */
export function defineConfig(config: ConfigInput): ConfigInput {
  return config
}

/** What a rule does: `refused` stops the program, `warning` is written and goes on. */
export type Severity = 'refused' | 'warning'

interface Rule {
  readonly severity: Severity
  readonly title: string
}

/**
 * Every rule that reads more than one value, by its stable id: an id is never given to another rule.
 * The titles are the reference's; a finding's message says what is wrong with the value at hand.
 */
export const RULES = {
  PR101: refused('The issuer is an origin: http or https, a host, no path, query or fragment.'),
  PR102: refused('The issuer is https, unless its host is a loopback one.'),
  PR103: refused('A server with an http issuer listens on loopback only.'),
  PR104: refused('A trusted proxy is an address or a CIDR range.'),
  PR105: refused('The database is sqlite:PATH, sqlite::memory: or postgres://….'),
  PR106: warning('The port of a loopback issuer is the port that the server listens on.'),
  PR107: warning('An https issuer needs a trusted proxy, because the server itself speaks http.'),
  PR108: warning('Refresh tokens and sessions of more than 90 days outlive most reasons for them.'),
  PR109: warning('A database on another machine is reached by TLS that names it.'),
  PR110: refused('The metrics have a port of their own.'),
  PR111: refused('Redis is redis:// or rediss://, with a host.'),
  PR112: warning('A Redis on another machine is reached by TLS (rediss:).'),

  PR113: refused('A network that may be called is a CIDR range.'),
  PR114: refused('Certificates of clients are taken from a listener or from a proxy.'),
  PR115: refused('Only a trusted proxy says what certificate a client has.'),
  PR116: refused('Clients show certificates at an https origin of its own.'),
  PR117: refused('The place for certificates has a port of its own.'),
  PR118: refused('A proxy says what certificate a client has in headers of their own.'),
  PR120: refused('Passwords of fewer than 8 characters are for a server on loopback.'),

  PR201: refused('No two resources have one identifier.'),
  PR202: refused('No two resources have one audience, nor one the identifier of the other.'),
  PR203: refused('This server is not the identifier or audience of a resource.'),
  PR204: refused('A resource does not own a scope of OpenID Connect, nor one of this server.'),
  PR205: refused('A role carries scopes that some resource has.'),
  PR206: warning('A scope belongs to one resource: otherwise each request must name the resource.'),
  PR207: warning(
    'Access tokens of more than an hour outlive most changes of what a person may do.',
  ),
  PR210: refused('A resource with HS256 or HS512 has a secret and an issuer name of its own.'),
  PR211: refused('Only a resource with HS256 or HS512 has a secret or an issuer name.'),
  PR212: refused("The issuer name of a resource with a secret is not this server's issuer."),
  PR213: refused("A resource's own claims are none that the server writes."),
  PR214: refused('The roles that a claim is made of are among the roles.'),
  PR215: warning('Whoever holds the secret of a resource can make its tokens: prefer keys.'),

  PR301: refused('No two clients have one id.'),
  PR302: refused('A client id does not start like an account id (acc_).'),
  PR303: refused('A client id is not the identifier or audience of a resource.'),
  PR304: refused('A client with the method "none" has no secret.'),
  PR305: refused('A client with the method "none" has no client_credentials grant.'),
  PR306: refused('A client that proves who it is has a secret.'),
  PR307: refused('Only a client that proves who it is may be exempt from PKCE.'),
  PR308: refused('A client with the authorization_code grant has redirect URIs.'),
  PR309: refused('The refresh_token grant comes with authorization_code, device_code or ciba.'),
  PR310: refused("A redirect URI is https, http on loopback, or a native app's own scheme."),
  PR311: refused('A redirect URI is https, unless its host is a loopback one.'),
  PR312: refused('A redirect URI has no wildcard.'),
  PR313: refused('A redirect URI carries no user name or password.'),
  PR314: refused("A custom scheme is a native app's, and a domain name backwards (RFC 8252 §7.1)."),
  PR315: refused('A native app uses loopback with http, and https with a host of its own.'),
  PR316: refused("A client's scopes are OpenID Connect's or some resource's."),
  PR317: refused('The default scopes of a client are among its scopes.'),
  PR318: refused('The default resource of a client is one of the resources.'),
  PR319: refused('A client with client_credentials or api_key alone has a scope of a resource.'),
  PR320: refused('An origin is exact: https (or http on loopback), a host, nothing after it.'),
  PR329: refused('A client id is not the one that this server has as a client of itself.'),
  PR328: refused('Only a client that proves who it is may learn what is revoked, for itself.'),
  PR330: refused('A client that may ask about tokens has a secret.'),
  PR331: refused('The resources that a client is the API behind are among the resources.'),
  PR332: refused('A client with the token_exchange grant has a secret.'),
  PR333: refused('The token_exchange grant comes with rules (exchange), and they with the grant.'),
  PR334: refused('A rule for exchanges names resources that there are, and scopes of its target.'),
  PR335: refused('A rule for exchanges takes no token of a resource with a shared secret.'),
  PR336: refused('A place for back-channel logout is https, or http on loopback.'),
  PR337: refused('A client that signs has its keys in one place: jwks or jwksUri.'),
  PR338: refused('A place that keys are fetched from is https, or http on loopback.'),
  PR339: refused(
    'Keys of a client are public, and of RSA with 2048 bits, P-256, P-384, P-521, Ed25519 or X25519.',
  ),
  PR353: refused('A client that is encrypted for has keys: jwks or jwksUri.'),
  PR354: refused('One of the keys of a client that is encrypted for fits.'),
  PR355: refused('What is encrypted for a client is something that it gets.'),
  PR360: refused("What may be registered are scopes of OpenID Connect's or some resource's."),
  PR361: refused('A redirect host is a host name, or *. and one.'),
  PR362: refused('Whoever registers uninvited gets no tokens without a person.'),
  PR363: warning('With open registration anybody can have an app ask your people for access.'),
  PR370: refused(
    'The jwt_bearer grant comes with issuers (assertionIssuers), and they with the grant.',
  ),
  PR371: refused('The jwt_bearer grant is for clients that prove who they are.'),
  PR372: refused('A client takes assertions of trusted issuers.'),
  PR373: refused('A trusted issuer is another server, declared once, with its keys in one place.'),
  PR340: refused('A client whose requests have to be signed has keys: jwks or jwksUri.'),
  PR380: refused('A page for front-channel logout is on the origin of a redirect URI.'),
  PR374: refused('The ciba grant is for clients that prove who they are.'),
  PR375: refused('Only a client with the ciba grant has settings for it (ciba).'),
  PR376: refused('A client is told of decisions at its notificationUri, with the mode ping alone.'),
  PR377: refused('A notificationUri is https, or http on loopback.'),
  PR341: refused(
    'A type of details is of one resource, with a scope of it, and says its members as RFC 9396 has them.',
  ),
  PR342: refused('The types of details of a client are declared, and it has the scopes of them.'),
  PR343: refused('A client of the profile fapi2 has nothing that is weaker than the profile.'),
  PR344: refused('The APIs of a client of the profile fapi2 sign with ES256, PS256 or EdDSA.'),
  PR345: refused(
    'A client with pairwise subjects has a sector: one host of redirect URIs, or sectorIdentifierUri.',
  ),
  PR346: refused(
    'A client with pairwise subjects gets no token for an API, whose revocations name accounts.',
  ),
  PR347: refused('A sectorIdentifierUri is https, or http on loopback.'),
  PR390: refused(
    'A client of tls_client_auth says what its certificate is of, and nobody else does.',
  ),
  PR391: refused(
    'A client that shows certificates can do so: mtls is configured, with who is trusted.',
  ),
  PR392: refused('A client of self_signed_tls_client_auth has its certificates among its keys.'),
  PR394: warning('A distinguished name begins with what is closest to its client, such as CN.'),
  PR393: refused('Tokens are bound by certificate or by DPoP, not both.'),
  PR381: refused("What documents may ask for are scopes of OpenID Connect's or some resource's."),
  PR382: refused(
    'A host of documents, or one that they send people to, is a host name, or *. and one.',
  ),
  PR383: refused(
    'Clients that are described by documents have people sign in: authorization_code.',
  ),
  PR384: warning('Without hosts, anybody can have an app ask your people for access.'),
  PR350: warning('A client exempt from PKCE relies on nonce or state alone.'),
  PR351: warning(
    'People are asked for consent on loopback and custom schemes, first party or not.',
  ),
  PR352: warning('A secret inside a native app is no secret.'),

  PR401: refused('No two users have one username, upper and lower case being the same.'),
  PR402: refused('The roles of a user are among the roles.'),
  PR403: refused('The role "everyone" is not given: each person has it.'),
  PR404: refused('A verified e-mail address is there.'),
  PR450: warning('A user without a password cannot sign in by password.'),

  PR501: refused('Direct access is given for a resource that there is.'),
  PR502: refused('Passwords and API keys are taken on loopback, unless the issuer is https.'),
  PR503: refused('Tokens for nothing are given on loopback, with a loopback issuer.'),
  PR504: refused('Tokens for nothing are for a resource with a secret.'),
  PR505: refused('Tokens for nothing are for a client that there is, and that may have them.'),
  PR506: refused('Whatever listens has a port of its own.'),
  PR507: refused('A demonstration key is for a server on loopback.'),
  PR508: refused('A demonstration key belongs to a user that there is.'),
  PR509: refused('Where software statements let apps in, there are issuers of them.'),
  PR510: refused('A page of a client is https, or http on loopback.'),
  PR511: refused('Only what a client does prove itself with has an algorithm (assertion).'),
  PR550: warning('Who is told that a user is unknown learns who is known.'),
  PR551: warning('Every program on the machine can have the tokens that are given for nothing.'),
} as const satisfies Record<string, Rule>

export type RuleId = keyof typeof RULES

export type Path = readonly (string | number)[]

/** Where a rule is broken. */
export interface Finding {
  readonly rule: RuleId
  readonly path: Path
  /** Carries no secret, and no more of a value than `echo` lets through. */
  readonly message: string
}

/** Takes down what a check has found. */
export type Report = (rule: RuleId, member: Path, message: string) => void

export function isRefusal({ rule }: Finding): boolean {
  return RULES[rule].severity === 'refused'
}

function refused(title: string): Rule & { severity: 'refused' } {
  return { severity: 'refused', title }
}

function warning(title: string): Rule & { severity: 'warning' } {
  return { severity: 'warning', title }
}

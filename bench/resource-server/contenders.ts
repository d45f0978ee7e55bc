export interface Contender {
  /** The name of its file in `contenders/`, and what `--only` looks for. */
  readonly name: string
  readonly label: string
  /** Whether it looks at the token at all. */
  readonly isGuarded: boolean
  /** The packages whose versions the report names. */
  readonly packages: readonly string[]
}

const BARE = 'koa'
export const NO_OP = 'koa-no-op'
export const OURS = 'ours'
export const UNCACHED = 'ours-uncached'
export const BY_HAND = 'koa-jose'

export const CONTENDERS: readonly Contender[] = [
  { name: BARE, label: 'Koa, no check', isGuarded: false, packages: ['koa'] },
  {
    name: NO_OP,
    label: 'Koa, a middleware that does nothing',
    isGuarded: false,
    packages: ['koa'],
  },
  { name: OURS, label: '@portreeve/resource-server', isGuarded: true, packages: ['koa'] },
  {
    name: UNCACHED,
    label: '@portreeve/resource-server, cache off',
    isGuarded: true,
    packages: ['koa'],
  },
  { name: BY_HAND, label: 'Koa + jose by hand', isGuarded: true, packages: ['koa', 'jose'] },
  {
    name: 'koa-aws-jwt-verify',
    label: 'Koa + aws-jwt-verify',
    isGuarded: true,
    packages: ['koa', 'aws-jwt-verify'],
  },
  {
    name: 'express-oauth2-jwt-bearer',
    label: 'express-oauth2-jwt-bearer',
    isGuarded: true,
    packages: ['express', 'express-oauth2-jwt-bearer'],
  },
  {
    name: 'fastify-jwt',
    label: '@fastify/jwt + get-jwks',
    isGuarded: true,
    packages: ['fastify', '@fastify/jwt', 'get-jwks'],
  },
  {
    name: 'koa-jwt',
    label: 'koa-jwt + jwks-rsa',
    isGuarded: true,
    packages: ['koa', 'koa-jwt', 'jwks-rsa'],
  },
]

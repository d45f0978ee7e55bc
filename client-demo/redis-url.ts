/**
 * What is wrong with the URL of a Redis, and what would do; `undefined` for one that the authorization
 * server takes. Without the URL, which may hold a password.
 */
export function describeRedisMistake(text: string): string | undefined {
  const url = URL.parse(text)
  const isWellFormed =
    url !== null &&
    ['redis:', 'rediss:'].includes(url.protocol) &&
    url.hostname !== '' &&
    /^\/?\d*$/.test(url.pathname)
  if (isWellFormed) return undefined
  return [
    '--redis, or the variable REDIS_URL, is no URL of a Redis.',
    'Expected redis://HOST:PORT/NUMBER or rediss://HOST:PORT/NUMBER, such as redis://127.0.0.1:6379/0.',
    'Leave both away, and sessions are kept in the server’s own database: no Redis is needed.',
  ].join('\n')
}

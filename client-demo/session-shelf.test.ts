import { expect, test } from 'vitest'
import { chooseShelf } from './session-shelf.ts'

test.each([
  ['redis://:a-password@127.0.0.1:45843/0', 'redis-cli -p 45843'],
  ['redis://127.0.0.1', 'redis-cli'],
  [
    'rediss://user:a-password@redis.example:6380/3',
    'redis-cli -h redis.example -p 6380 -n 3 --tls',
  ],
])('names the Redis of %s to whoever looks in, and no password', (redisUrl, command) => {
  const { listCommand, removeCommand } = chooseShelf({ databaseFile: '', redisUrl })
  expect(listCommand).toBe(`${command} --scan --pattern 'session_*'`)
  expect(removeCommand).toBe(`${command} del session_…`)
})

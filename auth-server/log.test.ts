import { describe, expect, test } from 'vitest'
import { createLog, currentRequest, type LogLevel } from './log.ts'

function start(level: LogLevel = 'info') {
  const lines: string[] = []
  const log = createLog(level, { write: (line) => void lines.push(line) })
  const read = () => lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  return { log, lines, read }
}

const SECRET = 'kq7ZbV0dGq3WnJ8mC1xR5tYfLs2HuA9eDp6oIvKgMzE'

describe('the log', () => {
  test.each([
    'password',
    'secret',
    'client_secret',
    'clientSecret',
    'code',
    'access_token',
    'refresh_token',
    'id_token',
    'authorization',
    'cookie',
  ])('never shows the member %s, at any of three depths', (member) => {
    const { log, lines, read } = start()
    const secretive = { [member]: SECRET }
    log.info({ ...secretive, params: secretive, ctx: { params: secretive, err: secretive } })
    const censored = { [member]: '[secret]' }
    expect(read()).toEqual([
      expect.objectContaining({
        ...censored,
        params: censored,
        ctx: { params: censored, err: censored },
      }),
    ])
    expect(lines.join('')).not.toContain(SECRET)
  })

  test('shows the code of an error, so that it can be found', () => {
    const { log, read } = start()
    const cause = Object.assign(new Error('reset'), { code: 'ECONNRESET' })
    log.error({ event: 'server_error', err: cause })
    log.error({ event: 'server_error', err: Object.assign(new Error('busy'), { code: 5 }) })
    expect(read()).toEqual([
      expect.objectContaining({
        event: 'server_error',
        err: expect.objectContaining({ type: 'Error', message: 'reset', errorCode: 'ECONNRESET' }),
      }),
      expect.objectContaining({ err: expect.objectContaining({ errorCode: 5 }) }),
    ])
  })

  test('never shows what an error carries that is secret, or a code of OAuth', () => {
    const { log, lines, read } = start()
    const carried = { code: SECRET, client_secret: SECRET, params: { refresh_token: SECRET } }
    log.error({ err: Object.assign(new Error('refused'), carried) })
    log.error({ err: { code: SECRET } })
    expect(lines.join('')).not.toContain(SECRET)
    expect(read()).toHaveLength(2)
  })

  test('names the request that it writes for, and none where there is none', () => {
    const { log, read } = start()
    currentRequest.run({ requestId: 'one' }, () => log.info({ event: 'inside' }))
    log.info({ event: 'outside' })
    const [inside, outside] = read()
    expect(inside).toMatchObject({ event: 'inside', requestId: 'one' })
    expect(outside).not.toHaveProperty('requestId')
  })

  test('writes one line of JSON with a time, and nothing of the machine', () => {
    const { log, lines, read } = start()
    log.info({ event: 'two\nlines' })
    expect(lines.join('').split('\n')).toHaveLength(2)
    expect(read()).toEqual([{ level: 30, time: expect.any(Number), event: 'two\nlines' }])
  })

  test('leaves out what is below its level', () => {
    const { log, read } = start('warn')
    log.info({ event: 'small' })
    log.warn({ event: 'large' })
    expect(read().map(({ event }) => event)).toEqual(['large'])
  })
})

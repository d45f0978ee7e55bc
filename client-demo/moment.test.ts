import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { performance } from 'node:perf_hooks'
import { expect, test } from 'vitest'
import type { StepNotes } from './flow.ts'
import { noteMoments, type Door } from './moment.ts'
import type { Leaf } from './value.ts'

const never = new AbortController().signal

interface Answering extends AsyncDisposable {
  readonly door: Door
  readonly shown: readonly (string | undefined)[]
}

/** An API that answers each request as it is told, by how many there have been. */
async function startApi(name: string, statusOf: (count: number) => number): Promise<Answering> {
  const shown: (string | undefined)[] = []
  const server = createServer((request, response: ServerResponse) => {
    shown.push(request.headers.authorization)
    response.writeHead(statusOf(shown.length)).end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  return {
    door: { name, url, token: 'a-token' },
    shown,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

interface Noted {
  readonly checks: Record<string, unknown>
  rows: readonly (readonly Leaf[])[]
}

function createNotes(): { readonly notes: StepNotes; readonly noted: Noted } {
  const noted: Noted = { checks: {}, rows: [] }
  const notes: StepNotes = {
    check: (what, _expected, actual) => void (noted.checks[what] = actual),
    fact: () => {},
    table: (_columns, rows) => void (noted.rows = rows),
  }
  return { notes, noted }
}

const actNow = async () => performance.now()

test('notes for each API when it was last good, and first refused', async () => {
  let isRevoked = false
  const statusOf = () => (isRevoked ? 401 : 200)
  await using one = await startApi('one', statusOf)
  await using other = await startApi('other', statusOf)
  const { notes, noted } = createNotes()
  const revoke = async () => {
    isRevoked = true
    return performance.now()
  }
  await noteMoments(notes, [one.door, other.door], revoke, never)
  expect(noted.rows.map(([name]) => name)).toEqual(['one', 'other'])
  for (const [, lastGood, firstRefused] of noted.rows) {
    expect(Number(firstRefused)).toBeGreaterThan(Number(lastGood))
    expect(Number(firstRefused)).toBeLessThan(1000)
  }
  expect(noted.checks).toEqual({
    'the one refuses within a second, and from then on': true,
    'the other refuses within a second, and from then on': true,
  })
  expect(new Set(one.shown)).toEqual(new Set(['Bearer a-token']))
})

test('finds an API that goes on taking the token', async () => {
  await using deaf = await startApi('deaf', () => 200)
  const { notes, noted } = createNotes()
  await noteMoments(notes, [deaf.door], actNow, never)
  expect(noted.rows).toEqual([['deaf', expect.any(Number), 'never', expect.any(Number)]])
  expect(noted.checks).toEqual({ 'the deaf refuses within a second, and from then on': false })
})

test.each([
  ['takes a token again', (count: number) => (count === 5 ? 401 : 200), /took a token again/],
  ['refuses it from the start', () => 401, /the API answered 401/],
  ['fails', (count: number) => (count === 3 ? 503 : 200), /the API answered 503/],
])('fails where an API %s', async (_case, statusOf, message) => {
  await using api = await startApi('API', statusOf)
  await expect(noteMoments(createNotes().notes, [api.door], actNow, never)).rejects.toThrow(message)
})

test('asks no more once what was to take the token away has failed', async () => {
  await using api = await startApi('API', () => 200)
  const fail = () => Promise.reject(new Error('no such button'))
  const noting = noteMoments(createNotes().notes, [api.door], fail, never)
  await expect(noting).rejects.toThrow('no such button')
  const { length } = api.shown
  await new Promise((resolve) => setImmediate(resolve))
  expect(api.shown).toHaveLength(length)
})

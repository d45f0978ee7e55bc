import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readEvents, type ServerSentEvent } from './server-sent-events.ts'

async function read(...chunks: readonly (string | Uint8Array)[]): Promise<ServerSentEvent[]> {
  const events: ServerSentEvent[] = []
  for await (const event of readEvents(send(chunks))) events.push(event)
  return events
}

async function* send(chunks: readonly (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk
}

describe('server-sent events', () => {
  test('are read with their name, data and id', async () => {
    expect(
      await read('retry: 1000\n\nevent: set\nid: f:1\ndata: a\n\ndata: b\ndata:c\n\n'),
    ).toEqual([
      { event: 'set', id: 'f:1', data: 'a' },
      { event: 'message', id: 'f:1', data: 'b\nc' },
    ])
  })

  test('are none where there is no data, only a comment, or no end', async () => {
    expect(await read(': hello\n\nevent: beat\n\nevent: set\ndata: a\n')).toEqual([])
    expect(await read('event: set\ndata: a')).toEqual([])
    expect(await read('<!doctype html>\n<html>\n\n</html>\n\n')).toEqual([])
  })

  test('are the same with whatever ends a line, however they are cut', async () => {
    const text = 'event: a\ndata: ü\n\ndata: 2\n\n'
    const expected = await read(text)
    expect(expected).toHaveLength(2)
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('\n', '\r\n', '\r'),
        fc.array(fc.nat(40), { maxLength: 8 }),
        async (end, cuts) => {
          const bytes = Buffer.from(text.replaceAll('\n', end))
          const places = [...new Set([0, ...cuts, bytes.length])].toSorted((a, b) => a - b)
          const chunks = places.map((from, index) => bytes.subarray(from, places[index + 1]))
          expect(await read(...chunks)).toEqual(expected)
        },
      ),
    )
  })

  test.each([
    ['a line without an end', ['data: ', ...Array.from({ length: 20 }, () => 'x'.repeat(1000))]],
    ['a line that is too long', [`data: ${'x'.repeat(17_000)}\n`]],
    ['lines without an end', Array.from({ length: 20 }, () => `data: ${'x'.repeat(1000)}\n`)],
    ['empty lines of data without an end', ['data\n'.repeat(20_000)]],
    ['what is not UTF-8', [Buffer.from('data: \u00FF\n\n', 'latin1')]],
  ])('are refused with %s', async (_case, chunks) => {
    await expect(read(...chunks)).rejects.toMatchObject({ code: 'bad_answer' })
  })
})

import { IssuerError } from './errors.ts'

/** One event of a stream, as its sender wrote it: nothing of it is signed by that. */
export interface ServerSentEvent {
  readonly event: string
  readonly data: string
  readonly id: string
}

/** What is signed has a twentieth of that. */
const MAX_LINE_CHARACTERS = 16_384

/**
 * Reads Server-Sent Events, as many as come. What a stream that breaks off has begun is left out. Throws
 * an `IssuerError` for what is no text in UTF-8, for a line and for the data of an event of more than
 * 16,384 characters. Does not know `retry`.
 *
 * @see {@link https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream}
 */
export async function* readEvents(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<ServerSentEvent, void, void> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const lines = createLineSplitter()
  const fields = createFields()
  for await (const chunk of chunks) {
    for (const line of lines.split(decode(decoder, chunk))) {
      const event = fields.take(line)
      if (event !== undefined) yield event
    }
  }
}

function decode(decoder: InstanceType<typeof TextDecoder>, chunk: Uint8Array): string {
  try {
    return decoder.decode(chunk, { stream: true })
  } catch (cause) {
    throw new IssuerError('bad_answer', 'the stream is no text in UTF-8', { cause })
  }
}

/** A line ends with CR, LF or both of them, which may come in two pieces. */
function createLineSplitter() {
  let rest = ''
  let endedWithCr = false
  return {
    split(text: string): readonly string[] {
      const isSecondHalf = endedWithCr && text.startsWith('\n')
      if (text !== '') endedWithCr = text.endsWith('\r')
      const lines = (rest + (isSecondHalf ? text.slice(1) : text)).split(/\r\n|\n|\r/)
      rest = lines.pop() ?? ''
      if ([...lines, rest].some((line) => line.length > MAX_LINE_CHARACTERS)) throw tooLong()
      return lines
    },
  }
}

function createFields() {
  let event = ''
  let id = ''
  let data: string[] = []
  let length = 0
  return {
    /** The event that ends with this line, if one does. */
    take(line: string): ServerSentEvent | undefined {
      if (line === '') {
        const ended = { event: event || 'message', data: data.join('\n'), id }
        const isOne = data.length > 0
        event = ''
        data = []
        length = 0
        return isOne ? ended : undefined
      }
      const [, name = '', value = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? []
      if (name === 'event') event = value
      else if (name === 'id') id = value
      else if (name === 'data') {
        length += value.length + 1
        if (length > MAX_LINE_CHARACTERS) throw tooLong()
        data.push(value)
      }
      return undefined
    },
  }
}

function tooLong(): IssuerError {
  return new IssuerError(
    'bad_answer',
    `the stream has more than ${MAX_LINE_CHARACTERS} characters in an event`,
  )
}

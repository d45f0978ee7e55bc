import type { WriteStream } from 'node:tty'
import { styleText } from 'node:util'

export type Output = NodeJS.WritableStream & Partial<Pick<WriteStream, 'columns'>>

type Paint = (text: string) => string

export interface Style {
  readonly title: Paint
  readonly quiet: Paint
  readonly good: Paint
  readonly bad: Paint
  readonly secret: Paint
  readonly sent: Paint
  readonly received: Paint
}

/** Colours only where the stream is a terminal that shows them, and NO_COLOR does not forbid it. */
export function createStyle(stream: Output): Style {
  const paint = (format: Parameters<typeof styleText>[0]) => (text: string) =>
    styleText(format, text, { stream })
  return {
    title: paint('bold'),
    quiet: paint('dim'),
    good: paint('green'),
    bad: paint(['bold', 'red']),
    secret: paint(['bold', 'yellow']),
    sent: paint('cyan'),
    received: paint('magenta'),
  }
}

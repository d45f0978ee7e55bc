import type { Reporter, RunReport } from './report.ts'

/** What a program reads: a JSON document a line. What a person has to do goes to `notices`. */
export function createJsonReporter(
  output: NodeJS.WritableStream,
  notices: NodeJS.WritableStream,
): Reporter {
  const print = (report: RunReport) => void output.write(`${JSON.stringify(report)}\n`)
  return {
    prepare: () => {},
    start: print,
    step: print,
    end: print,
    summary: print,
    ask: (text, url) => void notices.write(`${text} ${url}\n`),
  }
}

/**
 * Fills what stands between the markers of README.md, docs/transcript.md and resource-server/README.md.
 * With `--check` it writes nothing and exits 1 if one of them differs.
 *
 *     <!-- file examples/your-own-api.ts -->
 *     <!-- /file -->
 *
 * takes that file.
 *
 *     <!-- transcript 1 4-6 20 -->
 *     <!-- /transcript -->
 *
 * takes what the demonstration shows: those steps, and a line for what is left out, or without numbers
 * all of it. What differs from run to run (ports, identifiers, tokens, times) is masked.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'

const ROOT = path.join(import.meta.dirname, '..')
/** What shows the transcript. */
export const FILES: readonly string[] = ['README.md', 'docs/transcript.md'].map((file) =>
  path.join(ROOT, file),
)
/** What shows examples: the toolkit's is published without them, so that a link would lead nowhere. */
export const EXAMPLE_FILES: readonly string[] = ['README.md', 'resource-server/README.md'].map(
  (file) => path.join(ROOT, file),
)
const TIMEOUT_MS = 120_000
const FILE_MARKERS = /(<!-- file (\S+) -->\n)[\s\S]*?(<!-- \/file -->)/g
const MARKERS = /(<!-- transcript((?: \d+(?:-\d+)?)*) -->\n)[\s\S]*?(<!-- \/transcript -->)/g
/** The line above each step, and above the table at the end. */
const RULE = /^(?=─+$)/m
/** 15 January 2027, 08:00:00 UTC. */
const MASKED_NOW = 1_800_000_000
const MASKED_DATE = '2027-01-15T08:00:00.000Z'
const DAY_SECONDS = 86_400
const ROUNDING_SECONDS = 300

/** What the demonstration shows, masked. Throws if it fails. */
export async function recordTranscript(): Promise<string> {
  const args = [path.join(ROOT, 'client-demo/cli.ts'), 'run']
  const run = promisify(execFile)
  const { stdout } = await run(process.execPath, args, { env: {}, timeout: TIMEOUT_MS })
  return maskTranscript(stdout)
}

/** Replaces what differs from run to run by what does not: the same by the same, of one length. */
export function maskTranscript(text: string): string {
  const maskPort = createMask((index) => String(40_001 + index))
  const maskIdentifier = createMask((index) =>
    createHash('sha256').update(`transcript ${index}`).digest('base64url'),
  )
  const start = Number(/^ +iat +(\d{10})\b/m.exec(text)?.[1] ?? MASKED_NOW)
  return text
    .replaceAll(/(?<=127\.0\.0\.1:)\d{5}\b/g, maskPort)
    .replaceAll(
      /(?<![\w-])(acc_|eyJ[\w-]{9}|)([\w-]*)…/g,
      (_whole, known, shown) =>
        `${known}${shown === '' ? '' : maskIdentifier(shown).slice(0, shown.length)}…`,
    )
    .replaceAll(/\b1\d{9}\b/g, (time) => String(MASKED_NOW + roundSince(start, Number(time))))
    .replaceAll(/\b(\d\d):(\d\d):(\d\d)(?= UTC)/g, (_whole, hours, minutes, seconds) => {
      const time = Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)
      return formatTime(MASKED_NOW + roundSince(start % DAY_SECONDS, time))
    })
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, MASKED_DATE)
    .replaceAll(/ +\d+ ms$/gm, '')
    .replaceAll(/, \d+\.\d s\.$/gm, '.')
}

/** Fills the places between the markers of a text. Throws if there are none. */
export function fillMarkers(text: string, transcript: string): string {
  if (text.search(MARKERS) === -1) {
    throw new TypeError('there is no <!-- transcript --> with a <!-- /transcript --> after it')
  }
  return text.replaceAll(
    MARKERS,
    (_whole, start: string, steps: string, end: string) =>
      `${start}\n\`\`\`text\n${pickSteps(transcript, steps)}\n\`\`\`\n\n${end}`,
  )
}

/** Fills the places for files of the repository. */
export function fillFiles(text: string): string {
  return text.replaceAll(FILE_MARKERS, (_whole, start: string, file: string, end: string) => {
    const content = readFileSync(path.join(ROOT, file), 'utf8').trim()
    return `${start}\n\`\`\`${path.extname(file).slice(1)}\n${content}\n\`\`\`\n\n${end}`
  })
}

/** The steps that a marker lists, or all of them; the beginning and the table are always there. */
function pickSteps(transcript: string, list: string): string {
  const [beginning = '', ...blocks] = transcript.trim().split(RULE)
  const wanted = list.split(' ').filter(Boolean).map(readRange)
  const shown = [...blocks.entries()].map(([index, block]) => {
    const isStep = index < blocks.length - 1 && wanted.length > 0
    return isStep && !wanted.some(([from, to]) => from <= index + 1 && index + 1 <= to) ? '' : block
  })
  // One line stands for any number of steps that are left out.
  const leftOut = shown.map((block, index) =>
    block === '' && shown[index - 1] !== '' ? `${blocks[index]?.split('\n')[0]}\n […]\n\n` : block,
  )
  return [beginning, ...leftOut].join('').trim()
}

function readRange(text: string): readonly [from: number, to: number] {
  const [from = '', to = from] = text.split('-')
  return [Number(from), Number(to)]
}

function createMask(make: (index: number) => string): (value: string) => string {
  const masks = new Map<string, string>()
  return (value) => {
    const mask = masks.get(value) ?? make(masks.size)
    masks.set(value, mask)
    return mask
  }
}

/** Times that are one but for the moments between two requests become one. */
function roundSince(start: number, time: number): number {
  return Math.round((time - start) / ROUNDING_SECONDS) * ROUNDING_SECONDS
}

function formatTime(seconds: number): string {
  const format = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium', timeZone: 'UTC' })
  return format.format(seconds * 1000)
}

async function main(argv: readonly string[]): Promise<void> {
  const transcript = await recordTranscript()
  for (const file of new Set([...FILES, ...EXAMPLE_FILES])) {
    const text = readFileSync(file, 'utf8')
    const filled = fillFiles(FILES.includes(file) ? fillMarkers(text, transcript) : text)
    if (!argv.includes('--check')) writeFileSync(file, filled)
    else if (filled !== text) {
      console.error(`${path.relative(ROOT, file)} is stale: run node tools/write-readme.ts`)
      process.exitCode = 1
    }
  }
}

if (import.meta.main) await main(process.argv.slice(2))

import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { judgePassword } from '../config/secrets.ts'
import { PortreeveError } from '../errors.ts'
import type { World } from './world.ts'

/** Four bytes for each character of the longest secret, and a line break. */
const LONGEST_INPUT = 16_386
const LONGEST_SETTINGS = 100_000
const CANCELLED = 'Cancelled: nothing was changed.'

/** A mistake in how the program was called: exit code 2. Never returns. */
export function refuseUsage(command: Command, message: string): never {
  return command.error(`error: ${message}`, { exitCode: 2, code: 'usage' })
}

/** Refuses to read from a terminal what it would show. */
export function requirePipe({ stdin }: World, command: Command, option: string): void {
  if (!stdin.isTTY) return
  refuseUsage(command, `${option} reads from a pipe or a file, not from a terminal`)
}

/** Refuses to ask where nobody could answer. */
export function requireTerminal({ stdin, stderr }: World, command: Command, message: string): void {
  if (stdin.isTTY && stderr.isTTY) return
  refuseUsage(command, message)
}

/** What a JSON file holds, as an object. Throws `invalid_input` for anything else, and says what. */
export async function readSettings(file: string): Promise<Record<string, unknown>> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new PortreeveError('invalid_input', `${file} cannot be read: ${cause.code}.`, { cause })
  })
  if (text.length > LONGEST_SETTINGS) {
    throw new PortreeveError(
      'invalid_input',
      `${file} is longer than ${LONGEST_SETTINGS} characters.`,
    )
  }
  const value = parseJson(text)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>
  }
  throw new PortreeveError('invalid_input', `${file} holds no JSON object.`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The secret on standard input; one line break at its end is not part of it. */
export async function readSecretFromStdin({ stdin }: World, option: string): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of stdin as AsyncIterable<Buffer | string>) {
    const bytes = Buffer.from(chunk)
    length += bytes.length
    if (length > LONGEST_INPUT) {
      throw new PortreeveError('invalid_input', `What ${option} reads is too long.`)
    }
    chunks.push(bytes)
  }
  const text = decode(Buffer.concat(chunks), option).replace(/\r?\n$/, '')
  if (text !== '') return text
  throw new PortreeveError('invalid_input', `There is nothing to read for ${option}.`)
}

function decode(bytes: Buffer, option: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new PortreeveError('invalid_input', `What ${option} reads is not UTF-8.`, { cause })
  }
}

/** Asks for a yes on the terminal. Throws `invalid_input` for anything else. */
export async function askWhether({ stdin, stdout, stderr }: World, message: string): Promise<void> {
  const { confirm } = await import('@clack/prompts')
  const output = stdout.isTTY ? stdout : stderr
  const options = { message, initialValue: false, input: stdin, output, withGuide: false }
  if ((await confirm(options)) === true) return
  throw new PortreeveError('invalid_input', CANCELLED)
}

/** Asks twice for a new password on the terminal, which shows dots. */
export async function askForPassword(
  { stdin, stdout, stderr }: World,
  username: string,
): Promise<string> {
  const { isCancel, password } = await import('@clack/prompts')
  // Standard output may be a file that takes the answer.
  const output = stdout.isTTY ? stdout : stderr
  const ask = async (
    message: string,
    validate: (text: string | undefined) => string | undefined,
  ) => {
    const answer = await password({ message, validate, input: stdin, output, withGuide: false })
    if (isCancel(answer)) {
      throw new PortreeveError('invalid_input', CANCELLED)
    }
    return answer
  }
  const first = await ask(`New password of ${username} (at least 8 characters)`, (text = '') =>
    judgePassword(text),
  )
  await ask('The same again', (text) =>
    text === first ? undefined : 'That is not the same password.',
  )
  return first
}

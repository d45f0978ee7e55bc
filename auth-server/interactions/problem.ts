import type { SignInRefusal } from '../accounts/sign-in.ts'
import { assertNever } from '../errors.ts'
import type { DeviceCodeFault } from '../provider/interaction.ts'

/** Why a form did nothing: the status, the words, and the fields that it is about. */
export interface Problem {
  readonly status: number
  readonly text: string
  readonly fields: readonly ('username' | 'password' | 'name' | 'scopes' | 'expires')[]
}

export const NOT_FROM_HERE: Problem = {
  status: 403,
  text: 'That form was out of date or came from another page, so nothing was done. Please try again.',
  fields: [],
}

export const NO_USERNAME: Problem = {
  status: 422,
  text: 'Enter your username.',
  fields: ['username'],
}

export const NO_PASSWORD: Problem = {
  status: 422,
  text: 'Enter your password.',
  fields: ['password'],
}

/** Says nothing about whether the username exists. */
export function describeRefusal(reason: SignInRefusal): Problem {
  switch (reason.kind) {
    case 'credentials':
      return {
        status: 422,
        text: 'The username or the password is not right. Please try again.',
        fields: ['username', 'password'],
      }
    case 'throttled':
      return {
        status: 429,
        text: describeThrottle(reason.retryAfterSeconds),
        fields: [],
      }
    case 'busy':
      return {
        status: 503,
        text: 'The server is busy. Please try again in a moment.',
        fields: [],
      }
    default:
      return assertNever(reason)
  }
}

/** The same for the code of a device. */
export function describeCodeFault(fault: DeviceCodeFault): string {
  switch (fault.kind) {
    case 'missing':
      return 'Enter the code that your device shows.'
    case 'unknown':
      return 'No device shows that code. Please compare it letter by letter.'
    case 'expired':
      return 'That code is too old. Start again on your device, and enter the new one.'
    case 'used':
      return 'That code was used already. Start again on your device, and enter the new one.'
    case 'form':
      return NOT_FROM_HERE.text
    case 'throttled':
      return describeThrottle(fault.retryAfterSeconds)
    default:
      return assertNever(fault)
  }
}

function describeThrottle(seconds: number): string {
  return `There were too many attempts. Try again in ${describeWait(seconds)}.`
}

/** Rounded up, so that nobody comes back too early. */
export function describeWait(seconds: number): string {
  if (seconds < 60) return countOf(seconds, 'second')
  const minutes = Math.ceil(seconds / 60)
  return minutes < 60 ? countOf(minutes, 'minute') : countOf(Math.ceil(minutes / 60), 'hour')
}

function countOf(count: number, unit: string): string {
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}

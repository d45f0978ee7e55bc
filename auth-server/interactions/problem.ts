import type { SignInRefusal } from '../accounts/sign-in.ts'
import { assertNever } from '../errors.ts'

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
        text: `There were too many attempts. Try again in ${describeWait(reason.retryAfterSeconds)}.`,
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

/** Rounded up, so that nobody comes back too early. */
export function describeWait(seconds: number): string {
  if (seconds < 60) return countOf(seconds, 'second')
  const minutes = Math.ceil(seconds / 60)
  return minutes < 60 ? countOf(minutes, 'minute') : countOf(Math.ceil(minutes / 60), 'hour')
}

function countOf(count: number, unit: string): string {
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}

import { readEnvironment } from '../../../auth-server/config/load.ts'
import { findEngine, type EngineName } from './find.ts'

/** CI sets this: there, a suite whose engine is missing runs all the same, and fails. */
const ARE_REQUIRED = readEnvironment()['PORTREEVE_ENGINES'] === 'required'

/** For `describe.skipIf(isMissing)(name + note, …)`: a skip that says which engine it lacks. */
export function needEngines(...names: readonly EngineName[]): {
  readonly isMissing: boolean
  readonly note: string
} {
  const missing = names.map(findEngine).filter((found) => typeof found === 'string')
  return {
    isMissing: missing.length > 0 && !ARE_REQUIRED,
    note: missing.map((why) => ` [${why}]`).join(''),
  }
}

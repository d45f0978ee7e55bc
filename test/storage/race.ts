/** What two processes race for, and what each of them tells of it. */
export const CREDENTIALS = [
  'AuthorizationCode',
  'RefreshToken',
  'PushedAuthorizationRequest',
  'DeviceCode',
] as const
export const ROUNDS = 5
/** By each process; fifty in all. */
export const PER_ROUND = 25

export interface RaceResult {
  /** What this process won, each as often as it won it. */
  readonly consumed: readonly string[]
  readonly inserted: readonly string[]
}

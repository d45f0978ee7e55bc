/**
 * A username as it is stored and compared: upper and lower case are the same, and so are the several
 * ways to write one letter.
 */
export function normalizeUsername(username: string): string {
  return username.trim().normalize('NFKC').toLowerCase()
}

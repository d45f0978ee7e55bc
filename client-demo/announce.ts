import { PEOPLE } from './configuration.ts'
import { chooseWidth, formatPairs, pad, wrap } from './layout.ts'
import type { Running } from './start.ts'
import { createStyle, type Output } from './style.ts'

/** Says to a person what runs, who can sign in, and what to try. */
export function announceToPerson(
  output: Output,
  { issuer, api, web, vault }: Running,
  columns = output.columns,
): void {
  const width = chooseWidth(columns)
  const style = createStyle(output)
  const places = [
    ['web demo', web],
    ['notes API', `${api}/notes`],
    ['authorization server', issuer],
    ['your account there', `${issuer}/account`],
  ] as const
  const people = PEOPLE.map(({ username, secret, may }) => {
    const password = style.secret(vault.secrets[secret])
    return `  ${pad(username, 8)}${pad(password, 18)}${style.quiet(may)}`
  })
  const lines = [
    style.title('Portreeve runs'),
    '',
    ...formatPairs(places, '  ', width, style.quiet),
    '',
    style.title('Who can sign in, and with which password'),
    '',
    ...people,
    '',
    ...wrap(
      `Open ${style.title(web)} and sign in. Databases, logs and these passwords are kept in ` +
        `${vault.folder}: remove that folder to begin anew.`,
      width,
    ),
    '',
    'Stop it with Ctrl+C.',
  ]
  output.write(`${lines.join('\n')}\n`)
}

/** One JSON line; the passwords stay in their file, because what programs write ends in logs. */
export function announceToProgram(output: Output, running: Running): void {
  const { issuer, api, web, vault, processes } = running
  const { folder, secretsFile } = vault
  const report = { issuer, api, web, folder, secretsFile, processes }
  output.write(`${JSON.stringify(report)}\n`)
}

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { makeSecrets, type Secrets } from './configuration.ts'

/** Where `start` keeps what outlives it: databases, keys, passwords, logs. */
export interface Vault {
  readonly folder: string
  readonly secrets: Secrets
  readonly secretsFile: string
  /** The secret of the web demo, alone. */
  readonly webSecretFile: string
  file(name: string): string
}

/** Makes the folder and the secrets at the first start; only their owner can read them. */
export async function openVault(folder: string): Promise<Vault> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const file = (name: string) => path.join(folder, name)
  const secretsFile = file('secrets.json')
  const kept = await readSecrets(secretsFile)
  const secrets = { ...makeSecrets(), ...kept }
  const text = `${JSON.stringify(secrets, undefined, 2)}\n`
  await writeFile(secretsFile, text, { mode: 0o600 })
  const webSecretFile = file('web-secret')
  await writeFile(webSecretFile, secrets.WEB_SECRET, { mode: 0o600 })
  return { folder, secrets, secretsFile, webSecretFile, file }
}

async function readSecrets(file: string): Promise<Partial<Secrets>> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Partial<Secrets>
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return {}
    const advice = 'mend it, or remove it to have new passwords made'
    throw new Error(`${file} cannot be read: ${advice}`, { cause })
  }
}

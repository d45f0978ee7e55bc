import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeFolder } from '../support/folder.ts'
import { runProgram, writeConfig } from '../support/process.ts'
import type { ProgramEnd } from '../support/program.ts'

/** The program in a folder with a configuration of its own. */
function makeCli() {
  const folder = makeFolder()
  writeConfig(folder.path)
  return {
    folder: folder.path,
    run: (args: string, input?: string): Promise<ProgramEnd> =>
      runProgram(args.split(' ').filter(Boolean), { folder: folder.path, input }),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  }
}

function readJson(text: string): Record<string, unknown> {
  return JSON.parse(text) as Record<string, unknown>
}

/** Everything in the folder that a command may have written, as text. */
function readAll(folder: string): string {
  return readdirSync(folder)
    .map((name) => readFileSync(path.join(folder, name), 'latin1'))
    .join('')
}

/** Refused commands change nothing: they can share a folder. */
const shared = makeCli()
beforeAll(() => shared.run('users add other --no-password'))
afterAll(() => shared[Symbol.dispose]())

async function refuse(args: string): Promise<unknown> {
  const { code, stdout, stderr } = await shared.run(`${args} --json`)
  return { code, stdout, ...readJson(stderr) }
}

function refusal(code: number, kind: string, message: string): unknown {
  const error = expect.objectContaining({ code: kind, message: expect.stringContaining(message) })
  return { code, stdout: '', error }
}

/** Every command is a process, and several of them run at once. */
const PATIENCE = { timeout: 120_000 }

describe.concurrent('portreeve users', PATIENCE, () => {
  test('adds, changes, disables and removes a user, in JSON', async () => {
    using cli = makeCli()
    const steps: readonly (readonly [args: string, expected: object, input?: string])[] = [
      [
        'users add Ann --role editor --group staff --email ann@example.com --email-verified --password-stdin',
        {
          user: {
            username: 'ann',
            roles: ['editor'],
            groups: ['staff'],
            profile: { email: 'ann@example.com', emailVerified: true },
            hasPassword: true,
            disabled: false,
            owner: 'operator',
          },
        },
        'a long password\n',
      ],
      ['users show ann', { user: { username: 'ann', roles: ['editor'] } }],
      ['users set-roles ann reader', { user: { roles: ['reader'] } }],
      ['users set-roles ann --none', { user: { roles: [] } }],
      ['users set-password ann --password-stdin', { user: { hasPassword: true } }, 'another one'],
      ['users disable ann', { user: { disabled: true } }],
      ['users enable ann', { user: { disabled: false } }],
      ['users list', { users: [{ username: 'ann' }] }],
      ['users remove ann', { removed: { username: 'ann' } }],
      ['users list', { users: [] }],
    ]
    for (const [args, expected, input] of steps) {
      const { code, stdout, stderr } = await cli.run(`${args} --json`, input)
      expect([args, code, stderr]).toEqual([args, 0, ''])
      expect(readJson(stdout)).toMatchObject(expected)
    }
  })

  test('answers in words that a person can read', async () => {
    using cli = makeCli()
    const added = await cli.run('users add ann --role editor --password-stdin', 'a long password')
    expect(added.stdout).toMatch(
      /^Added the user ann\.\n\n {2}username {2}ann\n {2}id {8}acc_\S+\n {2}state {5}active\n {2}password {2}set\n {2}roles {5}editor\n/,
    )
    const listed = await cli.run('users list')
    expect(listed.stdout).toMatch(
      /^USERNAME {2}ROLES {3}STATE {3}OWNER {5}ID\nann {7}editor {2}active {2}operator {2}acc_\S+\n$/,
    )
    const removed = await cli.run('users remove ann')
    expect(removed.stdout).toBe('Removed the user ann.\n')
    expect((await cli.run('users list')).stdout).toBe(
      'No users. Add one: npx portreeve users add NAME\n',
    )
  })

  test.each([
    ['show nobody', 1, 'not_found', 'There is no user "nobody".'],
    ['add ann --no-password --role king', 1, 'invalid_input', 'roles[0]: PR402'],
    ['add alice --no-password', 1, 'read_only', 'The user alice is declared in '],
    ['add ann --password-stdin', 1, 'invalid_input', 'There is nothing to read'],
    ['add', 2, 'usage', "missing required argument 'username'"],
    ['add ann', 2, 'usage', 'there is no terminal to ask for a password on'],
    ['add ann --no-password --password-stdin', 2, 'usage', 'cannot be used with'],
    ['set-roles ann', 2, 'usage', 'name the roles'],
    ['set-roles ann reader --none', 2, 'usage', 'name the roles'],
    ['show ann --nope', 2, 'usage', "unknown option '--nope'"],
    ['frobnicate', 2, 'usage', "unknown command 'frobnicate'"],
  ])('refuses "%s" with exit code %i', async (args, code, kind, message) => {
    expect(await refuse(`users ${args}`)).toEqual(refusal(code, kind, message))
  })

  test('says to a person what is wrong, and where to read on', async () => {
    const wrong = await shared.run('users show ann --nope')
    expect(wrong.stderr).toBe("error: unknown option '--nope'\nAdd --help to see how it is used.\n")
    const refused = await shared.run('users show nobody')
    expect(refused.stderr).toBe('error: There is no user "nobody".\n')
  })

  test('points at the rules where it names one, and only there', async () => {
    const [ruled, other] = await Promise.all([
      shared.run('users add ann --no-password --role king'),
      shared.run('users add ann --no-password --email x'),
    ])
    expect(ruled.stderr).toMatch(
      /^error: roles\[0\]: PR402: .*\nWhat each rule \(PR…\) is about: docs\/configuration\.md#rules\n$/,
    )
    expect(other.stderr).toMatch(/^error: profile\.email: .*\n$/)
  })

  test('refuses a second user of the same name, whatever its case', async () => {
    using cli = makeCli()
    await cli.run('users add ann --no-password')
    const again = await cli.run('users add ANN --no-password')
    expect([again.code, again.stderr]).toEqual([1, 'error: There is a user ann already.\n'])
  })
})

describe.concurrent('portreeve clients', PATIENCE, () => {
  test('adds, shows, rotates and removes a client, its secret shown once', async () => {
    using cli = makeCli()
    const added = await cli.run(
      'clients add shop --redirect-uri https://shop.example/cb --scope openid --scope notes:read --json',
    )
    const { client, secret } = readJson(added.stdout)
    expect(client).toMatchObject({
      id: 'shop',
      redirectUris: ['https://shop.example/cb'],
      scopes: ['openid', 'notes:read'],
      grants: ['authorization_code', 'refresh_token'],
      authMethod: 'client_secret_basic',
      hasSecret: true,
      owner: 'operator',
    })
    expect(secret).toMatch(/^[\w-]{43}$/)
    const rotated = readJson((await cli.run('clients rotate-secret shop --json')).stdout)
    expect(rotated['secret']).toMatch(/^[\w-]{43}$/)
    expect(rotated['secret']).not.toBe(secret)
    const later = await cli.run('clients show shop --json')
    const listed = await cli.run('clients list')
    const seen = later.stdout + listed.stdout + readAll(cli.folder)
    expect(seen).not.toContain(String(secret))
    expect(seen).not.toContain(String(rotated['secret']))
    expect(readJson((await cli.run('clients remove shop --json')).stdout)).toEqual({
      removed: { id: 'shop' },
    })
    expect(readJson((await cli.run('clients list --json')).stdout)).toEqual({ clients: [] })
  })

  test('says what to do about an id that is taken', async () => {
    using cli = makeCli()
    const add = 'clients add my-app --redirect-uri https://my.example/ --scope openid'
    await cli.run(add)
    const { code, stderr } = await cli.run(add)
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^error: There is a client my-app already\. .*clients remove my-app\)\.\n$/,
    )
  })

  test('takes a secret from standard input, and never shows it', async () => {
    using cli = makeCli()
    const chosen = 'a secret that was chosen by somebody'
    const added = await cli.run(
      'clients add robot --grant client_credentials --scope notes:read --secret-stdin --json',
      `${chosen}\n`,
    )
    expect([added.code, added.stderr]).toEqual([0, ''])
    expect(readJson(added.stdout)).not.toHaveProperty('secret')
    const shown = await cli.run('clients show robot')
    expect(shown.stdout).toContain('client_secret_basic (secret set)')
    expect(added.stdout + shown.stdout + readAll(cli.folder)).not.toContain(chosen)
    expect(readAll(cli.folder)).toContain('$argon2id$')
  })

  test('shows what is encrypted for a client, and refuses keys that do not fit', async () => {
    using cli = makeCli()
    const key = { kty: 'OKP', crv: 'X25519', x: '3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08' }
    const declare = (algorithm: string) => {
      const settings = { jwks: { keys: [key] }, encryption: { idToken: { algorithm } } }
      writeFileSync(path.join(cli.folder, 'sealed.json'), JSON.stringify(settings))
      const uri = '--redirect-uri https://my.example/ --scope openid'
      return cli.run(`clients add sealed ${uri} --settings ${cli.folder}/sealed.json`)
    }
    const refused = await declare('RSA-OAEP-256')
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('RSA with 2048')])
    expect((await declare('ECDH-ES')).code).toBe(0)
    const { stdout } = await cli.run('clients show sealed')
    expect(stdout).toMatch(/encrypted +ID tokens: ECDH-ES, A128CBC-HS256/)
  })

  test('shows a new secret to a person with what to do with it', async () => {
    using cli = makeCli()
    const { stdout } = await cli.run(
      'clients add robot --grant client_credentials --scope notes:read',
    )
    expect(stdout).toMatch(
      /\n {2}secret {2}[\w-]{43}\n\nThe secret is shown this once: only its hash is kept\. Give it to the app now\.\n$/,
    )
  })

  test.each([
    ['show nope', 1, 'not_found', 'There is no client "nope".'],
    ['rotate-secret nope', 1, 'not_found', 'There is no client "nope".'],
    ['remove nope', 1, 'not_found', 'There is no client "nope".'],
    ['add web --redirect-uri https://w.example/', 1, 'read_only', 'The client web is declared in '],
    ['add app', 1, 'invalid_input', 'redirectUris'],
    ['add app --redirect-uri http://app.example/', 1, 'invalid_input', 'PR311'],
    ['add app --redirect-uri https://app.example/ --scope no', 1, 'invalid_input', 'PR316'],
    ['add app --grant implicit', 2, 'usage', 'Allowed choices are authorization_code'],
    ['add app --auth-method client_secret_jwt', 2, 'usage', 'Allowed choices are'],
    ['add', 2, 'usage', "missing required argument 'id'"],
    ['list extra', 2, 'usage', 'too many arguments'],
  ])('refuses "%s" with exit code %i', async (args, code, kind, message) => {
    expect(await refuse(`clients ${args}`)).toEqual(refusal(code, kind, message))
  })

  test('reports everything that is wrong with a client at once', async () => {
    using cli = makeCli()
    const { stderr } = await cli.run(
      'clients add app --redirect-uri http://app.example/ --redirect-uri /relative --scope no --default-resource https://nowhere.example/',
    )
    expect(stderr).toContain('redirectUris[1]')
    const { stderr: rules } = await cli.run(
      'clients add app --redirect-uri http://app.example/ --scope no --default-resource https://nowhere.example/',
    )
    expect(rules).toMatch(/redirectUris\[0\]: PR311.*\n.*scopes\[0\]: PR316/)
    expect(rules).toContain('defaultResource: ')
  })
})

describe.concurrent('portreeve', PATIENCE, () => {
  test('does not make a database in a folder where none is', async () => {
    using cli = makeCli()
    const { code, stderr } = await cli.run('users list')
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^error: There is no database at .*portreeve\.sqlite yet\. Start/),
    ])
    expect(readdirSync(cli.folder)).toEqual(['portreeve.config.json'])
  })

  test.each([
    '--help',
    'users --help',
    'clients add --help',
    'api-keys add --help',
    'api-keys list --help',
    'backup --help',
    'restore --help',
    'export --help',
    'import --help',
    'serve --help',
    'help clients',
  ])('explains itself: %s', async (args) => {
    const { code, stdout, stderr } = await shared.run(args)
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/^Usage: portreeve /)
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
  })

  test.each([[''], ['users'], ['clients'], ['api-keys'], ['keys']])(
    'shows how it is used when called with "%s" alone',
    async (args) => {
      const { code, stdout, stderr } = await shared.run(args)
      expect([code, stdout]).toEqual([2, ''])
      expect(stderr).toMatch(/^Usage: portreeve /)
    },
  )
})

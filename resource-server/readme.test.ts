import { execFile } from 'node:child_process'
import { mkdir, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { readSamples, TOOLKIT_README } from '../test/support/readme.ts'
import { describeRefusal } from './challenge.ts'
import type { Refusal } from './errors.ts'
import {
  createDpopNonces,
  createDpopVerifier,
  createIntrospectionVerifier,
  createMemoryReplayStore,
  createProtect,
  createRedisReplayStore,
  createRevocationFeed,
  createSharedSecretVerifier,
  createVerifier,
  describeProtectedResource,
} from './index.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const readme = await readFile(TOOLKIT_README, 'utf8')

test('each sample of README.md is right by its types', async () => {
  const samples = await readSamples()
  expect(samples.length).toBeGreaterThan(20)
  // Inside of the repository, where the packages are found that the samples import.
  const cache = path.join(ROOT, 'node_modules/.cache')
  await mkdir(cache, { recursive: true })
  await using folder = await mkdtempDisposable(path.join(cache, 'portreeve-readme-'))
  const files = samples.map((_sample, index) => path.join(folder.path, `sample-${index}.mts`))
  for (const [index, file] of files.entries()) await writeFile(file, samples[index]?.file ?? '')
  const config = path.join(folder.path, 'tsconfig.json')
  const extended = { extends: path.join(ROOT, 'tsconfig.json'), files, include: [], exclude: [] }
  await writeFile(config, JSON.stringify(extended))
  const tsc = path.join(ROOT, 'node_modules/.bin/tsc')
  const { stdout } = await promisify(execFile)(tsc, ['-p', config]).catch(
    (error: { stdout: string }) => error,
  )
  expect(stdout).toBe('')
}, 30_000)

test('README.md has every option', async () => {
  await using verifier = createVerifier({ issuer: 'https://login.example', audience: 'x' })
  const protect = createProtect(verifier)
  const wrong = { nonsense: 1 } as never
  const attempts = [
    () => createVerifier(wrong),
    () => createVerifier({ issuer: 'https://login.example', audience: 'x', cache: wrong }),
    () => createVerifier({ issuers: [wrong] }),
    () => createIntrospectionVerifier(wrong),
    () => createSharedSecretVerifier(wrong),
    () => createRevocationFeed(wrong),
    () => createProtect(verifier, wrong),
    () => createProtect(verifier, { sender: wrong }),
    () => protect(wrong),
    () => createDpopVerifier(wrong),
    () => createDpopNonces(wrong),
    () => createMemoryReplayStore(wrong),
    () => createRedisReplayStore({ set: async () => 'OK' }, wrong),
    () => describeProtectedResource(wrong),
  ]
  for (const attempt of attempts) {
    const options = listOptions(attempt)
    expect(options.length).toBeGreaterThan(1)
    expect(options.filter((option) => !readme.includes(`\`${option}\``))).toEqual([])
  }
})

test.each(['README.md', 'resource-server/README.md'])(
  'the commands of %s can be pasted into zsh, too',
  async (file) => {
    const text = await readFile(path.join(ROOT, file), 'utf8')
    const blocks = [...text.matchAll(/^ *```sh\n([\s\S]*?)^ *```$/gm)].map(([, code = '']) => code)
    expect(blocks.length).toBeGreaterThan(3)
    // It knows no comments there, and by -p it means something else.
    const unfit = /(^|\s)#\s|\bread\b[^;\n]* -\w*p/
    expect(blocks.flatMap((code) => code.split('\n')).filter((line) => unfit.test(line))).toEqual(
      [],
    )
  },
)

/** A misspelt option is answered with those that there are. */
function listOptions(attempt: () => unknown): string[] {
  try {
    attempt()
  } catch (error) {
    return (/it has (.*)$/.exec(String(error))?.[1] ?? '').split(', ')
  }
  return []
}

/** What any refusal may say: enough for the answer to each. */
const FACTS = { why: '', needed: ['a'], acrValues: [], nonce: 'n', retryAfterSeconds: 1 }

test('README.md has every reason of a refusal, and what it is answered', async () => {
  const source = await readFile(path.join(import.meta.dirname, 'errors.ts'), 'utf8')
  const kinds = [...source.matchAll(/readonly kind: '(\w+)'/g)].map(([, kind = '']) => kind)
  expect(kinds.length).toBeGreaterThan(15)
  const rows = readme.split('\n').filter((line) => /^\|( `\w+`,?)+ \| \d{3} /.test(line))
  const answers = kinds.map((kind) => {
    const row = rows.find((line) => line.split(' | ')[0]?.includes(`\`${kind}\``))
    return [kind, row?.split(' | ')[1]]
  })
  const expected = kinds.map((kind) => {
    const { status, body } = describeRefusal({ kind, ...FACTS } as unknown as Refusal)
    return [kind, `${status} \`${body.error}\``]
  })
  expect(answers).toEqual(expected)
})

import { execFile } from 'node:child_process'
import { mkdir, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { createProtect, createVerifier } from './index.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const readme = await readFile(path.join(import.meta.dirname, 'README.md'), 'utf8')

test('each sample of README.md is right by its types', async () => {
  const samples = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, sample = '']) => sample)
  expect(samples).toHaveLength(2)
  // Inside of the repository, where the packages are found that the samples import.
  const cache = path.join(ROOT, 'node_modules/.cache')
  await mkdir(cache, { recursive: true })
  await using folder = await mkdtempDisposable(path.join(cache, 'portreeve-readme-'))
  const files = samples.map((_sample, index) => path.join(folder.path, `sample-${index}.mts`))
  for (const [index, file] of files.entries()) await writeFile(file, samples[index] ?? '')
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
  const wrong = { nonsense: 1, issuer: 'https://login.example', audience: 'x', onRefusal() {} }
  const attempts = [
    () => createVerifier(wrong),
    () => createProtect(verifier, wrong),
    () => protect(wrong),
  ]
  const options = attempts.flatMap(listOptions)
  expect(options.length).toBeGreaterThan(8)
  expect(options.filter((option) => !new RegExp(`\\b${option}\\b[\`:]`).test(readme))).toEqual([])
})

/** A misspelt option is answered with those that there are. */
function listOptions(attempt: () => unknown): string[] {
  try {
    attempt()
  } catch (error) {
    return (/it has (.*)$/.exec(String(error))?.[1] ?? '').split(', ')
  }
  return []
}

test('README.md has every reason of a refusal', async () => {
  const source = await readFile(path.join(import.meta.dirname, 'errors.ts'), 'utf8')
  const kinds = [...source.matchAll(/readonly kind: '(\w+)'/g)].map(([, kind = '']) => kind)
  expect(kinds.length).toBeGreaterThan(15)
  expect(kinds.filter((kind) => !readme.includes(`\`${kind}\``))).toEqual([])
})

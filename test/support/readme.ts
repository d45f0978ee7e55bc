import { readFile } from 'node:fs/promises'
import path from 'node:path'

const ROOT = path.resolve(import.meta.dirname, '../..')
export const TOOLKIT_README: string = path.join(ROOT, 'resource-server/README.md')

/** Code that a reader is told to write. */
export interface Sample {
  /** The heading above it. */
  readonly section: string
  /** Of a whole file, which its first line names; `undefined`: lines for the end of `api.mjs`. */
  readonly name: string | undefined
  /** A whole file, whichever it is. */
  readonly file: string
}

/** The samples of the toolkit's README.md, but for the files of `examples/`, which are code themselves. */
export async function readSamples(): Promise<readonly Sample[]> {
  const readme = await readFile(TOOLKIT_README, 'utf8')
  const text = readme.replaceAll(/<!-- file [\s\S]*?<!-- \/file -->/g, '')
  const found = [...text.matchAll(/^( *)```ts\n([\s\S]*?)^\1```$/gm)].map((match) => {
    const [, indent = '', code = ''] = match
    const sample = code.replaceAll(new RegExp(`^${indent}`, 'gm'), '')
    const headings = text.slice(0, match.index).matchAll(/^#+ (.*)$/gm)
    const section = [...headings].at(-1)?.[1] ?? ''
    return { section, name: /^\/\/ ([\w-]+\.mjs)\b/.exec(sample)?.[1], sample }
  })
  const api = found.find(({ name }) => name === 'api.mjs')?.sample ?? ''
  return found.map(({ section, name, sample }) => ({
    section,
    name,
    file: name === undefined ? `${api}\n${sample}` : sample,
  }))
}

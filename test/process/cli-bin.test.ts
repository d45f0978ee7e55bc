import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const BIN = path.resolve(import.meta.dirname, '../../auth-server/bin.js')
const MANIFEST = path.resolve(import.meta.dirname, '../../auth-server/package.json')

/** Runs it by a Node that takes itself for another version. */
async function runAs(version: string) {
  const versions = `{ ...process.versions, node: '${version}' }`
  const pretend = `Object.defineProperty(process, 'versions', { value: ${versions} })`
  const args = ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`, BIN, '--version']
  return promisify(execFile)(process.execPath, args, { env: {} }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  )
}

test('the package is run by what any Node can read', () => {
  const { bin } = JSON.parse(readFileSync(MANIFEST, 'utf8')) as { bin: unknown }
  expect(bin).toEqual({ portreeve: './bin.js' })
})

test.each(['20.20.2', '22.99.0', '24.11.1'])(
  'Node %s is told in one line what it takes',
  async (version) => {
    const { code, stdout, stderr } = await runAs(version)
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(
      /^error: Portreeve needs Node 24\.12 or later, and this is [\d.]+\. .*npx portreeve.*\n$/,
    )
    expect(stderr).toContain(`this is ${version}.`)
  },
)

test.each(['24.12.0', '24.100.0', '26.0.0'])('Node %s runs it', async (version) => {
  const { code, stdout, stderr } = await runAs(version)
  expect([code, stdout, stderr]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/), ''])
})

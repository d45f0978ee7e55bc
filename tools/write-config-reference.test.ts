import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { loadConfig } from '../auth-server/config/load.ts'
import { RULES } from '../auth-server/config/rules.ts'
import { describeShape, type ShapeNode } from '../auth-server/config/shape.ts'
import { exampleConfig, writeReference } from './write-config-reference.ts'

test('docs/configuration.md is fresh', async () => {
  const file = path.join(import.meta.dirname, '..', 'docs', 'configuration.md')
  expect(await readFile(file, 'utf8')).toBe(writeReference())
})

test('says what every setting means, and every rule', () => {
  const silent = listSettings(describeShape(), '').filter(({ node }) => !node.description)
  expect(silent.map(({ name }) => name)).toEqual([])
  const text = writeReference()
  for (const id of Object.keys(RULES)) expect(text).toContain(`| ${id} |`)
})

test('shows an example that loads without a warning', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'portreeve-example-'))
  try {
    // Outside of the workspace there is no package to import from.
    const text = exampleConfig().replace(/^import .*$/m, 'const defineConfig = (it: object) => it')
    await writeFile(path.join(folder, 'portreeve.config.ts'), text)
    const { config, warnings } = await loadConfig({ folder, environment: {} })
    expect(config.clients[0]?.id).toBe('notes-web')
    expect(warnings).toEqual([])
  } finally {
    await rm(folder, { recursive: true })
  }
})

function listSettings(node: ShapeNode, prefix: string): { name: string; node: ShapeNode }[] {
  const { properties = {}, items, additionalProperties } = node
  const inner = typeof additionalProperties === 'object' ? additionalProperties : items
  return [
    ...Object.entries(properties).flatMap(([name, member]) => [
      { name: `${prefix}${name}`, node: member },
      ...listSettings(member, `${prefix}${name}.`),
    ]),
    ...(inner ? listSettings(inner, `${prefix}*.`) : []),
  ]
}

/**
 * Writes docs/configuration.md from the configuration's schema and rules. With `--check` it writes
 * nothing and exits 1 if the file differs.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { RULES, type RuleId } from '../auth-server/config/rules.ts'
import { describeShape, describeType, type ShapeNode } from '../auth-server/config/shape.ts'

const FILE = path.join(import.meta.dirname, '..', 'docs', 'configuration.md')

const EXAMPLE = `import { defineConfig } from 'portreeve'

export default defineConfig({
  issuer: 'https://id.example.org',
  trustedProxies: ['127.0.0.1'],
  resources: [
    {
      identifier: 'https://notes.example.org/',
      name: 'Notes',
      scopes: {
        'notes:read': { description: 'Read your notes' },
        'notes:write': { description: 'Change your notes' },
      },
    },
  ],
  roles: { editor: { scopes: ['notes:read', 'notes:write'] } },
  clients: [
    {
      id: 'notes-web',
      name: 'Notes on the web',
      secret: { env: 'NOTES_WEB_SECRET' },
      redirectUris: ['https://notes.example.org/callback'],
      scopes: ['openid', 'notes:read', 'notes:write'],
    },
  ],
  users: [{ username: 'ann', password: { file: 'secrets/ann' }, roles: ['editor'] }],
})`

const INTRODUCTION = `# Configuration

Written by \`tools/write-config-reference.ts\` from the schema and the rules: change those, not this file, or your change is lost.

\`portreeve\` reads the file that \`--config FILE\` names, otherwise \`portreeve.config.ts\`, \`.js\` or \`.json\` in the working directory. Without a file the defaults hold. A \`.ts\` or \`.js\` file exports its configuration as the default, or as \`config\`; \`defineConfig\` gives an editor what it needs to complete and check it.

\`\`\`ts
${EXAMPLE}
\`\`\`

The environment stands above the file, and the file above the defaults:

| variable | sets |
|---|---|
| \`PORT\` | \`listen.port\`. Where neither \`ISSUER\` nor the file names an issuer, the issuer follows it. |
| \`ISSUER\` | \`issuer\` |
| \`DATABASE_URL\` | \`database.url\`, a relative path being one from the working directory |
| \`REDIS_URL\` | \`redis.url\` |
| \`NO_COLOR\` | anything: the command line writes no colours |

An empty variable counts as not set. Relative paths in the file start from the folder that the file is in.

**Secrets** never stand in the configuration. A secret is \`{ env: 'NAME' }\`, a variable, or \`{ file: 'path' }\`, a file of which one line break at the end is dropped. It is read when the server starts. A password has 8 to 256 characters; a client secret has 16 to 256, printable ASCII.

**What the file declares** (clients and users) is brought into the database at every start, and can only be changed in the file. What disappears from the file is disabled, not deleted. If an operator has made a client or user of the same name by the command line, the server does not start, and says so.

**Every mistake** is reported at once, with its path, what was expected and what came. Rules that read more than one value have ids that stay the same: see [Rules](#rules).`

const REQUIRED =
  'What is `required` has to be there where the member around it is: without `redis`, no `redis.url`.'

/** The whole text of docs/configuration.md. */
export function writeReference(): string {
  const sections = [INTRODUCTION, '## Settings', REQUIRED, ...describeSections(describeShape())]
  return `${[...sections, '## Rules', describeRules()].join('\n\n')}\n`
}

/** The example of the introduction, as a file that can be loaded. */
export function exampleConfig(): string {
  return EXAMPLE
}

interface Row {
  readonly setting: string
  readonly node: ShapeNode
  readonly required: boolean
}

function describeSections(root: ShapeNode): string[] {
  const rows = listMembers(root, '')
  const plain = rows.filter(({ node }) => entryOf(node) === undefined)
  const lists = rows.filter(({ node }) => entryOf(node) !== undefined)
  return [
    formatTable(plain.flatMap(flatten)),
    ...lists.map(({ setting, node }) => {
      const { label, shape } = entryOf(node) as Entry
      const members = listMembers(shape, '').flatMap(flatten)
      return [
        `### \`${setting}\``,
        `${node.description} ${label}; \`${JSON.stringify(node.default)}\` where absent. Each entry has:`,
        formatTable(members),
      ].join('\n\n')
    }),
  ]
}

interface Entry {
  readonly label: string
  readonly shape: ShapeNode
}

/** What each entry is, of a list or a record of objects. */
function entryOf(node: ShapeNode): Entry | undefined {
  if (node.items?.properties) return { label: 'A list', shape: node.items }
  const { additionalProperties } = node
  if (typeof additionalProperties !== 'object' || !additionalProperties.properties) return undefined
  return { label: 'An object by name', shape: additionalProperties }
}

function listMembers(node: ShapeNode, prefix: string): Row[] {
  return Object.entries(node.properties ?? {}).map(([name, member]) => ({
    setting: `${prefix}${name}`,
    node: member,
    required: node.required?.includes(name) ?? false,
  }))
}

/** The row of a single value, or those of the members of an object. */
function flatten(row: Row): Row[] {
  const entry = entryOf(row.node)
  if (entry) return [row, ...listMembers(entry.shape, `${row.setting}.*.`).flatMap(flatten)]
  if (!row.node.properties || hasValue(row.node.default)) return [row]
  return listMembers(row.node, `${row.setting}.`).flatMap(flatten)
}

/** Whether a default says more than that members have defaults of their own. */
function hasValue(value: unknown): boolean {
  return value !== undefined && JSON.stringify(value) !== '{}'
}

function formatTable(rows: readonly Row[]): string {
  const lines = rows.map(({ setting, node, required }) => {
    const initial = required
      ? 'required'
      : node.default === undefined
        ? 'none'
        : `\`${JSON.stringify(node.default)}\``
    return `| \`${setting}\` | ${escapeCell(describeNode(node))} | ${initial} | ${escapeCell(node.description ?? '')} |`
  })
  return ['| setting | type | default | meaning |', '|---|---|---|---|', ...lines].join('\n')
}

function describeNode(node: ShapeNode): string {
  if (node.items && !node.items.properties) return `a list, each ${describeType(node.items)}`
  if (node.type === 'object' && node.properties) {
    const members = Object.entries(node.properties).map(
      ([name, member]) => `\`${name}\` (${describeType(member)})`,
    )
    return `an object of ${members.join(' and ')}`
  }
  return describeType(node)
}

function describeRules(): string {
  const lines = (Object.keys(RULES) as RuleId[]).map((id) => {
    const { severity, title } = RULES[id]
    return `| ${id} | ${severity} | ${escapeCell(title)} |`
  })
  return ['| id | where broken | rule |', '|---|---|---|', ...lines].join('\n')
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|')
}

function main(): void {
  const text = writeReference()
  if (!process.argv.includes('--check')) {
    writeFileSync(FILE, text)
    return
  }
  if (readFileSync(FILE, 'utf8') === text) return
  console.error('docs/configuration.md is stale: run node tools/write-config-reference.ts')
  process.exitCode = 1
}

if (import.meta.main) main()

import type { z } from 'zod'
import { checkConfig, type Section } from './check.ts'
import { echo } from './echo.ts'
import { isRefusal, type Finding, type Path } from './rules.ts'
import { configSchema, type Config } from './schema.ts'
import { describeShape, describeType, shapeAt, type ShapeNode } from './shape.ts'
import { suggestMember } from './suggest.ts'

/** One mistake in the configuration. */
export interface Mistake {
  readonly path: Path
  /** What was expected and what came, without a secret. */
  readonly message: string
}

export interface Validated {
  /** `undefined` where a value is mistaken by itself. To be used only if there is no mistake. */
  readonly config: Config | undefined
  readonly mistakes: readonly Mistake[]
  readonly warnings: readonly Finding[]
}

/** Sections whose broken entries can be left out while the others are checked further. */
const LISTS = ['clients', 'users'] as const

/**
 * Every mistake of `raw` at once: those of single values, and those of the rules as far as the values
 * that they read are sound.
 */
export function validateConfig(raw: unknown): Validated {
  const parsed = configSchema.safeParse(raw, { reportInput: true })
  if (parsed.success) {
    const findings = checkConfig(parsed.data)
    const mistakes = findings.filter(isRefusal).map(toMistake)
    const warnings = findings.filter((finding) => !isRefusal(finding))
    return { config: parsed.data, mistakes, warnings }
  }
  const { issues } = parsed.error
  const further = checkTheRest(raw, issues).filter(isRefusal).map(toMistake)
  return { config: undefined, mistakes: [...describeIssues(issues), ...further], warnings: [] }
}

/**
 * The mistakes in `issues`, one for each path. `at`: where the value stands in what `shape` describes,
 * which is the configuration where nothing else is said.
 */
export function describeIssues(
  issues: readonly z.core.$ZodIssue[],
  at: Path = [],
  shape: ShapeNode = describeShape(),
): Mistake[] {
  const seen = new Set<string>()
  return issues.flatMap((issue) => {
    const path = [...at, ...issue.path.map((part) => (typeof part === 'symbol' ? '?' : part))]
    if (issue.code === 'unrecognized_keys') {
      const members = Object.keys(shapeAt(shape, path)?.properties ?? {})
      return issue.keys.map((key) => describeUnknown([...path, key], key, members))
    }
    const key = JSON.stringify(path)
    if (seen.has(key)) return []
    seen.add(key)
    const node = shapeAt(shape, path)
    const words = readOwnWords(issue) ?? (node ? describeType(node) : 'nothing')
    return [{ path, message: `expected ${words}, got ${echo(issue.input, path)}` }]
  })
}

function describeUnknown(path: Path, key: string, members: readonly string[]): Mistake {
  const meant = suggestMember(key, members)
  const hint = meant === undefined || meant === key ? '' : `. Did you mean ${meant}?`
  return { path, message: `there is no such setting${hint}` }
}

/** What the schema itself says is expected. */
function readOwnWords(issue: z.core.$ZodIssue): string | undefined {
  if (issue.code === 'invalid_key') return issue.issues[0]?.message
  const isOurs = ['custom', 'invalid_format', 'invalid_union'].includes(issue.code)
  return isOurs ? issue.message : undefined
}

function toMistake({ rule, path, message }: Finding): Mistake {
  return { path, message: `${rule}: ${message}` }
}

type Draft = Record<string, unknown>

/** Applies the rules to what is left when everything mistaken is taken out. */
function checkTheRest(raw: unknown, issues: readonly z.core.$ZodIssue[]): Finding[] {
  if (typeof raw !== 'object' || raw === null) return []
  const draft = copy(raw) as Draft
  const unknown = new Set<Section>()
  const broken = { clients: new Set<number>(), users: new Set<number>() }
  for (const issue of issues) {
    const [section, index] = issue.path
    if (issue.code === 'unrecognized_keys') removeMembers(draft, issue.path, issue.keys)
    else if (isList(section) && typeof index === 'number') broken[section].add(index)
    else if (section !== undefined) unknown.add(section as Section)
  }
  for (const section of unknown) delete draft[section]
  const kept = new Map<string, number[]>()
  for (const section of LISTS) {
    const entries = draft[section]
    if (!Array.isArray(entries)) continue
    const indices = [...entries.keys()].filter((index) => !broken[section].has(index))
    kept.set(section, indices)
    draft[section] = indices.map((index): unknown => entries[index])
  }
  const parsed = configSchema.safeParse(draft)
  if (!parsed.success) return []
  return checkConfig(parsed.data, unknown).map((finding) => renumber(finding, kept))
}

function isList(section: unknown): section is (typeof LISTS)[number] {
  return LISTS.some((name) => name === section)
}

/** Turns an index among the entries that were kept into the one in the file. */
function renumber(finding: Finding, kept: ReadonlyMap<string, readonly number[]>): Finding {
  const [section, index, ...rest] = finding.path
  if (section === undefined || typeof index !== 'number') return finding
  const original = kept.get(String(section))?.[index] ?? index
  return { ...finding, path: [section, original, ...rest] }
}

function removeMembers(draft: Draft, path: readonly PropertyKey[], keys: readonly string[]): void {
  let target: unknown = draft
  for (const segment of path)
    target = (target as Record<PropertyKey, unknown> | undefined)?.[segment]
  if (typeof target !== 'object' || target === null) return
  for (const key of keys) delete (target as Draft)[key]
}

function copy(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copy)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, copy(member)]))
}

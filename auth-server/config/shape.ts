import { z } from 'zod'
import type { Path } from './rules.ts'
import { configSchema } from './schema.ts'

/** The part of JSON Schema that the configuration's schema is made of. */
export interface ShapeNode {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean'
  /** What is expected, in words. */
  readonly title?: string
  readonly description?: string
  readonly default?: unknown
  readonly enum?: readonly string[]
  readonly properties?: Readonly<Record<string, ShapeNode>>
  readonly required?: readonly string[]
  readonly additionalProperties?: ShapeNode | boolean
  readonly items?: ShapeNode
  readonly anyOf?: readonly ShapeNode[]
  readonly minimum?: number
  readonly maximum?: number
}

/** What may be written in the configuration, or in what another schema describes: as JSON Schema. */
export function describeShape(schema: z.ZodType = configSchema): ShapeNode {
  return z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as ShapeNode
}

/** The node that `path` leads to, or `undefined` where nothing may stand. */
export function shapeAt(root: ShapeNode, path: Path): ShapeNode | undefined {
  let node: ShapeNode | undefined = root
  for (const segment of path) {
    if (typeof segment === 'number') node = node?.items
    else if (node?.properties) node = memberOf(node.properties, segment)
    else
      node = typeof node?.additionalProperties === 'object' ? node.additionalProperties : undefined
  }
  return node
}

/** Every object has a `constructor`, which is no setting. */
function memberOf(
  properties: Readonly<Record<string, ShapeNode>>,
  name: string,
): ShapeNode | undefined {
  return Object.hasOwn(properties, name) ? properties[name] : undefined
}

/** What a value must be, in words: `a whole number from 0 to 65535`. */
export function describeType(node: ShapeNode): string {
  if (node.title !== undefined) return node.title
  if (node.anyOf) return 'a secret'
  if (node.enum) return `one of ${node.enum.map((value) => `"${value}"`).join(', ')}`
  switch (node.type) {
    case 'string':
      return 'a text'
    case 'boolean':
      return 'true or false'
    case 'integer':
    case 'number':
      return describeNumber(node)
    case 'array':
      return 'a list'
    default:
      return typeof node.additionalProperties === 'object' ? 'an object by name' : 'an object'
  }
}

function describeNumber({ minimum, maximum = Number.MAX_SAFE_INTEGER }: ShapeNode): string {
  if (maximum === Number.MAX_SAFE_INTEGER) return `a whole number of at least ${minimum}`
  return `a whole number from ${minimum} to ${maximum}`
}

/**
 * What a route wants the claims to be: a schema of any library that speaks Standard Schema (zod,
 * valibot, arktype). This is the part of its interface that is used, so no library is needed.
 *
 * @see {@link https://standardschema.dev/ Standard Schema, version 1}
 */
export interface ClaimsSchema<Output> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined
  }
}

export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] }

export interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** Throws a `TypeError` for what is no schema. */
export function requireSchema(option: string, schema: unknown): void {
  const standard = (schema as { '~standard'?: { version?: unknown; validate?: unknown } } | null)?.[
    '~standard'
  ]
  if (standard?.version !== 1 || typeof standard.validate !== 'function') {
    throw new TypeError(`${option}: expected a schema of the kind Standard Schema, version 1`)
  }
}

/** `exp: Expected number`. */
export function describeIssue({ message, path = [] }: SchemaIssue): string {
  const names = path.map((part) => String(typeof part === 'object' ? part.key : part))
  return names.length === 0 ? message : `${names.join('.')}: ${message}`
}

import path from 'node:path'
import type { LoadedConfig } from '../config/load.ts'

/** Of the parameters of a database URL, those that hold no secret. */
const PLAIN_PARAMETERS = new Set(['host', 'sslmode', 'sslrootcert', 'application_name'])
const SQLITE_FILE = /^sqlite:(\/.*)$/s

/**
 * The effective configuration as a file could say it: every default filled in, secrets as references
 * to where they come from, and paths from the folder of the file where they are in it.
 *
 * A password that stands in a URL is left out, wherever the URL stands: a setting that is added one
 * day must not be the leak that somebody forgot here.
 */
export function exportConfig({ config, folder }: Pick<LoadedConfig, 'config' | 'folder'>): unknown {
  return walk(config, folder)
}

function walk(value: unknown, folder: string, member = ''): unknown {
  if (typeof value === 'string') return exportText(value, folder, member)
  if (Array.isArray(value)) return value.map((entry) => walk(entry, folder))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value)
    .filter(([, entry]) => entry !== undefined)
    .map(([name, entry]) => [name, walk(entry, folder, name)])
  return Object.fromEntries(entries) as unknown
}

function exportText(text: string, folder: string, member: string): string {
  if (member === 'file') return makeRelative(text, folder)
  const database = SQLITE_FILE.exec(text)?.[1]
  if (database !== undefined) return `sqlite:${makeRelative(database, folder)}`
  if (member === 'url') return withoutParameters(withoutPassword(text))
  return withoutPassword(text)
}

function makeRelative(file: string, folder: string): string {
  const relative = path.relative(folder, file)
  return relative.startsWith('..') || path.isAbsolute(relative) ? file : relative
}

function withoutPassword(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/[^/?#@:]*):[^/?#]*@/i, '$1@')
}

function withoutParameters(text: string): string {
  const [address = '', query] = text.split('?', 2)
  if (query === undefined) return address
  const kept = [...new URLSearchParams(query)].filter(([name]) => PLAIN_PARAMETERS.has(name))
  return kept.length === 0 ? address : `${address}?${new URLSearchParams(kept).toString()}`
}

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import path from 'node:path'
import type { Middleware } from 'koa'

/** What the pages load, all of it from here. */
export interface Assets {
  /** Paths by name, each with a digest of its content: what they answer never changes. */
  readonly paths: Readonly<Record<AssetName, string>>
  readonly files: ReadonlyMap<string, Asset>
}

interface Asset {
  readonly type: string
  readonly etag: string
  readonly body: Buffer
}

const SOURCES = {
  pico: fileURLToPath(import.meta.resolve('@picocss/pico/css/pico.min.css')),
  style: path.join(import.meta.dirname, 'assets', 'portreeve.css'),
  mark: path.join(import.meta.dirname, 'assets', 'mark.svg'),
} as const

type AssetName = keyof typeof SOURCES

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml; charset=utf-8',
}

/** Reads every asset once. Throws where one is missing: the server does not start without its face. */
export function loadAssets(): Assets {
  const files = new Map<string, Asset>()
  const load = (name: AssetName): string => {
    const body = readFileSync(SOURCES[name])
    const digest = createHash('sha256').update(body).digest('base64url').slice(0, 16)
    const extension = path.extname(SOURCES[name])
    const url = `/assets/${name}.${digest}${extension}`
    files.set(url, { type: TYPES[extension] ?? '', etag: `"${digest}"`, body })
    return url
  }
  return { paths: { pico: load('pico'), style: load('style'), mark: load('mark') }, files }
}

/** Where browsers look for the icon of a page that names none, such as the engine's own. */
const ICON = '/favicon.ico'

export function createAssetRoutes({ files, paths }: Assets): Middleware {
  return async (ctx, next) => {
    const isIcon = ctx.path === ICON
    const asset = files.get(isIcon ? paths.mark : ctx.path)
    if (!asset || !['GET', 'HEAD'].includes(ctx.method)) {
      await next()
      return
    }
    ctx.set('Cache-Control', `public, max-age=${isIcon ? '86400' : '31536000, immutable'}`)
    ctx.set('ETag', asset.etag)
    ctx.status = 200
    if (ctx.fresh) {
      ctx.status = 304
      return
    }
    ctx.type = asset.type
    ctx.body = asset.body
  }
}

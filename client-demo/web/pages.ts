import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Eta } from 'eta'
import type { Middleware } from 'koa'

const PICO = fileURLToPath(import.meta.resolve('@picocss/pico/css/pico.classless.min.css'))
const ours = (name: string) => new URL(`views/${name}`, import.meta.url)

const ASSETS: ReadonlyMap<string, { type: string; content: Buffer }> = new Map([
  ['/pico.css', { type: 'css', content: withoutPictures(readFileSync(PICO, 'utf8')) }],
  ['/style.css', { type: 'css', content: readFileSync(ours('style.css')) }],
  ['/live.js', { type: 'js', content: readFileSync(ours('live.js')) }],
  ['/icon.svg', { type: 'svg', content: readFileSync(ours('icon.svg')) }],
])

/**
 * Its pictures are `data:` URLs, which the policy of our pages does not let in. Ours are not there, but a
 * browser may want one of them before it has read our style.
 */
function withoutPictures(css: string): Buffer {
  return Buffer.from(css.replaceAll(/url\("data:[^"]*"\)/g, 'none'))
}

/** Escapes whatever it fills in. */
export function createPages(): Eta {
  return new Eta({ views: fileURLToPath(ours('')), cache: true, autoEscape: true })
}

export const serveAssets: Middleware = (ctx, next) => {
  const asset = ASSETS.get(ctx.path)
  if (!asset || ctx.method !== 'GET') return next()
  ctx.set('Cache-Control', 'public, max-age=300')
  ctx.type = asset.type
  ctx.body = asset.content
}

import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { loadAssets } from './assets.ts'
import { createPages } from './pages.ts'

function makeViews(): { readonly path: string } & Disposable {
  const folder = mkdtempSync(path.join(tmpdir(), 'portreeve-views-'))
  cpSync(path.join(import.meta.dirname, 'views'), folder, { recursive: true })
  return { path: folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) }
}

test('a template of the operator takes the place of ours', () => {
  using views = makeViews()
  writeFileSync(path.join(views.path, 'over.eta'), '<p><%= 1 + 1 %> gates</p>')
  expect(createPages(loadAssets(), views.path).over()).toBe('<p>2 gates</p>')
})

test('a template that does not compile stops the start', () => {
  using views = makeViews()
  writeFileSync(path.join(views.path, 'over.eta'), '<% if (%>')
  expect(() => createPages(loadAssets(), views.path)).toThrow('over.eta')
})

test('a template that is missing stops the start', () => {
  using views = makeViews()
  rmSync(path.join(views.path, 'consent.eta'))
  expect(() => createPages(loadAssets(), views.path)).toThrow('no consent among the views')
})

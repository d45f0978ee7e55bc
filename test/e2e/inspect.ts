import type { Page } from 'playwright-core'

/**
 * Looks a page over as far as a program can: what scrolls sideways, what has no label, what is too
 * small to hit, and text whose contrast is below 4.5 to 1 (WCAG 2.2, AA). Answers what it found.
 */
export function inspect(page: Page): Promise<string[]> {
  return page.evaluate<string[]>(`(${SCRIPT})()`)
}

/** Runs in the page; the types of the DOM are not those of this program. */
const SCRIPT = String.raw`() => {
  const found = []
  const root = document.documentElement
  if (root.scrollWidth > root.clientWidth) {
    found.push('scrolls sideways: ' + root.scrollWidth + ' > ' + root.clientWidth)
  }
  if (!root.lang) found.push('no language')
  if (document.querySelectorAll('h1').length !== 1) found.push('not one h1')
  if (document.querySelectorAll('main').length !== 1) found.push('not one main')
  const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id)
  if (new Set(ids).size !== ids.length) found.push('an id twice')
  for (const input of document.querySelectorAll('input:not([type=hidden]), select, textarea')) {
    if (input.labels.length !== 1) found.push('no label: ' + input.name)
    const described = input.getAttribute('aria-describedby')
    if (described && !document.getElementById(described)) found.push('nothing describes ' + input.name)
  }
  const targets = 'button, input:not([type=hidden]), select, textarea, a'
  for (const target of document.querySelectorAll(targets)) {
    // Of what stands in its label all of that can be hit.
    const { height, width } = (target.closest('label') ?? target).getBoundingClientRect()
    if (height < 44 || width < 44) {
      found.push('small target: ' + target.outerHTML + ' ' + width + ' x ' + height)
    }
  }
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const toRgb = (color) => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = color
    canvas.fillRect(0, 0, 1, 1)
    return [...canvas.getImageData(0, 0, 1, 1).data]
  }
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => {
      const part = value / 255
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const groundOf = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const rgba = toRgb(getComputedStyle(at).backgroundColor)
      if (rgba[3] === 255) return rgba
    }
    return [255, 255, 255, 255]
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  let checked = 0
  while (texts.nextNode()) {
    const node = texts.currentNode
    if (!node.textContent.trim()) continue
    const element = node.parentElement
    const pair = [toRgb(getComputedStyle(element).color), groundOf(element)].map(luminance)
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)
    checked += 1
    if (ratio < 4.5) found.push('contrast ' + ratio.toFixed(2) + ': ' + node.textContent.trim())
  }
  if (checked < 3) found.push('hardly any text')
  return found
}`

// Draws what came since, each second while somebody looks. What is fetched was rendered and escaped by
// the server; the page is the same without this script, but stands still.
const BETWEEN_MS = 1000
/** As many as the server keeps. */
const MOST_ARROWS = 80
const status = document.querySelector('#live')

async function look() {
  const list = document.querySelector('.arrows')
  const { trace, last } = list.dataset
  const response = await fetch(`/flow/arrows?${new URLSearchParams({ trace, after: last })}`)
  if (!response.ok) throw new Error(`answered ${response.status}`)
  if (response.status !== 204) draw(list, await response.text())
}

function draw(list, html) {
  const diagram = new DOMParser().parseFromString(html, 'text/html').querySelector('.diagram')
  const fresh = diagram.querySelector('.arrows')
  const { length } = fresh.children
  // Somebody has signed in or out: what was said before belongs to another trace.
  if (fresh.dataset.trace !== list.dataset.trace) list.closest('.diagram').replaceWith(diagram)
  else {
    list.dataset.last = fresh.dataset.last
    list.closest('.diagram').querySelector('.empty')?.remove()
    list.append(...fresh.children)
    for (const old of [...list.children].slice(0, -MOST_ARROWS)) old.remove()
  }
  status.textContent = length === 1 ? 'One more arrow.' : `${length} more arrows.`
}

async function watch() {
  if (document.visibilityState === 'visible') {
    try {
      await look()
      if (status.dataset.lost) status.textContent = 'Connected again.'
      delete status.dataset.lost
    } catch {
      status.dataset.lost = 'yes'
      status.textContent = 'This application does not answer. It is asked again each second.'
    }
  }
  setTimeout(watch, BETWEEN_MS)
}

status.textContent = 'Live: whatever is said appears below.'
void watch()

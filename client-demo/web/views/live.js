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
  if (response.status !== 204) await draw(list, await response.text())
}

function read(html) {
  return new DOMParser().parseFromString(html, 'text/html')
}

/** Whoever has signed in or out elsewhere has done so in this window as well. */
async function sayWhoIsHere() {
  const response = await fetch('/flow')
  if (!response.ok) throw new Error(`answered ${response.status}`)
  const page = read(await response.text())
  document.querySelector('header').replaceWith(page.querySelector('header'))
}

async function draw(list, html) {
  const diagram = read(html).querySelector('.diagram')
  const fresh = diagram.querySelector('.arrows')
  let arrows = [...fresh.children]
  // Somebody has signed in or out: what was said before belongs to another trace, which may begin with it.
  if (fresh.dataset.trace !== list.dataset.trace) {
    // First: where this fails, the next look finds the same.
    await sayWhoIsHere()
    list.closest('.diagram').replaceWith(diagram)
    const count = fresh.dataset.last - list.dataset.last
    arrows = count > 0 ? arrows.slice(-count) : []
  } else {
    list.dataset.last = fresh.dataset.last
    list.closest('.diagram').querySelector('.empty')?.remove()
    list.append(...arrows)
    for (const old of [...list.children].slice(0, -MOST_ARROWS)) old.remove()
  }
  pointAt(arrows)
}

/** Marks what has just come, and leads there: nobody is moved who reads something else. */
function pointAt(arrows) {
  document.querySelector('#fresh')?.removeAttribute('id')
  for (const old of document.querySelectorAll('.fresh')) old.classList.remove('fresh')
  for (const arrow of arrows) arrow.classList.add('fresh')
  const [first] = arrows
  if (!first) {
    status.textContent = 'Begun anew.'
    return
  }
  first.id = 'fresh'
  const way = document.createElement('a')
  way.href = '#fresh'
  way.textContent = arrows.length === 1 ? 'Go to it' : 'Go to the first of them'
  const count = arrows.length === 1 ? 'One more arrow' : `${arrows.length} more arrows`
  const time = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' }).format()
  status.replaceChildren(`${count} at ${time}, marked below.\u00a0`, way)
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

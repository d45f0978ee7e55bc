// The names of the DOM that the types of playwright-core mention. The whole library of the DOM would
// let every file of the server believe that it runs in a browser.
interface Node {
  readonly nodeName: string
}
interface HTMLElement extends Node {
  readonly title: string
}
interface SVGElement extends Node {
  readonly viewportElement: SVGElement | null
}
interface HTMLElementTagNameMap {
  readonly a: HTMLElement
}

/** A picture that is readable on light and dark pages. */
export function drawPicture(
  {
    width,
    height,
    label,
  }: { readonly width: number; readonly height: number; readonly label: string },
  parts: readonly string[],
): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">
<style>
  text { font: 12px system-ui, sans-serif; fill: #222; }
  .small { font-size: 9px; }
  .line { stroke: #888; stroke-dasharray: 3 3; }
  @media (prefers-color-scheme: dark) { text { fill: #ddd; } }
</style>
${parts.join('\n')}
</svg>
`
}

export function drawText(x: number, y: number, text: string, anchor = 'start', kind = ''): string {
  const look = kind === '' ? '' : ` class="${kind}"`
  return `<text x="${x}" y="${y}" text-anchor="${anchor}"${look}>${text}</text>`
}

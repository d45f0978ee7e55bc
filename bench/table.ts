/** Columns as wide as their widest cell; those of numbers to the right. */
export function printTable(head: readonly string[], lines: readonly (readonly string[])[]): void {
  const all = [head, ...lines]
  const widths = head.map((_, column) =>
    Math.max(...all.map((line) => (line[column] ?? '').length)),
  )
  const isNumber = head.map((_, column) =>
    lines.every((line) => /^[\d.,*%x ]*$/.test(line[column] ?? '')),
  )
  for (const line of all) {
    const cells = line.map((cell, column) => {
      const width = widths[column] ?? 0
      return isNumber[column] ? cell.padStart(width) : cell.padEnd(width)
    })
    console.log(cells.join('  ').trimEnd())
  }
}

import { drawPicture, drawText } from '../svg.ts'
import { CONTENDERS } from './contenders.ts'
import { LOADS, type Lap, type Load, type Result } from './race.ts'
import { describeLoad } from './bars.ts'
import { findResult } from './report.ts'
import { ALGORITHMS, type Algorithm } from './setup.ts'

const LABEL_WIDTH = 250
const PANEL_WIDTH = 300
/** Beside the longest bar, for its number. */
const NUMBER_WIDTH = 60
const BAR_HEIGHT = 10
const ROW_GAP = 14
const TOP = 56
const LONGEST = 1.1
const COLORS: Readonly<Record<Algorithm, string>> = {
  RS256: '#2f6fb0',
  ES256: '#d98324',
  EdDSA: '#4f8a54',
}

/** Bars of each contender's ratio to bare Koa, a panel for each load, readable on light and dark pages. */
export function drawChart(laps: readonly Lap[]): string {
  const rowHeight = ALGORITHMS.length * BAR_HEIGHT + ROW_GAP
  const height = TOP + CONTENDERS.length * rowHeight + 10
  const width = LABEL_WIDTH + LOADS.length * (PANEL_WIDTH + NUMBER_WIDTH)
  const labels = CONTENDERS.map(({ label }, row) =>
    drawText(LABEL_WIDTH - 10, TOP + row * rowHeight + 20, label, 'end'),
  )
  const panels = LOADS.map((load, place) =>
    drawPanel(laps, load, LABEL_WIDTH + place * (PANEL_WIDTH + NUMBER_WIDTH), rowHeight, height),
  )
  const label = 'Speed of each contender as a ratio to bare Koa'
  return drawPicture({ width, height, label }, [drawLegend(), ...labels, ...panels])
}

function drawLegend(): string {
  return ALGORITHMS.map((algorithm, place) => {
    const x = 10 + place * 76
    return `<rect x="${x}" y="10" width="10" height="10" fill="${COLORS[algorithm]}"/>
${drawText(x + 15, 19, algorithm)}`
  }).join('\n')
}

function drawPanel(
  laps: readonly Lap[],
  load: Load,
  left: number,
  rowHeight: number,
  height: number,
): string {
  const bare = left + PANEL_WIDTH / LONGEST
  const bars = CONTENDERS.flatMap((contender, row) =>
    ALGORITHMS.map((algorithm, place) => {
      const top = TOP + row * rowHeight + place * BAR_HEIGHT
      return drawBar(left, top, algorithm, findResult(laps, algorithm, load, contender))
    }),
  )
  return `${drawText(left, 38, `${describeLoad(load)}, bare Koa = 1.00`)}
<line class="line" x1="${bare}" y1="${TOP - 8}" x2="${bare}" y2="${height - 10}"/>
${bars.join('\n')}`
}

function drawBar(left: number, top: number, algorithm: Algorithm, result?: Result): string {
  if (result === undefined) return ''
  if (result.kind === 'fails') return drawText(left + 4, top + 8, 'fails', 'start', 'small')
  const { median } = result.ratio
  const length = (Math.min(median, LONGEST) / LONGEST) * PANEL_WIDTH
  return `<rect x="${left}" y="${top}" width="${length.toFixed(1)}" height="${BAR_HEIGHT - 1}" fill="${COLORS[algorithm]}"/>
${drawText(left + Math.round(length) + 4, top + 8, median.toFixed(2), 'start', 'small')}`
}

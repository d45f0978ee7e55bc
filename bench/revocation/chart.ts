import { drawPicture, drawText } from '../svg.ts'
import { percentile, type Measurements } from './bars.ts'
import type { Outage, PolicyResult } from './outage.ts'
import type { Propagation } from './propagation.ts'

const WIDTH = 760
const HEIGHT = 300
const TOP = 50
const BOTTOM = 260
const LEFT = 45
const PANEL_WIDTH = 310
const RIGHT = 480
const LAST_COLOR = '#2f6fb0'
const EACH_COLOR = '#d98324'
const LET_IN_COLOR = '#4f8a54'
const REFUSED_COLOR = '#b0413e'
/** The axis of the left panel, in milliseconds: each is as far from the next. */
const DECADES = [1, 10, 100, 1000, 10_000]
const MARKS = [
  { value: 20, label: '20 ms' },
  { value: 1000, label: '1 s' },
]
const STEPS = 100

/** How soon revocations were in force, and what becomes of requests while the issuer is dead. */
export function drawChart({
  propagation,
  outage,
}: Required<Pick<Measurements, 'propagation' | 'outage'>>): string {
  const label =
    'Time from a revocation to its refusal everywhere, and answers while the issuer is dead'
  return drawPicture({ width: WIDTH, height: HEIGHT, label }, [
    ...drawDelays(propagation),
    ...drawOutage(outage),
  ])
}

function drawDelays({ last, each }: Propagation): readonly string[] {
  return [
    drawText(LEFT, 18, 'Share of revocations that are in force, by the time since'),
    drawName(LAST_COLOR, LEFT, 'at the last of five APIs'),
    drawName(EACH_COLOR, LEFT + 160, 'at each'),
    ...[0, 0.5, 1].map((share) =>
      drawText(LEFT - 6, BOTTOM - share * (BOTTOM - TOP) + 4, `${share * 100}%`, 'end', 'small'),
    ),
    ...DECADES.map((value) => {
      const text = value < 1000 ? `${value} ms` : `${value / 1000} s`
      return drawText(Math.round(placeDelay(value)), BOTTOM + 16, text, 'middle', 'small')
    }),
    ...MARKS.map(({ value, label }) => {
      const x = placeDelay(value).toFixed(1)
      const line = `<line class="line" x1="${x}" y1="${TOP}" x2="${x}" y2="${BOTTOM}"/>`
      return `${line}\n${drawText(Number(x) + 3, TOP + 8, label, 'start', 'small')}`
    }),
    drawShares(each, EACH_COLOR),
    drawShares(last, LAST_COLOR),
  ]
}

function drawShares(values: readonly number[], color: string): string {
  const points = Array.from({ length: STEPS + 1 }, (_, step) => {
    const share = step / STEPS
    const x = placeDelay(percentile(values, share))
    return `${x.toFixed(1)},${(BOTTOM - share * (BOTTOM - TOP)).toFixed(1)}`
  })
  return `<polyline fill="none" stroke="${color}" stroke-width="2" points="${points.join(' ')}"/>`
}

function drawName(color: string, x: number, text: string): string {
  return `<rect x="${x}" y="29" width="10" height="10" fill="${color}"/>
${drawText(x + 15, 38, text)}`
}

/** On a logarithmic axis. What was in force before the answer to the revocation is at its start. */
function placeDelay(milliseconds: number): number {
  const most = Math.log10(DECADES.at(-1) ?? 1)
  const place = Math.log10(Math.max(1, milliseconds)) / most
  return LEFT + Math.min(1, place) * PANEL_WIDTH
}

const ROW = 36
const ROW_TOP = TOP + 10
const BAR = 14

function drawOutage(outage: Outage): readonly string[] {
  const { policies, seconds, staleAfterSeconds } = outage
  const width = WIDTH - RIGHT - 20
  const place = (at: number) => RIGHT + (Math.min(at, seconds) / seconds) * width
  const stale = place(staleAfterSeconds).toFixed(1)
  return [
    drawText(RIGHT, 18, 'While the issuer is dead'),
    drawName(LET_IN_COLOR, RIGHT, 'let in'),
    drawName(REFUSED_COLOR, RIGHT + 70, 'refused'),
    `<line class="line" x1="${stale}" y1="${TOP}" x2="${stale}" y2="${BOTTOM}"/>`,
    ...policies.flatMap((policy, row) => {
      const y = ROW_TOP + row * ROW
      const until = policy.refusals.length === 0 ? seconds : policy.lastLetIn
      const bar = (from: number, to: number, color: string) =>
        `<rect x="${place(from).toFixed(1)}" y="${y}" width="${(place(to) - place(from)).toFixed(1)}" height="${BAR}" fill="${color}"/>`
      return [
        drawText(RIGHT - 8, y + 11, describe(policy, outage), 'end'),
        bar(0, until, LET_IN_COLOR),
        bar(until, seconds, REFUSED_COLOR),
      ]
    }),
    ...[0, staleAfterSeconds, Math.round(seconds)].map((at) =>
      drawText(Math.round(place(at)), BOTTOM + 16, `${at} s`, 'middle', 'small'),
    ),
  ]
}

function describe({ name }: PolicyResult, { youngSeconds }: Outage): string {
  if (name === 'young, old token') return `young(${youngSeconds}), older`
  return name === 'young, new token' ? `young(${youngSeconds}), new` : name
}

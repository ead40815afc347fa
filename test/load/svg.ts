/** One bar of a chart. */
export type ChartBar = { readonly title: string; readonly value: number; readonly isOurs: boolean }

/** Bars that share an axis, under one heading. */
export type ChartGroup = { readonly heading: string; readonly bars: readonly ChartBar[] }

const WIDTH = 820
const LABELS = 300
const RIGHT = 70
const BAR = 20
const GAP = 6
const HEADING = 34
const AXIS = 40

/**
 * Horizontal bars as an SVG that is read in light and in dark, with the reader's own fonts.
 *
 * @param unit what the axis counts
 */
export function barChart(title: string, unit: string, groups: readonly ChartGroup[]): string {
  const parts: string[] = []
  let y = 40
  for (const { heading, bars } of groups) {
    const scale = axisOf(Math.max(...bars.map((bar) => bar.value)))
    const x = (value: number) => LABELS + (value / scale.end) * (WIDTH - LABELS - RIGHT)
    parts.push(text(10, y + 20, heading, 'heading'))
    const top = y + HEADING
    const bottom = top + bars.length * (BAR + GAP)
    for (let tick = 0; tick <= scale.end * 1.0001; tick += scale.step) {
      parts.push(
        `<line class="grid" x1="${px(x(tick))}" x2="${px(x(tick))}" y1="${top}" y2="${bottom}"/>`,
      )
      parts.push(text(x(tick), bottom + 15, short(tick), 'tick', 'middle'))
    }
    for (const [index, bar] of bars.entries()) {
      const at = top + index * (BAR + GAP)
      parts.push(text(LABELS - 8, at + 15, bar.title, bar.isOurs ? 'ours-label' : 'label', 'end'))
      parts.push(
        `<rect class="${bar.isOurs ? 'ours' : 'other'}" x="${LABELS}" y="${at}" width="${px(x(bar.value) - LABELS)}" height="${BAR}" rx="2"/>`,
      )
      parts.push(text(x(bar.value) + 6, at + 15, short(bar.value), 'value'))
    }
    parts.push(text((LABELS + WIDTH - RIGHT) / 2, bottom + 30, unit, 'tick', 'middle'))
    y = bottom + AXIS
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 8}" role="img" aria-label="${escaped(title)}">
<style>
  svg { background: #ffffff; }
  text { font: 12px system-ui, sans-serif; fill: #3d4450; }
  .title { font-size: 15px; font-weight: 600; fill: #14181f; }
  .heading { font-weight: 600; fill: #14181f; }
  .ours-label { font-weight: 600; fill: #14181f; }
  .tick { font-size: 11px; fill: #6a7280; }
  .grid { stroke: #d9dde3; }
  .ours { fill: #2563c9; }
  .other { fill: #a3acb9; }
  @media (prefers-color-scheme: dark) {
    svg { background: #14181f; }
    text { fill: #c3cad5; }
    .title, .heading, .ours-label { fill: #f2f4f7; }
    .tick { fill: #98a1af; }
    .grid { stroke: #323945; }
    .ours { fill: #6ea3ff; }
    .other { fill: #5d6675; }
  }
</style>
${text(10, 22, title, 'title')}
${parts.join('\n')}
</svg>
`
}

/** A round step that gives four to nine ticks. */
function axisOf(most: number): { step: number; end: number } {
  const power = 10 ** Math.floor(Math.log10(most || 1))
  const step = [0.1, 0.2, 0.5, 1, 2].map((it) => it * power).find((it) => most / it <= 8) ?? power
  return { step, end: Math.ceil(most / step) * step }
}

function text(x: number, y: number, content: string, of: string, anchor = 'start'): string {
  return `<text class="${of}" x="${px(x)}" y="${px(y)}" text-anchor="${anchor}">${escaped(content)}</text>`
}

function short(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`
  return String(Number(value.toPrecision(3)))
}

function px(value: number): string {
  return String(Math.round(value * 10) / 10)
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}

import { machine, table, writeSection } from '../page.ts'
import { atLeast, type Bar, below, equal, round3 } from '../statistics.ts'
import { barChart } from '../svg.ts'
import type { Throughput } from './deliveries.ts'
import type { Stall } from './stall.ts'

export type Latency = { readonly p50: number; readonly p99: number }

/** One number of subscribers, all of one class, against the bare broadcast. */
export type Against = {
  readonly size: number
  readonly ours: Throughput
  readonly bare: Throughput
  readonly latencyAt: number
  readonly oursLatency: Latency
  readonly bareLatency: Latency
  readonly oursIdleKib: number
  readonly bareIdleKib: number
}

/** What classes of authority cost. */
export type Classes = {
  readonly size: number
  readonly classes: number
  readonly eventsPerSecond: number
  readonly hydrationsPerEvent: number
}

export type Findings = {
  readonly against: readonly Against[]
  readonly classes: readonly Classes[]
  readonly stall: Stall
}

/** From this share of its processor on, a server was what held its own throughput up. */
const SATURATED = 0.9

/** By the processor's time where the subscribers' process held either of the two up. */
function ratioOf({ ours, bare }: Against): { ratio: number; isByCpu: boolean } {
  const isByCpu = Math.min(ours.cpuShare, bare.cpuShare) < SATURATED
  const ratio = isByCpu
    ? ours.deliveriesPerCpuSecond / bare.deliveriesPerCpuSecond
    : ours.deliveriesPerSecond / bare.deliveriesPerSecond
  return { ratio, isByCpu }
}

export function barsOf({ against, classes, stall }: Findings): Record<string, Bar> {
  const bars: Record<string, Bar> = {}
  const thousand = against.find((it) => it.size === 1_000)
  if (thousand) {
    bars.deliveries_over_bare_1000 = atLeast(ratioOf(thousand).ratio, 0.5)
    const { oursLatency, bareLatency } = thousand
    bars.p99_over_bare_1000 = below(oursLatency.p99 / bareLatency.p99, 3)
  }
  for (const { size, classes: count, hydrationsPerEvent } of classes) {
    bars[`hydrations_per_event_${size}_in_${count}`] = equal(hydrationsPerEvent, count)
  }
  bars.stalled_cut_off = equal(stall.ended, stall.stalled)
  return bars
}

export function markdownOf({ against, classes, stall }: Findings): string {
  const rows = against.flatMap((it) => [
    row(`Berth, ${it.size} subscribers`, it.ours, it.oursLatency, it.oursIdleKib),
    row(`bare \`ws\`, ${it.size} subscribers`, it.bare, it.bareLatency, it.bareIdleKib),
  ])
  const ratios = against.map((it) => {
    const { ratio, isByCpu } = ratioOf(it)
    const basis = isByCpu ? 'by processor time' : 'by deliveries per second'
    return `${ratio.toFixed(2)} of the bare broadcast at ${it.size} (${basis}; latency at ${round3(it.latencyAt)} events/s)`
  })
  const head = ['', 'events/s', 'deliveries/s', 'per cpu s', 'p50 ms', 'p99 ms', 'KiB each, idle']
  return [
    '![Deliveries of each server](fanout-benchmark.svg)',
    table(head, rows),
    `One class of authority: ${ratios.join(', ')}. On ${machine()}: the server alone on one core; all ` +
      'subscribers, which compare every message as bytes, and both subgraphs on another. Each event is ' +
      'hydrated from a second subgraph over HTTP; the bare server is sent the finished text, and is what ' +
      '`ws` can do at most. Latency counts from when an event was due, at a quarter of the bare ' +
      'server’s rate (half of what is wanted of ours).',
    table(
      ['subscribers in classes', 'events/s', 'hydrations per event'],
      classes.map((it) => [
        `${it.size} in ${it.classes}`,
        String(round3(it.eventsPerSecond)),
        String(round3(it.hydrationsPerEvent)),
      ]),
    ),
    `${stall.stalled} subscribers that stopped reading while ${round3(stall.sentMib)} MiB went to each: ` +
      `${stall.ended} cut off (${stall.told} of them read why: 4413), ${round3(stall.kibPerStalled)} KiB of the gateway’s memory for ` +
      'each at most.',
  ].join('\n\n')
}

/** Writes the section of `doc/performance.md` and its picture. */
export function write(findings: Findings): void {
  const isByCpu = findings.against.some((it) => ratioOf(it).isByCpu)
  const value = (it: Throughput) => (isByCpu ? it.deliveriesPerCpuSecond : it.deliveriesPerSecond)
  const groups = findings.against.map(({ size, ours, bare }) => ({
    heading: `${size} subscribers, one class`,
    bars: [
      { title: 'Berth, hydrated', value: value(ours), isOurs: true },
      { title: 'bare ws broadcast', value: value(bare), isOurs: false },
    ],
  }))
  const unit = isByCpu ? 'deliveries per processor second' : 'deliveries per second'
  writeSection(
    'fanout',
    markdownOf(findings),
    barChart('One event to many subscribers', unit, groups),
  )
}

function row(title: string, it: Throughput, latency: Latency, idleKib: number): string[] {
  const figures = [it.eventsPerSecond, it.deliveriesPerSecond, it.deliveriesPerCpuSecond]
  return [title, ...[...figures, latency.p50, latency.p99, idleKib].map((n) => String(round3(n)))]
}

import { machine, table, writeSection } from '../page.ts'
import { canPin } from '../processes.ts'
import { atLeast, atMost, type Bar, round3 } from '../statistics.ts'
import { barChart } from '../svg.ts'
import { CONNECTIONS, type Name, TITLES } from './contestants.ts'
import type { Latency } from './latency.ts'
import type { Memory } from './memory.ts'
import { type Operation, operations } from './operations.ts'
import type { Throughput, Throughputs } from './throughput.ts'

export type Findings = {
  readonly throughputs: Throughputs
  readonly latencies: Partial<Record<Name, Latency>>
  /** What the latencies were taken at. */
  readonly offeredPerSecond: number
  readonly memory: Memory | undefined
}

/** From this share of its processor on, a gateway was what held its own throughput up. */
const SATURATED = 0.9

type Basis = 'perSecond' | 'perCpuSecond'

/**
 * What ratios are taken from: requests per second where every gateway used its processor up; else
 * requests per second of its processor's time, since the load or the machine held the fastest up.
 */
export function basisOf(throughputs: Throughputs): Basis {
  const all = Object.values(throughputs).flatMap((of) => Object.values(of))
  const isSaturated = all.every((it) => it.cpuShare >= SATURATED || Number.isNaN(it.cpuShare))
  return isSaturated ? 'perSecond' : 'perCpuSecond'
}

/** The demands; one whose contestants were left out of the run is left out. */
export function barsOf({ throughputs, latencies, memory }: Findings): Record<string, Bar> {
  const basis = basisOf(throughputs)
  const bars: Record<string, Bar> = {}
  const ratio = (operation: Operation['name'], a: Name, ...others: Name[]) => {
    const of = throughputs[operation]
    const best = Math.max(...others.map((name) => of[name]?.[basis] ?? 0)) || Number.NaN
    return (of[a]?.[basis] ?? Number.NaN) / best
  }
  const want = (name: string, value: number, bar: (value: number) => Bar) => {
    if (Number.isFinite(value)) bars[name] = bar(value)
  }
  const hive: Name[] = ['hive-js', 'hive-js-dedup', 'hive-rust', 'hive-rust-dedup']
  const least = (demand: number) => (value: number) => atLeast(value, demand)
  want('entities_apollo_over_stock', ratio('entities', 'ours-apollo', 'stock'), least(3.5))
  want('entities_apollo_over_hive', ratio('entities', 'ours-apollo', ...hive), least(2))
  want('entities_trusted_over_stock', ratio('entities', 'ours-trusted', 'stock'), least(4.5))
  want('entities_trusted_over_limit', ratio('entities', 'ours-trusted', 'limit'), least(0.6))
  want('single_apollo_over_stock', ratio('single', 'ours-apollo', 'stock'), least(3.5))
  want('single_trusted_over_stock', ratio('single', 'ours-trusted', 'stock'), least(5.5))
  const stock = latencies.stock?.p99 ?? Number.NaN
  for (const face of ['apollo', 'trusted'] as const) {
    const ours = latencies[`ours-${face}`]?.p99 ?? Number.NaN
    want(`p99_${face}_over_stock`, ours / stock, (value) => atMost(value, 1))
  }
  if (memory) {
    const { warmMib, tenthsMib } = memory
    const after = tenthsMib.at(-1) ?? Number.NaN
    const most = Math.max(1.5, 1 + 150 / warmMib)
    want('memory_after_over_warm', after / warmMib, (value) => atMost(value, round3(most)))
    want('memory_after_over_half_way', after / (tenthsMib[4] ?? Number.NaN), (it) =>
      atMost(it, 1.1),
    )
  }
  return bars
}

/** The tables, as Markdown. */
export function markdownOf(findings: Findings): string {
  const { throughputs, latencies, offeredPerSecond, memory } = findings
  const basis = basisOf(throughputs)
  const names = namesOf(findings)
  const stock = (operation: Operation) => throughputs[operation.name].stock?.[basis]
  const throughputRows = names.map((name) => [
    TITLES[name],
    ...operations.flatMap((operation) => {
      const it = throughputs[operation.name][name]
      return it ? [...figures(it), times(it[basis], stock(operation))] : ['', '', '']
    }),
  ])
  const latencyRows = names.flatMap((name) => {
    const it = latencies[name]
    return it ? [[TITLES[name], it.p50.toFixed(2), it.p99.toFixed(2)]] : []
  })
  const head = ['', '50 entities: /s', '/cpu s', '× stock', 'one fetch: /s', '/cpu s', '× stock']
  const parts = [
    '![Requests per second of each gateway](gateway-benchmark.svg)',
    table(head, throughputRows),
    `Medians of interleaved rounds, on ${machine()}. “/s” are requests per second over ${CONNECTIONS} ` +
      `connections${canPin ? ', the gateway alone on one core and the load and all subgraphs on another' : ''}; ` +
      '“/cpu s” are requests per second of processor time of the gateway’s process. The ratios are of ' +
      (basis === 'perSecond'
        ? 'requests per second: every gateway used its core up.'
        : 'requests per second of processor time: not every gateway could use its core up.'),
    table([`At ${Math.round(offeredPerSecond)} requests/s`, 'p50 ms', 'p99 ms'], latencyRows),
    `Offered whether or not answers come, half of what Apollo Gateway takes; counted from when each ` +
      'was due. The 50-entity query.',
  ]
  if (memory) parts.push(memoryText(memory))
  return parts.join('\n\n')
}

/** Writes the section of `doc/performance.md` and its picture. */
export function write(findings: Findings): void {
  const basis = basisOf(findings.throughputs)
  const groups = operations.map((operation) => ({
    heading: operation.title,
    bars: namesOf(findings).flatMap((name) => {
      const value = findings.throughputs[operation.name][name]?.[basis]
      return value ? [{ title: TITLES[name], value, isOurs: name.startsWith('ours') }] : []
    }),
  }))
  const unit = basis === 'perSecond' ? 'requests per second' : 'requests per processor second'
  const picture = barChart('Gateways on Node, one core, the same subgraphs', unit, groups)
  writeSection('gateway', markdownOf(findings), picture)
}

function namesOf({ throughputs }: Findings): Name[] {
  return Object.keys(throughputs.entities) as Name[]
}

function figures({ perSecond, perCpuSecond }: Throughput): string[] {
  return [perSecond, perCpuSecond].map((value) => String(Math.round(value)))
}

function times(value: number, stock: number | undefined): string {
  return stock ? (value / stock).toFixed(2) : ''
}

function memoryText({ operations: count, warmMib, tenthsMib }: Memory): string {
  const [half, end] = [tenthsMib[4] ?? 0, tenthsMib.at(-1) ?? 0].map(Math.round)
  return `Memory of ours: ${Math.round(warmMib)} MiB warm, ${half} MiB after ${count / 2} operations of different text, ${end} MiB after ${count}.`
}

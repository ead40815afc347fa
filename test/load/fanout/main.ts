/**
 * One stream of hydrated events to many subscribers, against a bare broadcast of the same bytes.
 * `node test/load/fanout/main.ts [--quick] [--strict] [--write]`
 *
 * `--quick` takes less than a minute and says less; `--strict` fails when a bar is missed; `--write`
 * refreshes doc/performance.md and its picture.
 */
import { createProcesses, pinSelf } from '../processes.ts'
import { median } from '../statistics.ts'
import { type Crowd, openCrowd } from './crowd.ts'
import { measureLatency, measureThroughput, settle, type Throughput } from './deliveries.ts'
import {
  type Against,
  barsOf,
  type Classes,
  type Findings,
  type Latency,
  markdownOf,
  write,
} from './report.ts'
import { type Server, startBare, startOurs } from './servers.ts'
import { measureStall } from './stall.ts'
import { startSubgraphs } from './subgraphs.ts'

const isQuick = process.argv.includes('--quick')
const SIZES = [1_000, 5_000]
const WARM_CLIENTS = 50
const CLIENT_CORE = 1
const rounds = isQuick ? 1 : 5
const seconds = isQuick ? 1.5 : 4
const latencySeconds = isQuick ? 2 : 5

const since = performance.now()
await using processes = createProcesses()
pinSelf(CLIENT_CORE)
await using subgraphs = await startSubgraphs()
const findings = await measure()
const bars = barsOf(findings)
console.log(`\n${markdownOf(findings)}\n`)
console.log(`took ${((performance.now() - since) / 1000).toFixed(0)} s`)
if (process.argv.includes('--write')) write(findings)
const isMissed = Object.values(bars).some((bar) => !bar.ok)
if (isMissed && process.argv.includes('--strict')) process.exitCode = 1
console.log(JSON.stringify({ bench: 'fanout', bars }))

async function measure(): Promise<Findings> {
  const against: Against[] = []
  const classes: Classes[] = []
  for (const size of SIZES) {
    console.log(`${size} subscribers`)
    const [ours, bare] = [await startOurs(processes, subgraphs), await startBare(processes)]
    against.push(await measureAgainst(ours, bare, size, classes))
    await bare.stop()
    const most = isQuick && size > 1_000 ? [] : [100, size]
    for (const count of most) classes.push(await measureClasses(ours, size, count))
    await ours.stop()
  }
  console.log('subscribers that do not read')
  const ours = await startOurs(processes, subgraphs)
  const stall = await measureStall(ours)
  await ours.stop()
  return { against, classes, stall }
}

async function measureAgainst(
  ours: Server,
  bare: Server,
  size: number,
  classes: Classes[],
): Promise<Against> {
  const { crowd: ourCrowd, idleKib: oursIdleKib } = await openIdle(ours, size)
  const { crowd: bareCrowd, idleKib: bareIdleKib } = await openIdle(bare, size)
  const throughputs: { ours: Throughput; bare: Throughput }[] = []
  for (let round = 0; round <= rounds; round++) {
    const effort = { window: 4, seconds: round === 0 ? seconds / 2 : seconds }
    const before = subgraphs.hydrations
    const both = {
      ours: await measureThroughput(ours, ourCrowd, effort),
      bare: await measureThroughput(bare, bareCrowd, effort),
    }
    if (round === 0) continue // A warm-up.
    throughputs.push(both)
    console.log(`  ours ${line(both.ours)}\n  bare ${line(both.bare)}`)
    if (round > 1) continue
    const hydrationsPerEvent = (subgraphs.hydrations - before) / both.ours.events
    const { eventsPerSecond } = both.ours
    classes.push({ size, classes: 1, eventsPerSecond, hydrationsPerEvent })
  }
  const [oursMedian, bareMedian] = [
    medians(throughputs.map((it) => it.ours)),
    medians(throughputs.map((it) => it.bare)),
  ]
  const latencyAt = bareMedian.eventsPerSecond / 4
  const at = { eventsPerSecond: latencyAt, seconds: latencySeconds }
  const latencies: { ours: Latency; bare: Latency }[] = []
  for (let round = 1; round <= Math.min(3, rounds); round++) {
    const both = {
      ours: await measureLatency(ours, ourCrowd, at),
      bare: await measureLatency(bare, bareCrowd, at),
    }
    latencies.push(both)
    console.log(
      `  at ${latencyAt.toFixed(1)} events/s: p99 ours ${both.ours.p99.toFixed(1)} ms, bare ${both.bare.p99.toFixed(1)} ms`,
    )
  }
  for (const crowd of [ourCrowd, bareCrowd]) crowd.close()
  return {
    ...{ size, latencyAt, oursIdleKib, bareIdleKib },
    ours: oursMedian,
    bare: bareMedian,
    oursLatency: medianLatency(latencies.map((it) => it.ours)),
    bareLatency: medianLatency(latencies.map((it) => it.bare)),
  }
}

async function measureClasses(ours: Server, size: number, classes: number): Promise<Classes> {
  const crowd = await openCrowd(ours, size, classes)
  await settle(ours, crowd)
  const before = subgraphs.hydrations
  const window = classes > 100 ? 1 : 4
  const { events, eventsPerSecond } = await measureThroughput(ours, crowd, { window, seconds })
  const hydrationsPerEvent = (subgraphs.hydrations - before) / events
  crowd.close()
  console.log(
    `  in ${classes} classes: ${eventsPerSecond.toFixed(1)} events/s, ${hydrationsPerEvent} hydrations each`,
  )
  return { size, classes, eventsPerSecond, hydrationsPerEvent }
}

/** Opens subscribers and finds what each costs while nothing happens. */
async function openIdle(server: Server, size: number): Promise<{ crowd: Crowd; idleKib: number }> {
  const warm = await openCrowd(server, WARM_CLIENTS)
  await settle(server, warm)
  warm.close()
  const before = server.running.residentMib()
  const crowd = await openCrowd(server, size)
  const idleKib = ((server.running.residentMib() - before) * 1024) / size
  await settle(server, crowd)
  return { crowd, idleKib }
}

function medians(all: readonly Throughput[]): Throughput {
  const of = (key: keyof Throughput) => median(all.map((it) => it[key]))
  return {
    eventsPerSecond: of('eventsPerSecond'),
    deliveriesPerSecond: of('deliveriesPerSecond'),
    deliveriesPerCpuSecond: of('deliveriesPerCpuSecond'),
    cpuShare: of('cpuShare'),
    events: of('events'),
  }
}

function medianLatency(all: readonly Latency[]): Latency {
  return { p50: median(all.map((it) => it.p50)), p99: median(all.map((it) => it.p99)) }
}

function line({ eventsPerSecond, deliveriesPerSecond, cpuShare }: Throughput): string {
  return `${eventsPerSecond.toFixed(1)} events/s, ${deliveriesPerSecond.toFixed(0)} deliveries/s, ${(cpuShare * 100).toFixed(0)} % of its processor`
}

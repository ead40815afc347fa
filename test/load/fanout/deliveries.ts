import { percentile } from '../statistics.ts'
import type { Crowd } from './crowd.ts'
import type { Server } from './servers.ts'

/** A short text of what an event carries. */
export const NOTE = 'state changed; the node reported all of its GPUs healthy'

const PATIENCE_MS = 30_000
const QUIET_MS = 1_500

export type Throughput = {
  readonly eventsPerSecond: number
  readonly deliveriesPerSecond: number
  readonly deliveriesPerCpuSecond: number
  readonly cpuShare: number
  readonly events: number
}

/**
 * Sends events until everyone gets them: it may take several rounds until all subscribers have joined
 * the stream. Then nothing more is on its way.
 */
export async function settle(server: Server, crowd: Crowd): Promise<void> {
  const until = performance.now() + PATIENCE_MS
  for (let isWhole = false; !isWhole; ) {
    if (performance.now() > until) throw new Error('not every subscriber got an event in time')
    let got = 0
    const whole = Promise.withResolvers<void>()
    crowd.begin(NOTE, {
      delivered: () => ++got === crowd.readers.length && whole.resolve(),
      complete() {},
    })
    server.emit(0, NOTE)
    await Promise.race([whole.promise, quiet(() => got)])
    isWhole = got === crowd.readers.length
  }
}

/**
 * As fast as everyone takes them.
 *
 * @param window events that are under way at a time: more than one, so that nobody waits for the next
 */
export async function measureThroughput(
  server: Server,
  crowd: Crowd,
  { window, seconds }: { window: number; seconds: number },
): Promise<Throughput> {
  const cpuBefore = server.running.cpuSeconds()
  const since = performance.now()
  let sent = 0
  let done = 0
  const finished = Promise.withResolvers<void>()
  const send = () => server.emit(sent++, NOTE)
  crowd.begin(NOTE, {
    complete() {
      done++
      if (performance.now() - since < seconds * 1000) send()
      else if (done === sent) finished.resolve()
    },
  })
  for (let number = 0; number < window; number++) send()
  await inTime(finished.promise, () => `${done} of ${sent} events reached everyone`)
  const took = (performance.now() - since) / 1000
  assertRight(server, crowd)
  const cpu = server.running.cpuSeconds() - cpuBefore
  const deliveries = done * crowd.readers.length
  return {
    eventsPerSecond: done / took,
    deliveriesPerSecond: deliveries / took,
    deliveriesPerCpuSecond: deliveries / cpu,
    cpuShare: cpu / took,
    events: done,
  }
}

/**
 * Latency of every delivery, from when its event was due, at a fixed rate whether or not subscribers
 * have the events before.
 */
export async function measureLatency(
  server: Server,
  crowd: Crowd,
  { eventsPerSecond, seconds }: { eventsPerSecond: number; seconds: number },
): Promise<{ p50: number; p99: number }> {
  const total = Math.max(2, Math.round(eventsPerSecond * seconds))
  const latencies: number[] = []
  const finished = Promise.withResolvers<void>()
  const since = performance.now()
  const due = (number: number) => since + (number * 1000) / eventsPerSecond
  let done = 0
  crowd.begin(NOTE, {
    delivered: (number) => void latencies.push(performance.now() - due(number)),
    complete: () => ++done === total && finished.resolve(),
  })
  for (let number = 0; number < total; number++) {
    const left = due(number) - performance.now()
    if (left > 0) await new Promise((later) => setTimeout(later, left))
    server.emit(number, NOTE)
  }
  await inTime(finished.promise, () => `${done} of ${total} events reached everyone`)
  assertRight(server, crowd)
  return { p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99) }
}

function assertRight({ running }: Server, crowd: Crowd): void {
  running.assertAlive()
  if (crowd.wrong === 0) return
  throw new Error(`${running.name}: ${crowd.wrong} wrong messages, ${crowd.firstWrong}`)
}

/** Resolves when a count has not changed for long enough to say that it will not. */
async function quiet(count: () => number): Promise<void> {
  for (let seen = -1, since = performance.now(); ; ) {
    await new Promise((later) => setTimeout(later, 100))
    if (count() !== seen) since = performance.now()
    seen = count()
    if (performance.now() - since > QUIET_MS) return
  }
}

async function inTime(what: Promise<void>, state: () => string): Promise<void> {
  const limit = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => limit.reject(new Error(`gave up waiting: ${state()}`)),
    PATIENCE_MS * 2,
  )
  await Promise.race([what, limit.promise]).finally(() => clearTimeout(timer))
}

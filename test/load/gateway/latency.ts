import { median, percentile } from '../statistics.ts'
import type { Contestant, Name } from './contestants.ts'
import { entities, requestsOf } from './operations.ts'

/** Milliseconds from when a request was due, medians of the rounds. */
export type Latency = { readonly p50: number; readonly p99: number }

/**
 * Latency of the 50-entity query at one offered load for all, in rounds. Requests come whether or not
 * the ones before are answered, at the same moments for every contestant.
 *
 * @throws {Error} on any wrong answer
 */
export async function measureLatency(
  contestants: readonly Contestant[],
  tokens: readonly string[],
  { ratePerSecond, rounds, seconds }: { ratePerSecond: number; rounds: number; seconds: number },
): Promise<Partial<Record<Name, Latency>>> {
  const samples = new Map<Name, Latency[]>()
  console.log(`latency at ${ratePerSecond.toFixed(0)}/s`)
  for (let round = 1; round <= rounds; round++) {
    for (const { name, face, client } of contestants) {
      const next = requestsOf(entities, face, tokens)
      const measured = await client.offer(next, ratePerSecond, seconds)
      if (measured.failures > 0) throw new Error(`${name} failed: ${measured.firstFailure}`)
      const p50 = percentile(measured.latenciesMs, 0.5)
      const p99 = percentile(measured.latenciesMs, 0.99)
      console.log(`  ${name}: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`)
      samples.set(name, [...(samples.get(name) ?? []), { p50, p99 }])
    }
  }
  return Object.fromEntries(
    [...samples].map(([name, all]) => [
      name,
      { p50: median(all.map((it) => it.p50)), p99: median(all.map((it) => it.p99)) },
    ]),
  )
}

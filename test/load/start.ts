/**
 * How long the platform takes to be ready: cold (no state: databases are made, migrated, seeded) and
 * warm (the same state again), in turns. `node test/load/start.ts [--quick]`
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { startPlatform } from '@berth/platform/run/platform'
import { atMost, median } from './statistics.ts'

const WANT_RATIO = 1
const rounds = process.argv.includes('--quick') ? 1 : 5

const cold: number[] = []
const warm: number[] = []
for (let round = 0; round < rounds; round++) {
  const stateDir = mkdtempSync(path.join(os.tmpdir(), 'berth-start-'))
  chmodSync(stateDir, 0o755) // The servers' own account enters it when this runs as root.
  cold.push(await secondsToReady(stateDir))
  warm.push(await secondsToReady(stateDir))
  rmSync(stateDir, { recursive: true, force: true })
}
const ratio = median(warm) / median(cold)
console.log(`cold ${spread(cold)}`)
console.log(`warm ${spread(warm)}`)
console.log(
  JSON.stringify({
    bench: 'start',
    bars: { warm_over_cold: atMost(ratio, WANT_RATIO) },
  }),
)

async function secondsToReady(stateDir: string): Promise<number> {
  const since = performance.now()
  const platform = await startPlatform({ stateDir, basePort: 0, development: true })
  const seconds = (performance.now() - since) / 1000
  await platform.stop()
  return seconds
}

function spread(values: readonly number[]): string {
  const [least, most] = [Math.min(...values), Math.max(...values)]
  return `${round2(median(values))} s (${round2(least)} to ${round2(most)}, ${values.length} runs)`
}

function round2(value: number): number {
  return Math.round(value * 100) / 100
}

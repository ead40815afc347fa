/**
 * Our gateway against others, over the same subgraphs. `node test/load/gateway/main.ts [--quick]
 * [--strict] [--write] [--only=stock,limit]`
 *
 * `--quick` takes less than a minute and says less; `--strict` fails when a bar is missed; `--write`
 * refreshes doc/performance.md and its picture; `--only` leaves contestants out.
 */
import { createProcesses, type Processes, pinSelf } from '../processes.ts'
import { type Name, startContestants, startOurs } from './contestants.ts'
import { installContestants } from './install.ts'
import { measureLatency } from './latency.ts'
import { measureMemory } from './memory.ts'
import { barsOf, type Findings, markdownOf, write } from './report.ts'
import { measureThroughput } from './throughput.ts'
import { createWorld, LOAD_CORE, type World } from './world.ts'

const isQuick = process.argv.includes('--quick')
const only = process.argv
  .find((it) => it.startsWith('--only='))
  ?.slice('--only='.length)
  .split(',')
const isWanted = (name: Name) => only?.includes(name) ?? true

const throughput = isQuick
  ? { rounds: 1, warmSeconds: 0.4, leadSeconds: 0.1, seconds: 0.5 }
  : { rounds: 5, warmSeconds: 2, leadSeconds: 0.3, seconds: 1.5 }
const latency = isQuick ? { rounds: 1, seconds: 0.5 } : { rounds: 3, seconds: 3 }
const distinct = isQuick ? 10_000 : 100_000

await installContestants()
const since = performance.now()
await using processes = createProcesses()
pinSelf(LOAD_CORE)
using world = await createWorld(processes)
const findings = await measure(processes, world)
const bars = barsOf(findings)
console.log(`\n${markdownOf(findings)}\n`)
console.log(`took ${((performance.now() - since) / 1000).toFixed(0)} s`)
if (process.argv.includes('--write')) write(findings)
const isMissed = Object.values(bars).some((bar) => !bar.ok)
if (isMissed && process.argv.includes('--strict')) process.exitCode = 1
console.log(JSON.stringify({ bench: 'gateway', bars }))

async function measure(processes: Processes, world: World): Promise<Findings> {
  const { tokens } = world.tokens
  console.log('starting the contestants')
  const contestants = await startContestants(processes, world, isWanted)
  const throughputs = await measureThroughput(contestants, tokens, throughput)
  const offeredPerSecond = (throughputs.entities.stock?.perSecond ?? 200) / 2
  const latencies = await measureLatency(contestants, tokens, {
    ratePerSecond: offeredPerSecond,
    ...latency,
  })
  for (const { client, running } of contestants) {
    await client.close()
    await running.stop()
  }
  if (!isWanted('ours-apollo'))
    return { throughputs, latencies, offeredPerSecond, memory: undefined }
  const [fresh] = await startOurs(processes, world, ['ours-apollo'])
  if (!fresh) throw new Error('ours did not start')
  const memory = await measureMemory(fresh, tokens, distinct)
  await fresh.client.close()
  return { throughputs, latencies, offeredPerSecond, memory }
}

/**
 * How soon a change of a policy is everywhere, also when its messages are lost, and what rules cost.
 * `node test/load/policy/main.ts [--quick] [--strict] [--write]`
 *
 * `--quick` takes less than a minute and says less; `--strict` fails when a bar is missed; `--write`
 * refreshes doc/performance.md.
 */
import { createLog } from '@berth/platform/log'
import { closeRedis, openRedis } from '@berth/platform/pubsub'
import { openTestPlatform } from '../../scenario/test-platform.ts'
import { createProcesses } from '../processes.ts'
import { createChanges } from './changes.ts'
import { barsOf, type Findings, markdownOf, write } from './report.ts'
import { measureShield } from './shield.ts'

const isQuick = process.argv.includes('--quick')
const effort = isQuick ? { rounds: 3, seconds: 1.5 } : { rounds: 7, seconds: 4 }
const changes = isQuick ? 30 : 200
const lostChanges = isQuick ? 4 : 20

const since = performance.now()
const findings: Findings = { ...(await measureChanges()), shield: await measureCosts() }
const bars = barsOf(findings)
console.log(`\n${markdownOf(findings)}\n`)
console.log(`took ${((performance.now() - since) / 1000).toFixed(0)} s`)
if (process.argv.includes('--write')) write(findings)
const isMissed = Object.values(bars).some((bar) => !bar.ok)
if (isMissed && process.argv.includes('--strict')) process.exitCode = 1
console.log(JSON.stringify({ bench: 'policy', bars }))

/** Over the whole platform: what else it does, it does. */
async function measureChanges() {
  console.log('starting the platform')
  const replicas = { gateway: 2, policy: 2, notifications: 2 }
  const platform = await openTestPlatform(replicas, { env: { LOG_LEVEL: 'warn' } })
  const log = createLog({ service: 'bench', instance: 'bench', level: 'warn' })
  const redis = openRedis(String(platform.platform.urls.redis), log)
  const changing = await createChanges(platform)
  try {
    console.log(`${changes} changes of each of two policies`)
    const told = await changing.measure(changes)
    console.log(`${lostChanges} of each, with every message lost`)
    await redis.acl('SETUSER', 'default', '-publish')
    const lost = await changing.measure(lostChanges)
    return { told, lost }
  } finally {
    changing.close()
    await closeRedis(redis)
    await platform.stop()
  }
}

async function measureCosts() {
  console.log('fifty entities, with rules and without')
  await using processes = createProcesses()
  return await measureShield(processes, effort)
}

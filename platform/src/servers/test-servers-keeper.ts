/** Keeps the test servers of one checkout. Started by `acquireTestServers`; the argument is its home. */
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { berthHome } from './home.ts'
import { tryLock } from './lock.ts'
import { stopOrphans } from './process.ts'
import { startServers } from './start-servers.ts'
import { isUsed, type TestServers, testPlaces } from './test-servers.ts'

const IDLE_MS = Number(process.env.BERTH_TEST_IDLE_SECONDS ?? 300) * 1000
const LOOK_MS = Math.min(2000, IDLE_MS)

const places = testPlaces(process.argv[2] ?? '')
let isUp = false
let isTold = false
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.on(signal, () => {
    isTold = true
    if (isUp) void stop() // What is starting would be left behind: it is stopped when it is up.
  })

// Held for as long as this process lives. Of two keepers, and of one that comes too late, none is
// needed.
if (!(await isOnlyKeeper()) || !isUsed(places)) process.exit(0)
await stopOrphans(places.run)
for (const name of ['redis', 'nats'])
  rmSync(path.join(places.home, name), { recursive: true, force: true })

const started = await startServers({
  home: places.home,
  servers: berthHome().servers,
  places,
  basePort: 0,
  durable: false,
  withSshd: true,
  onEvent: ({ name, what, why }) => console.log(new Date().toISOString(), name, what, why),
}).catch((error: Error) => {
  writeFileSync(places.failure, error.message)
  process.exit(1)
})

isUp = true
if (isTold) await stop()

const { urls, binaries } = started
const servers: TestServers = {
  postgresAdminUrl: urls.postgres,
  redisUrl: urls.redis,
  natsUrl: urls.nats,
  sshd: binaries.sshd,
  binaries: { redis: binaries['redis-server'], nats: binaries['nats-server'] },
}
writeFileSync(`${places.state}.new`, JSON.stringify({ pid: process.pid, servers }), { mode: 0o600 })
renameSync(`${places.state}.new`, places.state)

process.on('uncaughtException', (error) => {
  console.error(error)
  void stop()
})
let lastUsed = Date.now()
setInterval(() => {
  if (!existsSync(places.home)) void stop()
  else if (isUsed(places)) lastUsed = Date.now()
  else if (Date.now() - lastUsed > IDLE_MS) stopIfUnused()
}, LOOK_MS)

function stopIfUnused(): void {
  // Under this lock nobody can be handed servers that are about to stop.
  const alone = tryLock(places.acquire)
  if (alone && !isUsed(places)) void stop()
  else alone?.release()
}

/** Tries for a moment, because whoever looks for a keeper takes its lock for an instant. */
async function isOnlyKeeper(): Promise<boolean> {
  for (let tries = 0; tries < 100; tries++) {
    if (tryLock(places.keeper)) return true
    await setTimeout(10)
  }
  return false
}

async function stop(): Promise<void> {
  rmSync(places.state, { force: true })
  await started.stop()
  process.exit(0)
}

import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { serverAccount } from '@berth/platform/servers/account'
import { freeBasePort } from '@berth/platform/servers/ports'
import { redisServer } from '@berth/platform/servers/redis'
import { supervise } from '@berth/platform/servers/supervise'
import { acquireTestServers } from '@berth/platform/servers/test-servers'

export type OwnRedis = AsyncDisposable & {
  readonly url: string
  /** Ends it by SIGKILL and leaves it down; what it was given is in its file. */
  kill(): Promise<void>
  start(): Promise<void>
}

/** A Redis of this test's own, to be killed. */
export async function ownRedis(): Promise<OwnRedis> {
  const { binaries } = await acquireTestServers()
  const root = mkdtempSync(path.join(os.tmpdir(), 'berth-redis-'))
  chmodSync(root, 0o755)
  const places = { run: path.join(root, 'run'), log: path.join(root, 'log') }
  for (const place of Object.values(places)) mkdirSync(place)
  const { url, program } = redisServer({
    home: path.join(root, 'redis'),
    binary: binaries.redis,
    port: await freeBasePort([0]),
    password: randomBytes(8).toString('hex'),
    account: serverAccount(),
    durable: true,
  })
  const redis = supervise(program, places)
  await redis.start()
  return {
    url,
    kill: () => redis.down('SIGKILL'),
    start: () => redis.start(),
    async [Symbol.asyncDispose]() {
      await redis.stop()
      rmSync(root, { recursive: true, force: true })
    },
  }
}

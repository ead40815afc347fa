import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { serverAccount } from '../servers/account.ts'
import { natsServer } from '../servers/nats.ts'
import { freeBasePort } from '../servers/ports.ts'
import { redisServer } from '../servers/redis.ts'
import { supervise } from '../servers/supervise.ts'
import { testServers } from './servers.ts'

export type OwnServer = AsyncDisposable & {
  readonly url: string
  start(): Promise<void>
  /** SIGKILL by default; stays down until it is started. */
  stop(signal?: NodeJS.Signals): Promise<void>
  /** It is there, and does not answer. */
  freeze(): void
  thaw(): void
  /** Keeps a copy of its data as it is now. */
  snapshot(): void
  /** Puts that copy, or a part of it, back in place of its data, while it is down. */
  restore(part?: string): void
}

/** A running Redis or NATS of the test's own, to be stopped, killed and robbed of its data. */
export async function ownServer(kind: 'redis' | 'nats'): Promise<OwnServer> {
  const { binaries } = await testServers()
  const root = mkdtempSync(path.join(os.tmpdir(), `berth-own-${kind}-`))
  chmodSync(root, 0o755)
  const options = {
    home: path.join(root, 'data'),
    port: await freeBasePort([0]),
    password: 'test',
    account: serverAccount(),
  }
  const { url, program } =
    kind === 'redis'
      ? redisServer({ ...options, binary: binaries.redis, durable: true })
      : natsServer({ ...options, binary: binaries.nats })
  const server = supervise(program, { run: path.join(root, 'run'), log: path.join(root, 'log') })
  await server.start()
  const kill = () => server.kill('SIGKILL')
  process.once('exit', kill)
  return {
    url,
    start: () => server.start(),
    stop: (signal = 'SIGKILL') => server.down(signal),
    freeze: () => server.kill('SIGSTOP'),
    thaw: () => server.kill('SIGCONT'),
    snapshot: () => copy(options.home, `${options.home}.snapshot`),
    restore: (part = '') =>
      copy(path.join(`${options.home}.snapshot`, part), path.join(options.home, part)),
    async [Symbol.asyncDispose]() {
      process.off('exit', kill)
      await server.down('SIGKILL')
      rmSync(root, { recursive: true, force: true })
    },
  }
}

/** With owners, which Node's own copy does not keep. */
function copy(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true })
  execFileSync('cp', ['-a', from, to])
}

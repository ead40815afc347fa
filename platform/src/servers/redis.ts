import { chownSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Account, assertReachable, privateDirectory } from './account.ts'
import type { Server } from './postgres.ts'
import { expectAnswer } from './probe.ts'
import type { Binary } from './provision.ts'

export type RedisOptions = {
  readonly home: string
  readonly binary: Binary
  readonly port: number
  readonly password: string
  readonly account: Account | undefined
  readonly durable: boolean
}

/** Redis for state: append-only, and it refuses writes rather than evicting when memory is full. */
export function redisServer(options: RedisOptions): Server {
  const { home, binary, port, password, account, durable } = options
  privateDirectory(home, account)
  assertReachable(home, account)
  const config = path.join(home, 'redis.conf')
  const lines = [
    'bind 127.0.0.1',
    `port ${port}`,
    `requirepass ${password}`,
    `dir "${home}"`,
    'databases 256',
    'maxmemory-policy noeviction',
    'daemonize no',
    'save ""',
    `appendonly ${durable ? 'yes' : 'no'}`,
    'appendfsync everysec',
  ]
  // In a file of the account's own, since arguments can be read by every user of the machine.
  writeFileSync(config, `${lines.join('\n')}\n`, { mode: 0o600 })
  if (account) chownSync(config, account.uid, account.gid)
  const PING = `*2\r\n$4\r\nAUTH\r\n$${password.length}\r\n${password}\r\n*1\r\n$4\r\nPING\r\n`
  return {
    url: `redis://:${password}@127.0.0.1:${port}`,
    program: {
      name: 'redis',
      file: binary.file,
      args: [config],
      env: binary.env,
      account,
      stopSignal: 'SIGTERM',
      stopSeconds: 10,
      readySeconds: 30,
      // While it loads its file it answers LOADING, and is not ready.
      ready: () => expectAnswer(port, PING, /\+PONG/),
    },
  }
}

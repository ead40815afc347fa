import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { SetupError } from './setup-error.ts'

/** Ports of one platform: the base and the 99 after it. */
export const PORT_RANGE = 100

/** @throws {SetupError} naming the first port that is taken, and its holder where that is known. */
export async function assertFree(ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    if (await isFree(port)) continue
    const holder = holderOf(port)
    throw new SetupError(
      `Port ${port} on 127.0.0.1 is taken${holder ? ` by ${holder}` : ''}: stop it, or choose another range with BERTH_PORT`,
    )
  }
}

/**
 * A base port whose offsets are all free now. It lies below the range that the kernel gives to
 * outgoing connections, so that a server that is restarted finds its port again.
 */
export async function freeBasePort(offsets: readonly number[]): Promise<number> {
  for (let tries = 0; tries < 200; tries++) {
    const base = 10_000 + Math.floor(Math.random() * 200) * PORT_RANGE
    const free = await Promise.all(offsets.map((offset) => isFree(base + offset)))
    if (free.every(Boolean)) return base
  }
  throw new SetupError('No range of free ports was found between 10000 and 30000')
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () =>
      server.close(() => resolve(true)),
    )
  })
}

/** `name (pid)` of the process that listens, when the system tells this user. */
function holderOf(port: number): string | undefined {
  try {
    if (process.platform === 'linux') return linuxHolder(port)
    const [pid] = execFileSync('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-t'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
      .toString()
      .split('\n')
    return pid ? `process ${pid}` : undefined
  } catch {
    return undefined
  }
}

function linuxHolder(port: number): string | undefined {
  const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const LISTEN = '0A'
  const inodes = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((table) =>
    readFileSync(table, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((column) => column[1]?.endsWith(hex) && column[3] === LISTEN)
      .map((column) => `socket:[${column[9]}]`),
  )
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`))
        if (inodes.includes(readlinkSync(`/proc/${pid}/fd/${fd}`)))
          return `${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()} (process ${pid})`
    } catch {
      // Another user's process, or one that has just ended.
    }
  }
  return undefined
}

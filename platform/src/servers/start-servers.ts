import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { serverAccount, sharedDirectory } from './account.ts'
import { readJson, writeJson } from './json-file.ts'
import { natsServer } from './nats.ts'
import { freeBasePort } from './ports.ts'
import { postgresServer } from './postgres.ts'
import type { Places } from './process.ts'
import { type Binary, findServers, type ServerName } from './provision.ts'
import { redisServer } from './redis.ts'
import { type Supervised, type SupervisionEvent, supervise } from './supervise.ts'

/** Offsets from the base port. */
export const SERVER_PORTS = { postgres: 40, redis: 41, nats: 42 } as const

export type Kind = keyof typeof SERVER_PORTS

export type StartServersOptions = {
  readonly home: string
  readonly servers: string
  readonly places: Places
  /** 0: any range that is free. */
  readonly basePort: number
  readonly durable: boolean
  /** URLs of servers that run elsewhere: these are not started. */
  readonly external?: Partial<Record<Kind, string>>
  /** Whether sshd is to be found too (it is not started). */
  readonly withSshd?: boolean
  readonly onProgress?: (step: string) => void
  readonly onEvent?: (event: SupervisionEvent) => void
  /** Told of each server before it starts, so that it can be stopped while it does. */
  readonly onUnit?: (server: Supervised) => void
}

export type Servers = {
  readonly urls: Record<Kind, string>
  readonly binaries: Record<ServerName, Binary>
  readonly supervised: readonly Supervised[]
  stop(): Promise<void>
}

/**
 * Postgres, Redis and NATS on loopback, with passwords of their own that stay with their data.
 *
 * @throws {SetupError} when one cannot be had or does not start; none runs on in that case
 */
export async function startServers(options: StartServersOptions): Promise<Servers> {
  const { home, servers, places, durable, external = {}, onProgress = () => {} } = options
  const account = serverAccount()
  sharedDirectory(home)
  const kinds = (Object.keys(SERVER_PORTS) as Kind[]).filter((kind) => !external[kind])
  const base = options.basePort || (await freeBasePort(Object.values(SERVER_PORTS)))
  const names: ServerName[] = [
    ...(external.redis ? [] : (['redis-server'] as const)),
    ...(external.nats ? [] : (['nats-server'] as const)),
    ...(options.withSshd ? (['sshd'] as const) : []),
  ]
  const binaries = await findServers(names, { servers, account, onProgress })
  const passwords = passwordsIn(home)
  const make = (kind: Kind) => {
    const given = { port: base + SERVER_PORTS[kind], password: passwords[kind], account, durable }
    const at = { ...given, home: path.join(home, kind) }
    if (kind === 'postgres') return postgresServer({ ...at, servers })
    if (kind === 'redis') return redisServer({ ...at, binary: binaries['redis-server'] })
    return natsServer({ ...at, binary: binaries['nats-server'] })
  }

  const urls: Partial<Record<Kind, string>> = { ...external }
  const supervised: Supervised[] = []
  const stop = async () => {
    await Promise.all(supervised.map((server) => server.stop()))
  }
  const started = await Promise.allSettled(
    kinds.map(async (kind) => {
      const since = performance.now()
      const { url, program } = await make(kind)
      urls[kind] = url
      const server = supervise(program, places, options.onEvent)
      supervised.push(server)
      options.onUnit?.(server)
      await server.start()
      const seconds = ((performance.now() - since) / 1000).toFixed(1)
      onProgress(`${TITLES[kind]} on 127.0.0.1:${base + SERVER_PORTS[kind]} (${seconds} s)`)
    }),
  )
  const failed = started.find((result) => result.status === 'rejected')
  if (failed) {
    await stop()
    throw failed.reason
  }
  return { urls: urls as Record<Kind, string>, binaries, supervised, stop }
}

const TITLES: Record<Kind, string> = { postgres: 'Postgres', redis: 'Redis', nats: 'NATS' }

function passwordsIn(home: string): Record<Kind, string> {
  const directory = path.join(home, 'keys')
  const file = path.join(directory, 'servers.json')
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  chmodSync(directory, 0o700)
  const known = readJson<Record<Kind, string>>(
    file,
    `It holds the password of the Postgres in ${home}: restore it, or remove ${home} and lose its data`,
  )
  if (known) return known
  const kinds = Object.keys(SERVER_PORTS)
  const made = Object.fromEntries(kinds.map((kind) => [kind, randomBytes(18).toString('hex')]))
  writeJson(file, made, 0o600)
  return made as Record<Kind, string>
}

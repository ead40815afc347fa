import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { connect } from 'nats'
import { acquireTestServers, type TestServers } from '../servers/test-servers.ts'

export type TestRedis = AsyncDisposable & {
  /** Its `keyPrefix` keeps keys, and channels of `createHints`, apart from other tests'. */
  readonly url: string
  /** Deletes what the test left. */
  drop(): Promise<void>
}

export type TestNats = AsyncDisposable & {
  /** Its `namespace` keeps streams and subjects of `openBus` apart from other tests'. */
  readonly url: string
  /** What the namespace makes of a domain's stream name, for tests that harm it. */
  streamOf(domain: string): string
  /** Deletes the streams that the test made. */
  drop(): Promise<void>
}

let acquired: Promise<TestServers> | undefined

/** The servers that all tests share, started if they do not run. */
export function testServers(): Promise<TestServers> {
  acquired ??= acquireTestServers()
  return acquired
}

/** A part of the shared Redis. A test that stops Redis starts its own with `redisServer`. */
export async function testRedis(): Promise<TestRedis> {
  const { redisUrl } = await testServers()
  const prefix = `${uniqueName()}:`
  const url = new URL(redisUrl)
  url.searchParams.set('keyPrefix', prefix)

  async function drop(): Promise<void> {
    const redis = new Redis(redisUrl)
    const keys = redis.scanStream({ match: `${prefix}*`, count: 1_000 })
    for await (const page of keys) {
      const found = page as string[]
      if (found.length > 0) await redis.unlink(found)
    }
    redis.disconnect()
  }
  return { url: url.href, drop, [Symbol.asyncDispose]: drop }
}

/** A part of the shared NATS. A test that stops NATS starts its own with `natsServer`. */
export async function testNats(): Promise<TestNats> {
  const { natsUrl } = await testServers()
  const namespace = uniqueName()
  const url = new URL(natsUrl)
  url.searchParams.set('namespace', namespace)

  async function drop(): Promise<void> {
    const { host, username, password } = new URL(natsUrl)
    const connection = await connect({ servers: host, user: username, pass: password })
    const { streams } = await connection.jetstreamManager()
    for await (const { config } of streams.list()) {
      if (config.name.startsWith(`${namespace.toUpperCase()}_`)) await streams.delete(config.name)
    }
    await connection.close()
  }
  return {
    url: url.href,
    streamOf: (domain) => `${namespace}_berth_${domain}`.toUpperCase(),
    drop,
    [Symbol.asyncDispose]: drop,
  }
}

/** Unique over processes. */
export function uniqueName(): string {
  return `t${process.pid}x${randomBytes(4).toString('hex')}`
}

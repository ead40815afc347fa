import { Redis, type RedisOptions } from 'ioredis'
import type { Log } from './log.ts'

/**
 * A connection to Redis that reconnects for ever. While it is away a command waits for one attempt
 * to connect again, two seconds at most, and then fails: a short break costs nobody an error.
 * `keyPrefix` in the URL's query is a namespace: keys carry it, and so do the channels of
 * `createHints`.
 */
export function openRedis(url: string, log: Log, options: RedisOptions = {}): Redis {
  const redis = new Redis(url, {
    maxRetriesPerRequest: 1,
    commandTimeout: 2_000,
    connectTimeout: 2_000,
    retryStrategy: (attempt) => Math.min(50 * 2 ** attempt, 2_000),
    ...options,
  })
  logConnection(redis, log)
  return redis
}

/** One line when the connection is lost and one when it is back, however many attempts between. */
export function logConnection(redis: Redis, log: Log): void {
  let isLost = false
  redis.on('error', (error) => {
    if (!isLost) log.error({ err: error }, 'Redis is unreachable')
    isLost = true
  })
  redis.on('ready', () => {
    if (isLost) log.info('Redis is back')
    isLost = false
  })
}

/** Ends the connection whether or not Redis still answers. */
export async function closeRedis(redis: Redis): Promise<void> {
  if (redis.status === 'ready') await redis.quit().catch(() => undefined)
  redis.disconnect()
}

import { createHash, randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { type Clock, systemClock } from './clock.ts'
import type { Metrics } from './metrics.ts'

export type OneTimeTokens<Record> = {
  /** @returns the token; the store keeps its hash only */
  mint(record: Record, ttlSeconds: number): Promise<string>
  /**
   * The record, to one caller and never again.
   *
   * @returns null when the token is unknown, taken, expired, or of an earlier boot
   * @throws when Redis does not answer: that is not a refusal
   */
  take(token: string): Promise<Record | null>
}

/**
 * Single-use tokens in Redis. A snapshot restored after a crash cannot revive one: the record
 * carries its own expiry and the boot epoch of the Redis that it was minted in.
 *
 * @param purpose keeps tokens of one kind from being taken as another
 * @param bootEpoch the run id of the Redis server unless given
 */
export function createOneTimeTokens<Record>({
  redis,
  purpose,
  metrics,
  clock = systemClock,
  bootEpoch = () => redisBootEpoch(redis),
}: {
  redis: Redis
  purpose: string
  metrics: Metrics
  clock?: Clock
  bootEpoch?: () => Promise<string>
}): OneTimeTokens<Record> {
  const taken = metrics.counter('berth_one_time_tokens_total', 'Tokens presented', [
    'purpose',
    'outcome',
  ])
  const count = (outcome: 'consumed_ok' | 'replay_rejected') => taken.inc({ purpose, outcome })
  const keyOf = (token: string) =>
    `one-time:${purpose}:${createHash('sha256').update(token).digest('hex')}`

  return {
    async mint(record, ttlSeconds) {
      if (!(ttlSeconds > 0)) throw new RangeError('a token lives for a while')
      const token = randomBytes(32).toString('base64url')
      const expiresAt = clock.now().getTime() + ttlSeconds * 1000
      const stored: Stored<Record> = { record, expiresAt, epoch: await bootEpoch() }
      await redis.set(keyOf(token), JSON.stringify(stored), 'PX', Math.ceil(ttlSeconds * 1000))
      return token
    },
    async take(token) {
      const [epoch, text] = await Promise.all([bootEpoch(), redis.getdel(keyOf(token))])
      const stored = text === null ? null : (JSON.parse(text) as Stored<Record>)
      if (!stored || stored.epoch !== epoch || stored.expiresAt <= clock.now().getTime()) {
        count('replay_rejected')
        return null
      }
      count('consumed_ok')
      return stored.record
    },
  }
}

/** Changes whenever the Redis server starts anew, as it must to load a snapshot. */
export async function redisBootEpoch(redis: Redis): Promise<string> {
  const runId = /^run_id:(\w+)/m.exec(await redis.info('server'))?.[1]
  if (!runId) throw new Error('Redis does not tell its run id')
  return runId
}

type Stored<Record> = { record: Record; expiresAt: number; epoch: string }

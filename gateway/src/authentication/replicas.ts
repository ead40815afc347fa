import { within } from '@berth/platform/abort'
import { newUuid } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { openRedis } from '@berth/platform/pubsub'

type Redis = ReturnType<typeof openRedis>

/** The gateways that run now, as each of them says in Redis. */
export type Replicas = AsyncDisposable & {
  /** This one has done it. Never rejects. */
  confirm(what: string): Promise<void>
  /** How many have, and of how many; null when Redis does not say. */
  confirmed(what: string): Promise<{ confirmed: number; known: number } | null>
}

const SET = 'gateways'
const PRESENT_SECONDS = 15
const BEAT_MS = 5_000
const KEPT_SECONDS = 60
const TIMEOUT_MS = 250

/** By the clock of Redis, since those of the gateways may differ. Returns how many there are. */
const PRESENT = `
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
return redis.call('ZCARD', KEYS[1])
`

/** @param instance for whoever looks into Redis; two may have the same */
export function createReplicas({
  redis,
  instance,
  log,
}: {
  redis: Pick<Redis, 'eval' | 'zrem' | 'sadd' | 'scard' | 'expire' | 'status' | 'on' | 'off'>
  instance: string
  log: Log
}): Replicas {
  const own = `${instance}:${newUuid()}`
  const beat = () => void asked(present)
  const timer = setInterval(beat, BEAT_MS)
  timer.unref()
  redis.on('ready', beat)
  beat()
  return {
    async confirm(what) {
      await asked(async () => {
        await redis.sadd(keyOf(what), own)
        await redis.expire(keyOf(what), KEPT_SECONDS)
      })
    },
    confirmed: (what) =>
      asked(async () => ({ known: await present(), confirmed: await redis.scard(keyOf(what)) })),
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      redis.off('ready', beat)
      await asked(() => redis.zrem(SET, own))
    },
  }

  async function present(): Promise<number> {
    return Number(await redis.eval(PRESENT, 1, SET, own, PRESENT_SECONDS))
  }

  async function asked<T>(question: () => Promise<T>): Promise<T | null> {
    if (redis.status !== 'ready') return null
    try {
      return await within(TIMEOUT_MS, question(), 'Redis is slow')
    } catch (error) {
      log.debug({ err: error }, 'the gateways that run are not known now')
      return null
    }
  }
}

function keyOf(what: string): string {
  return `confirmed:${what}`
}

import { within } from '@berth/platform/abort'
import type { Clock } from '@berth/platform/clock'
import type { Id } from '@berth/platform/ids'
import type { Log } from '@berth/platform/log'
import type { openRedis } from '@berth/platform/pubsub'
import type { Concern } from '@berth/platform/revocations'
import { z } from 'zod'

/** A session, as it is known for a while; times in milliseconds since the epoch. */
export type CachedSession = {
  readonly id: Id<'ses'>
  readonly issuer: string
  readonly subject: string
  readonly expiresAt: number
  readonly idleUntil: number
  readonly refreshAt: number | null
}

/** What all gateways remember together, in Redis, by the hash of the cookie. */
export type SessionCache = {
  /** Never rejects: without Redis nothing is known. */
  get(tokenHash: string): Promise<Slot>
  /** From now on this gateway believes nothing of it that was kept before. */
  distrust(concern: Concern): void
}

export type Slot = {
  readonly session: CachedSession | null
  /** Keeps what was read from the truth after `get` had been called. */
  put(session: CachedSession): void
}

const KEPT_SECONDS = 30
/** What was read longer ago is not written any more. */
const WRITTEN_WITHIN_MS = 10_000
/** Longer than anything kept can be told: when it was read, written, and read again. */
const DISTRUSTED_MS = 60_000
const DISTRUSTED_AT_MOST = 10_000
const TIMEOUT_MS = 250
/** After a failure Redis is not waited for. */
const PAUSE_MS = 1_000
const GENERATION = 'session:generation'

type Redis = ReturnType<typeof openRedis>

const Kept = z.object({
  generation: z.string(),
  session: z.object({
    id: z.custom<Id<'ses'>>((it) => typeof it === 'string'),
    issuer: z.string(),
    subject: z.string(),
    expiresAt: z.number(),
    idleUntil: z.number(),
    refreshAt: z.number().nullable(),
  }),
})

const NOTHING: Slot = { session: null, put: () => undefined }

/**
 * What is kept may be older than the end of its session, by a read that was slow to be written. Each
 * gateway hears of every end since it began to listen, and for as long as such an entry can live
 * believes none of that session. What ended before it listened, or is not known by name, is dealt
 * with by the generation: entries of an earlier one are not believed by anyone.
 */
export function createSessionCache({
  redis,
  clock,
  log,
}: {
  redis: Pick<Redis, 'mget' | 'set' | 'incr' | 'status'>
  clock: Clock
  log: Log
}): SessionCache {
  /** Until when, by session; those distrusted first come first. */
  const distrusted = new Map<string, number>()
  // Nothing was heard of what was before: a new generation has to begin first.
  let isBehind = true
  let isPausedUntil = 0
  const now = () => clock.now().getTime()

  return {
    async get(tokenHash) {
      if (redis.status !== 'ready' || now() < isPausedUntil) return NOTHING
      const askedAt = now()
      try {
        if (isBehind) await beginGeneration()
        const key = `session:${tokenHash}`
        const asked = redis.mget(key, GENERATION)
        const [text, generation] = await within(TIMEOUT_MS, asked, 'Redis is slow')
        // Redis has lost it: what is kept next belongs to the one that begins.
        if (!generation) isBehind = true
        if (!generation || isBehind) return NOTHING
        return {
          session: believed(text, generation),
          put(session) {
            if (now() - askedAt > WRITTEN_WITHIN_MS) return
            const kept = JSON.stringify({ generation, session })
            redis.set(key, kept, 'EX', KEPT_SECONDS).catch(failed)
          },
        }
      } catch (error) {
        failed(error)
        return NOTHING
      }
    },

    distrust({ kind, id }) {
      if (kind === 'everyone') isBehind = true
      else if (kind === 'credential') distrustOne(id)
    },
  }

  async function beginGeneration(): Promise<void> {
    isBehind = false
    try {
      await within(TIMEOUT_MS, redis.incr(GENERATION), 'Redis is slow')
    } catch (error) {
      isBehind = true
      throw error
    }
  }

  function believed(text: string | null | undefined, generation: string): CachedSession | null {
    if (!text) return null
    const kept = parse(text)
    if (kept?.generation !== generation) return null
    return (distrusted.get(kept.session.id) ?? 0) > now() ? null : kept.session
  }

  function distrustOne(id: string): void {
    for (const [old, until] of distrusted) {
      if (until > now()) break
      distrusted.delete(old)
    }
    distrusted.delete(id)
    distrusted.set(id, now() + DISTRUSTED_MS)
    if (distrusted.size <= DISTRUSTED_AT_MOST) return
    distrusted.clear()
    isBehind = true
  }

  function failed(error: unknown): void {
    if (now() >= isPausedUntil) log.warn({ err: error }, 'sessions are not found in Redis now')
    isPausedUntil = now() + PAUSE_MS
  }
}

function parse(text: string): z.output<typeof Kept> | null {
  try {
    return Kept.parse(JSON.parse(text))
  } catch {
    return null
  }
}

import { RedisPubSub } from 'graphql-redis-subscriptions'
import type { Redis } from 'ioredis'
import type { Log } from './log.ts'
import { closeRedis, logConnection } from './redis.ts'

export { closeRedis, openRedis } from './redis.ts'

declare const channel: unique symbol

/** A channel's name, made by a constructor and by nothing else. */
export type Channel = string & { readonly [channel]: true }

/**
 * @param parts ids and plain names; `*` matches any text, for subscribers only
 * @throws {TypeError} when a part could be taken for something else
 */
export function channelOf(...parts: readonly string[]): Channel {
  const bad = parts.find((part) => !/^([\w.-]{1,200}|\*)$/.test(part))
  if (bad !== undefined || parts.length < 2) throw new TypeError(`channel ${parts.join('.')}`)
  return parts.join('.') as Channel
}

/** New positions in a domain's outbox for an organization (its uuid); null: of the platform. */
export function outboxChannel(domain: string, organizationId: string | null): Channel {
  return channelOf('outbox', domain, organizationId ?? 'platform')
}

/** A policy changed: for all, or what it is in this organization (`org_…`). */
export function policyInvalidateChannel(key: string, organizationId?: string | null): Channel {
  return channelOf('policy', 'invalidate', policyConcern(key, organizationId))
}

/** How a change of a policy is named, on its channel and among the changes of authority. */
export function policyConcern(key: string, organizationId?: string | null): string {
  return organizationId ? `${key}.${organizationId}` : key
}

/** Changes of authority, numbered: `platform/revocations.ts`. */
export function revocationChannel(): Channel {
  return channelOf('policy', 'revocation')
}

/**
 * @param text the latest of those that came since the last call; null when some may have been
 *   missed, at the start and after a lost connection: read the truth
 */
export type OnHint = (text: string | null, channel: Channel | null) => void

/** At-most-once messages that say where to look. Whoever relies on one polls as well. */
export type Hints = {
  /** Never rejects: a hint may be lost. */
  publish(to: Channel, text: string): Promise<void>
  /** @returns what ends it, at once */
  subscribe(to: Channel, onHint: OnHint): () => void
  close(): Promise<void>
}

/** Hints over one more connection to the same Redis; those of one turn are coalesced per channel. */
export function createHints(redis: Redis, log: Log): Hints {
  const prefix = redis.options.keyPrefix ?? ''
  const subscriber = redis.duplicate({
    keyPrefix: '',
    // Subscribing while Redis is away succeeds once it is back.
    maxRetriesPerRequest: null,
    commandTimeout: undefined,
  } as object)
  logConnection(subscriber, log)
  tolerateFailures(subscriber, log)
  const pubsub = new RedisPubSub({
    publisher: redis,
    subscriber,
    serializer: String,
    deserializer: (text, { channel }) => ({
      text: text.toString(),
      channel: channel.slice(prefix.length) as Channel,
    }),
  })
  const topics = new Map<Channel, Topic>()
  let isFirst = true
  subscriber.on('ready', () => {
    if (!isFirst) for (const topic of topics.values()) topic.missed()
    isFirst = false
  })

  function open(to: Channel): Topic {
    const topic = createTopic()
    topics.set(to, topic)
    const subscribed = pubsub.subscribe(prefix + to, topic.heard, { pattern: to.includes('*') })
    void subscribed.then(topic.missed)
    topic.close = () => {
      topics.delete(to)
      void subscribed.then((id) => pubsub.unsubscribe(id))
    }
    return topic
  }

  return {
    async publish(to, text) {
      await pubsub
        .publish(prefix + to, text)
        .catch((error: unknown) => log.warn({ err: error, channel: to }, 'a hint was lost'))
    },
    subscribe(to, onHint) {
      const topic = topics.get(to) ?? open(to)
      const listener = coalesced(onHint)
      topic.listeners.add(listener)
      if (topic.isHeard) listener.hear(null, null)
      return () => {
        listener.end()
        if (topic.listeners.delete(listener) && topic.listeners.size === 0) topic.close()
      }
    },
    async close() {
      for (const topic of topics.values()) for (const listener of topic.listeners) listener.end()
      await closeRedis(subscriber)
    },
  }
}

/**
 * What the library does not look after. It drops the promises of these commands, and once one that
 * subscribes has failed it rejects a promise that nobody holds, which would end the process: so it
 * is not told.
 */
function tolerateFailures(subscriber: Redis, log: Log): void {
  for (const verb of ['subscribe', 'psubscribe', 'unsubscribe', 'punsubscribe'] as const) {
    const ask = subscriber[verb].bind(subscriber) as (channel: string) => Promise<unknown>
    Object.assign(subscriber, {
      [verb]: (channel: string, done?: (error: null) => void) =>
        ask(channel).then(
          () => done?.(null),
          (error: unknown) => {
            // Closed by ourselves, most likely while it was still on its way.
            if (done && subscriber.status !== 'end') {
              log.warn({ err: error, channel }, 'hints cannot be heard')
            }
          },
        ),
    })
  }
}

type Listener = { hear: OnHint; end(): void }

type Topic = {
  readonly listeners: Set<Listener>
  isHeard: boolean
  heard(hint: { text: string; channel: Channel }): void
  missed(): void
  close(): void
}

function createTopic(): Topic {
  const listeners = new Set<Listener>()
  const topic: Topic = {
    listeners,
    isHeard: false,
    heard({ text, channel }) {
      for (const listener of listeners) listener.hear(text, channel)
    },
    missed() {
      topic.isHeard = true
      for (const listener of listeners) listener.hear(null, null)
    },
    close: () => undefined,
  }
  return topic
}

/** A burst of hints costs a listener one call per channel and turn: nothing queues up. */
function coalesced(onHint: OnHint): Listener {
  const waiting = new Map<Channel | null, string | null>()
  let scheduled: NodeJS.Immediate | undefined
  let isEnded = false
  function flush() {
    scheduled = undefined
    const hints = [...waiting]
    waiting.clear()
    for (const [channel, text] of hints) onHint(text, channel)
  }
  return {
    hear(text, channel) {
      if (isEnded) return
      waiting.set(channel, text)
      scheduled ??= setImmediate(flush)
    },
    end() {
      if (scheduled) clearImmediate(scheduled)
      isEnded = true
    },
  }
}

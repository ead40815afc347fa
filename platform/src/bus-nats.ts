import {
  AckPolicy,
  type ConnectionOptions,
  DeliverPolicy,
  DiscardPolicy,
  NatsError,
  nanos,
  RetentionPolicy,
  StorageType,
} from 'nats'
import { consumeWith } from './bus-nats-consumer.ts'
import { openLink, REQUEST_TIMEOUT_MS } from './bus-nats-link.ts'
import { type Bus, type ConsumeOptions, OutOfStep, type StreamState } from './bus-port.ts'
import type { Log } from './log.ts'

// The client's last release points to its successors, @nats-io/transport-node and
// @nats-io/jetstream, which have these calls under other names: the three bus-nats modules are all
// that would change.

const MAX_AGE_MS = 7 * 86_400_000
const DUPLICATE_WINDOW_MS = 120_000
const STREAM_NOT_FOUND = 10_059
const CONSUMER_NOT_FOUND = 10_014
const WRONG_LAST_SEQUENCE = 10_071

/**
 * A bus over NATS JetStream. Connects in the background and reconnects for ever: calls fail while
 * the server is away, and consumers wait.
 *
 * @param url `?namespace=x` keeps everything of x apart from everything else on that server
 * @param name shown on the server
 */
export function openBus({ url, name, log }: { url: string; name: string; log: Log }): Bus {
  const { options, namespace } = parseUrl(url)
  const prefix = namespace === '' ? '' : `${namespace}.`
  const link = openLink({ ...options, name }, log)
  const consuming = new Set<{ stop(): Promise<void> }>()
  const streamOf = (domain: string) =>
    [namespace, 'berth', domain].filter(Boolean).join('_').toUpperCase()

  const ensureStream = (domain: string) => link.unlessLost(findStream(domain))

  async function findStream(domain: string): Promise<StreamState> {
    const { streams } = await link.manager()
    const stream = streamOf(domain)
    const info = await orMake(streams.info(stream), STREAM_NOT_FOUND, () =>
      streams.add({
        name: stream,
        subjects: [`${prefix}berth.${domain}.>`],
        storage: StorageType.File,
        retention: RetentionPolicy.Limits,
        discard: DiscardPolicy.Old,
        max_age: nanos(MAX_AGE_MS),
        duplicate_window: nanos(DUPLICATE_WINDOW_MS),
      }),
    )
    return { incarnation: String(info.created), lastSeq: info.state.last_seq }
  }

  async function ensureConsumer({ domain, durable, ackWaitSeconds }: Required<ConsumeOptions>) {
    await ensureStream(domain)
    const { consumers } = await link.manager()
    const stream = streamOf(domain)
    const make = () =>
      consumers.add(stream, {
        durable_name: durable,
        ack_policy: AckPolicy.Explicit,
        deliver_policy: DeliverPolicy.All,
        ack_wait: nanos(ackWaitSeconds * 1000),
        max_deliver: -1,
        // One in flight over all replicas keeps the order, also while one is being retried.
        max_ack_pending: 1,
      })
    const info = await orMake(consumers.info(stream, durable), CONSUMER_NOT_FOUND, make)
    // Read after the consumer's state: what is delivered in between must not look like a loss.
    const { lastSeq } = await ensureStream(domain)
    if (info.delivered.stream_seq <= lastSeq) return
    // The server lost the end of the stream, but not how far we were: it would skip what comes next.
    log.error({ stream, durable }, 'the stream is behind its consumer: it is read from the start')
    await consumers.delete(stream, durable)
    await make()
  }

  return {
    ensureStream,
    async publish({ domain, subject, id, text, afterSeq }) {
      const jetstream = (await link.connection()).jetstream({ timeout: REQUEST_TIMEOUT_MS })
      const expect = { lastSequence: afterSeq, streamName: streamOf(domain) }
      try {
        const { seq } = await link.unlessLost(
          jetstream.publish(prefix + subject, text, { msgID: id, expect }),
        )
        return { seq }
      } catch (error) {
        if (apiCode(error) !== WRONG_LAST_SEQUENCE) throw error
        throw new OutOfStep(`${streamOf(domain)} does not end with message ${afterSeq}`)
      }
    },
    consume(options) {
      const consumer = { ackWaitSeconds: 5, backoffSeconds, ...options }
      const running = consumeWith({
        ...consumer,
        link,
        log,
        stream: streamOf(options.domain),
        subjectOf: (subject) => subject.slice(prefix.length),
        ensure: () => link.unlessLost(ensureConsumer(consumer)),
      })
      consuming.add(running)
      return {
        async stop() {
          consuming.delete(running)
          await running.stop()
        },
      }
    },
    async ping() {
      await (await link.connection()).rtt()
    },
    async close() {
      await Promise.all([...consuming].map((it) => it.stop()))
      await link.close()
    },
  }
}

function backoffSeconds(attempt: number): number {
  return Math.min(0.1 * 2 ** attempt, 30)
}

function parseUrl(text: string): { options: ConnectionOptions; namespace: string } {
  const url = new URL(text)
  const namespace = url.searchParams.get('namespace') ?? ''
  if (!/^\w*$/.test(namespace)) throw new TypeError(`namespace ${namespace} of the bus`)
  return {
    namespace,
    options: {
      servers: url.host,
      ...(url.username === ''
        ? {}
        : { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) }),
      ...(url.protocol === 'tls:' ? { tls: {} } : {}),
    },
  }
}

async function orMake<T>(found: Promise<T>, absence: number, make: () => Promise<T>): Promise<T> {
  try {
    return await found
  } catch (error) {
    if (apiCode(error) !== absence) throw error
    return make()
  }
}

function apiCode(error: unknown): number | undefined {
  return error instanceof NatsError ? error.api_error?.err_code : undefined
}

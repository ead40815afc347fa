import {
  type ConnectionOptions,
  connect,
  Events,
  type JetStreamManager,
  type NatsConnection,
} from 'nats'
import { pause, unlessAborted, within } from './abort.ts'
import type { Log } from './log.ts'

export const REQUEST_TIMEOUT_MS = 5_000

export type Link = {
  /** @throws when there is no connection within the request timeout. */
  connection(): Promise<NatsConnection>
  manager(): Promise<JetStreamManager>
  /** The work's outcome, or a rejection once the connection it was asked on is lost. */
  unlessLost<T>(work: Promise<T>): Promise<T>
  close(): Promise<void>
}

/** A connection to NATS that is made in the background, and again for ever. */
export function openLink(options: ConnectionOptions, log: Log): Link {
  const closing = new AbortController()
  let lost = new AbortController()
  const connection = keepConnecting()
  // Whoever needs the connection awaits it: here a failure would be an unhandled rejection.
  connection.then(watch).catch(() => undefined)

  async function keepConnecting(): Promise<NatsConnection> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const made = await connect({
          ...options,
          maxReconnectAttempts: -1,
          reconnectTimeWait: 250,
          reconnectJitter: 250,
          ignoreAuthErrorAbort: true,
          pingInterval: 5_000,
          maxPingOut: 2,
        })
        if (attempt > 0) log.info('NATS is back')
        return made
      } catch (cause) {
        if (attempt === 0) log.error({ err: cause }, 'NATS is unreachable')
        await pause(Math.min(100 * 2 ** attempt, 2_000), closing.signal)
        if (closing.signal.aborted) throw new Error('the bus is closed', { cause })
      }
    }
  }

  async function watch(it: NatsConnection): Promise<void> {
    for await (const { type } of it.status()) {
      if (closing.signal.aborted) return
      if (type === Events.Disconnect) log.warn('NATS is unreachable')
      else if (type === Events.Reconnect) log.info('NATS is back')
      else continue
      // Both times: what was asked in between did not go out either.
      lost.abort(new Error('the connection to NATS was lost'))
      lost = new AbortController()
    }
  }

  const connected = () => within(REQUEST_TIMEOUT_MS, connection, 'there is no connection to NATS')
  return {
    connection: connected,
    async manager() {
      return (await connected()).jetstreamManager({
        checkAPI: false,
        timeout: REQUEST_TIMEOUT_MS,
      })
    },
    // The client lets a request that was under way wait for its time to be over.
    unlessLost: (work) => unlessAborted(work, lost.signal),
    async close() {
      closing.abort()
      await connection.then(
        (it) => it.close(),
        () => undefined,
      )
    },
  }
}

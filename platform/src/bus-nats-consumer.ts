import { ErrorCode, type JsMsg, NatsError } from 'nats'
import { pause, unlessAborted } from './abort.ts'
import type { Link } from './bus-nats-link.ts'
import type { ConsumeOptions } from './bus-port.ts'
import type { Log } from './log.ts'

/** A pull waits so long for a message; the request itself a little longer, to hear the answer. */
const PULL_MS = 4_000

/** Pulls one message at a time, for ever. */
export function consumeWith({
  link,
  log,
  stream,
  durable,
  handler,
  ackWaitSeconds,
  backoffSeconds,
  subjectOf,
  ensure,
}: Required<ConsumeOptions> & {
  link: Link
  log: Log
  stream: string
  subjectOf: (subject: string) => string
  /** Makes stream and consumer if they are not there. */
  ensure: () => Promise<void>
}): { stop(): Promise<void> } {
  const stopping = new AbortController()
  const { signal } = stopping
  const running = run()

  async function run(): Promise<void> {
    let isEnsured = false
    let failures = 0
    while (!signal.aborted) {
      try {
        // Stopping does not wait for a server that does not answer.
        if (!isEnsured) await unlessAborted(ensure(), signal)
        isEnsured = true
        await handle(await pull())
        failures = 0
      } catch (error) {
        if (signal.aborted) break
        // Nothing came, or the connection, the stream or the consumer went: look whether all is there.
        isEnsured = false
        if (isTimeout(error)) continue
        failures += 1
        log.warn({ err: error, stream, durable }, 'the stream cannot be read now')
        await pause(Math.min(50 * 2 ** failures, 2_000), signal)
      }
    }
  }

  async function pull(): Promise<JsMsg> {
    const connection = await unlessAborted(link.connection(), signal)
    const jetstream = connection.jetstream({ timeout: PULL_MS + 1_000 })
    const pulled = jetstream.pull(stream, durable, PULL_MS)
    try {
      return await unlessAborted(link.unlessLost(pulled), signal)
    } catch (error) {
      // What an abandoned pull still brings is given back, rather than kept until its time is up.
      pulled.then((late) => late.nak()).catch(() => undefined)
      throw error
    }
  }

  async function handle(message: JsMsg): Promise<void> {
    const attempt = message.info.deliveryCount
    const heartbeat = setInterval(() => message.working(), (ackWaitSeconds * 1000) / 3)
    try {
      const text = new TextDecoder().decode(message.data)
      await handler({ subject: subjectOf(message.subject), text, attempt })
      message.ack()
    } catch {
      message.nak(backoffSeconds(attempt) * 1000)
    } finally {
      clearInterval(heartbeat)
    }
  }

  return {
    async stop() {
      stopping.abort(new Error('the consumer was stopped'))
      await running
    },
  }
}

/** The server's "nothing came" (408, 404), or no answer at all. */
function isTimeout(error: unknown): boolean {
  return (
    error instanceof NatsError &&
    [
      ErrorCode.Timeout,
      ErrorCode.JetStream408RequestTimeout,
      ErrorCode.JetStream404NoMessages,
    ].some((code) => error.code === code)
  )
}

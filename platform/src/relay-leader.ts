import pg from 'pg'
import { type Bell, createBell, repeat } from './bell.ts'
import type { SqlDatabase } from './database.ts'
import { outboxNotification } from './outbox.ts'
import { connectionConfig } from './sql.ts'

export type Leadership = AsyncDisposable & {
  /** Aborted when the connection that holds it breaks: someone else may lead from then on. */
  readonly lost: AbortSignal
  /** Rings when something was appended to the outbox. */
  readonly appended: Bell
}

/**
 * Waits to become the one relay of the schema: an advisory lock, which Postgres frees when the
 * connection breaks. An old leader that has not noticed yet does no harm: positions are given under
 * a row lock, and the bus refuses what does not follow its last message.
 *
 * @returns null when the signal ends the wait
 * @throws when Postgres is unreachable
 */
export async function takeLead(
  { url, schema }: SqlDatabase,
  pollSeconds: number,
  signal: AbortSignal,
): Promise<Leadership | null> {
  const client = new pg.Client(connectionConfig({ url, schema, name: `${schema}-relay` }))
  const lost = new AbortController()
  const appended = createBell()
  client.on('error', () => lost.abort())
  client.on('end', () => lost.abort())
  client.on('notification', appended.ring)
  const close = () => client.end().catch(() => undefined)
  try {
    await client.connect()
    await client.query(`LISTEN ${pg.escapeIdentifier(outboxNotification(schema))}`)
    if (await acquired(client, pollSeconds, AbortSignal.any([signal, lost.signal]))) {
      return { lost: lost.signal, appended, [Symbol.asyncDispose]: close }
    }
  } catch (error) {
    await close()
    throw error
  }
  await close()
  return null
}

async function acquired(client: pg.Client, pollSeconds: number, signal: AbortSignal) {
  const waiting = new AbortController()
  let isMine = false
  let failure: { error: unknown } | undefined
  await repeat({
    work: async () => {
      const { rows } = await client.query<{ is_mine: boolean }>(
        `SELECT pg_try_advisory_lock(hashtextextended('relay ' || current_schema(), 0)) AS is_mine`,
      )
      isMine = rows[0]?.is_mine === true
      if (isMine) waiting.abort()
      return false
    },
    pauseSeconds: pollSeconds,
    signal: AbortSignal.any([signal, waiting.signal]),
    onError: (error) => {
      failure = { error }
      waiting.abort()
    },
  })
  if (failure) throw failure.error
  return isMine
}

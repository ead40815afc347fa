import pg from 'pg'
import { type Bell, createBell, repeat } from './bell.ts'
import type { SqlDatabase } from './database.ts'
import { connectionConfig } from './sql.ts'

export type Leadership = AsyncDisposable & {
  /** Aborted when the connection that holds it breaks: someone else may lead from then on. */
  readonly lost: AbortSignal
  /** Rings when something was appended to what is relayed. */
  readonly appended: Bell
}

export type Office = {
  /** Of the advisory lock, and in the connection's name. */
  readonly name: string
  /** Postgres channel that tells of something appended. */
  readonly channel: string
}

/**
 * Waits to become the one in the schema that holds an office: an advisory lock, which Postgres frees
 * when the connection breaks. An old leader that has not noticed yet must do no harm. The outbox's
 * does none: positions are given under a row lock, and the bus refuses what does not follow its last
 * message.
 *
 * @returns null when the signal ends the wait
 * @throws when Postgres is unreachable
 */
export async function takeLead(
  { url, schema }: SqlDatabase,
  { name, channel }: Office,
  pollSeconds: number,
  signal: AbortSignal,
): Promise<Leadership | null> {
  const client = new pg.Client(connectionConfig({ url, schema, name: `${schema}-${name}` }))
  const lost = new AbortController()
  const appended = createBell()
  client.on('error', () => lost.abort())
  client.on('end', () => lost.abort())
  client.on('notification', appended.ring)
  const close = () => client.end().catch(() => undefined)
  try {
    await client.connect()
    await client.query(`LISTEN ${pg.escapeIdentifier(channel)}`)
    if (await acquired(client, name, pollSeconds, AbortSignal.any([signal, lost.signal]))) {
      return { lost: lost.signal, appended, [Symbol.asyncDispose]: close }
    }
  } catch (error) {
    await close()
    throw error
  }
  await close()
  return null
}

async function acquired(client: pg.Client, name: string, pollSeconds: number, signal: AbortSignal) {
  const waiting = new AbortController()
  let isMine = false
  let failure: { error: unknown } | undefined
  await repeat({
    work: async () => {
      const { rows } = await client.query<{ is_mine: boolean }>(
        `SELECT pg_try_advisory_lock(
           hashtextextended($1::text || ' ' || current_schema(), 0)
         ) AS is_mine`,
        [name],
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

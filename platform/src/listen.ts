import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { SqlDatabase } from './database.ts'
import { connectionConfig } from './sql.ts'

/**
 * Hears a Postgres channel over a connection of its own, until the signal or until it is lost.
 * What was notified while nobody listened is not repeated: `onNotification` is called once at the
 * beginning, to look.
 *
 * @throws when Postgres is unreachable
 */
export async function listenTo(
  { url, schema }: Pick<SqlDatabase, 'url' | 'schema'>,
  channel: string,
  onNotification: () => void,
  signal: AbortSignal,
): Promise<void> {
  const client = new pg.Client(connectionConfig({ url, schema, name: `${schema}-listener` }))
  const lost = new AbortController()
  client.on('error', () => lost.abort())
  client.on('end', () => lost.abort())
  client.on('notification', onNotification)
  try {
    await client.connect()
    await client.query(`LISTEN ${pg.escapeIdentifier(channel)}`)
    onNotification()
    const ended = AbortSignal.any([signal, lost.signal])
    await sleep(2 ** 31 - 1, undefined, { signal: ended }).catch(() => undefined)
  } finally {
    await client.end().catch(() => undefined)
  }
}

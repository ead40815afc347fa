import type { Sql } from '@berth/platform/database'

export async function insertRegion(
  sql: Sql,
  { code, name }: { code: string; name: string },
): Promise<void> {
  await sql.query('INSERT INTO regions (code, name) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
    code,
    name,
  ])
}

export async function findNode(sql: Sql, name: string): Promise<string | null> {
  const [node] = await sql.query<{ id: string }>('SELECT id FROM nodes WHERE name = $1', [name])
  return node?.id ?? null
}

/** Another address: another host key, due at once. */
export async function moveNode(
  sql: Sql,
  id: string,
  at: { host: string; port: number; username: string },
  now: Date,
): Promise<void> {
  await sql.query(
    `UPDATE nodes SET host = $2, port = $3::int, username = $4, host_key_fingerprint = NULL,
       probe_due_at = $5::timestamptz, probe_token = NULL, probe_leased_until = NULL
     WHERE id = $1::uuid`,
    [id, at.host, at.port, at.username, now],
  )
}
